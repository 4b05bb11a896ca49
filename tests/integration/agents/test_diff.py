"""Rows that changed since a snapshot: the tool at the server, and `da diff` on a mirror."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from da.agents.row_diff import counted_sql, diff_sql
from tests.integration.agents.mcp import call, refusal
from tests.integration.query.shop import Shop, open_shop, publish
from tests.integration.world import Begun
from tests.processes import Host, run_da, served

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Changed:
    """A shop whose tables changed after the snapshot `since`, and a mirror of its newest state."""

    shop: Shop
    server: Host
    laptop: Path
    since: int

    def da(self, *arguments: str, code: int = 0) -> Any:
        environ = {
            **os.environ,
            "DA_SERVER": self.server.url,
            "DA_TOKEN": self.shop.analyst,
            "DA_LOCAL_DIR": str(self.laptop),
            "DA_CONFIG_DIR": str(self.laptop / ".config"),
        }
        self.laptop.mkdir(exist_ok=True)
        ran = run_da(*arguments, environ=environ, cwd=self.laptop)
        assert ran.returncode == code, ran.stderr
        return json.loads(ran.stdout) if "--json" in arguments and code == 0 else ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def changed(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, begun) as made, served(made.world.app) as server:
        world = made.world
        object.__setattr__(made.process.settings, "base_url", server.url)
        publish(world, folder, "stock", items="id,name,n\n1,a,1\n2,b,2\n3,c,3\n", moves="what,n\nin,1\nin,1\nout,2\n")
        world.ask("PUT", "/api/admin/tables/stock.items", {"primary_key": ["id"]})
        for table in ("stock.items", "stock.moves"):
            world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
        since = made.process.snapshots.current().number
        (folder / "sources/stock/items.csv").write_text("id,name,n,more\n1,a,1,x\n2,b,20,\n4,d,4,\n")
        (folder / "sources/stock/moves.csv").write_text("what,n\nin,1\nout,2\nout,3\n")
        world.ask("POST", "/extract/csv", {"source": "stock"})
        changed = Changed(made, server, folder / "laptop", since)
        changed.da("sync")
        yield changed


def rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    names = [column["name"] for column in answer["columns"]]
    return [dict(zip(names, row, strict=True)) for row in answer["rows"]]


def check_items(answer: dict[str, Any]) -> None:
    assert (answer["key"], answer["counts"]) == (["id"], {"added": 1, "changed": 1, "removed": 1})
    assert answer["schema_changes"] == {"columns_added": ["more"]}
    found = {each["change"]: each for each in rows(answer)}
    assert (found["added"]["id"], found["changed"]["id"], found["removed"]["id"]) == (4, 2, 3)
    assert found["changed"]["columns"] == ["n"]
    assert json.loads(found["changed"]["before"])["n"] == 2 if isinstance(found["changed"]["before"], str) else True
    assert (answer["total"], answer["truncated"]) == (3, False)


def test_rows_are_matched_by_their_key(changed: Changed) -> None:
    check_items(call(changed.shop.world, "diff_table", table="items", since=changed.since, token=changed.shop.analyst))
    check_items(changed.da("diff", "items", "--since", str(changed.since), "--json"))


def test_without_a_key_versions_are_compared_as_multisets(changed: Changed) -> None:
    answer = call(
        changed.shop.world, "diff_table", table="stock.moves", since=changed.since, token=changed.shop.analyst
    )
    assert answer["counts"] == {"added": 1, "changed": 0, "removed": 1}
    assert changed.da("diff", "moves", "--since", str(changed.since), "--json")["counts"] == answer["counts"]
    assert "has no key" in " ".join(answer["notes"])


def test_a_summary_names_the_changed_tables(changed: Changed) -> None:
    assert {each["table"] for each in changed.da("diff", "--since", str(changed.since), "--json")["tables"]} == {
        "stock.items",
        "stock.moves",
    }
    text = changed.da("diff", "--since", str(changed.since))
    assert "stock.items" in text
    assert "+more" in text
    assert "1 row added, 1 row changed, 1 row removed" in changed.da("diff", "items", "--since", str(changed.since))
    assert "There are no changes since" in changed.da("diff", "--since", str(changed.since + 1))


def test_a_table_that_did_not_change_has_no_rows(changed: Changed) -> None:
    answer = call(changed.shop.world, "diff_table", table="orders", since=changed.since, token=changed.shop.analyst)
    assert (answer["total"], answer["rows"]) == (0, [])


def test_hidden_tables_and_expired_snapshots_are_refused(changed: Changed) -> None:
    for table in ("vault.salaries", "before", "after"):
        assert "there is no table" in refusal(
            changed.shop.world, "diff_table", table=table, since=changed.since, token=changed.shop.analyst
        )
    assert "there is no snapshot 999" in refusal(
        changed.shop.world, "diff_table", table="items", since=999, token=changed.shop.analyst
    )
    assert "is not in the snapshot 1" in refusal(
        changed.shop.world, "diff_table", table="items", since=1, token=changed.shop.analyst
    )
    assert "there is no table" in changed.da("diff", "nothing", "--since", "1", code=1)
    assert "is not a snapshot or time" in changed.da("diff", "items", "--since", "soon", code=1)


items = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", None])), max_size=8)


@given(before=items, after=items)
def test_counts_are_those_of_the_two_versions(before: list[Any], after: list[Any]) -> None:
    kinds = {"k": "INTEGER", "v": "VARCHAR"}
    with duckdb.connect() as connection:
        for name, values in (("before", before), ("after", after)):
            connection.execute(f"create table {name}(k integer, v varchar)")
            if values:
                connection.executemany(f"insert into {name} values (?, ?)", values)
        counted = dict(connection.execute(counted_sql(diff_sql(kinds, kinds, []))).fetchall())
        old, new = list(before), list(after)
        for each in list(new):
            if each in old:
                old.remove(each)
                new.remove(each)
        assert counted == {kind: len(left) for kind, left in (("added", new), ("removed", old)) if left}
        unique_before, unique_after = dict(before), dict(after)
        for name, unique in (("before", unique_before), ("after", unique_after)):
            connection.execute(f"delete from {name}")
            if unique:
                connection.executemany(f"insert into {name} values (?, ?)", list(unique.items()))
        keyed = dict(connection.execute(counted_sql(diff_sql(kinds, kinds, ["k"]))).fetchall())
        common = unique_before.keys() & unique_after.keys()
        expected = {
            "added": len(unique_after) - len(common),
            "changed": sum(unique_before[key] != unique_after[key] for key in common),
            "removed": len(unique_before) - len(common),
        }
        assert keyed == {kind: count for kind, count in expected.items() if count}
