"""Expectations: checked on what is about to be published; `warn` shows everywhere, `block` keeps the last version."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.world import Begun, World

GOOD = "id,kind,total,email,at\n1,a,1.5,ann@example.com,2024-01-01\n2,b,2.5,bob@example.com,2024-01-02\n"


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """A published table `shop.t`."""
    return begun.filled(published)[0].world(tmp_path)


def published(world: World, folder: Path) -> None:
    (folder / "sources/shop").mkdir()
    (folder / "sources/shop/t.csv").write_text(GOOD)
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
    extract(world)


def extract(world: World, status: int = 200) -> dict[str, Any]:
    answer = world.send("POST", "/extract/csv", {"source": "shop"})
    assert answer.status_code == status, answer.text
    return dict(answer.get_json())


def expect(world: World, *expectations: dict[str, Any]) -> None:
    world.ask("PUT", "/api/admin/tables/shop.t/expectations", {"expectations": list(expectations)})


def state(world: World) -> dict[str, Any]:
    return dict(world.ask("GET", "/api/tables/shop.t/expectations"))


MET: list[dict[str, Any]] = [
    {"kind": "not_null", "columns": ["id", "kind"]},
    {"kind": "unique", "columns": ["id"]},
    {"kind": "unique", "columns": ["id", "kind"]},
    {"kind": "range", "columns": ["total"], "min": 0, "max": 10},
    {"kind": "set", "columns": ["kind"], "values": ["a", "b"]},
    {"kind": "regex", "columns": ["email"], "pattern": "[^@]+@example[.]com"},
    {"kind": "freshness", "columns": ["at"], "max_age_hours": 900000},
    {"kind": "row_count", "min": 1, "max": 10, "max_decrease_percent": 50},
    {"kind": "sql", "sql": "select * from this where total > 100;"},
]

UNMET: list[tuple[dict[str, Any], str]] = [
    ({"kind": "not_null", "columns": ["kind"]}, "not_null kind: 1 of 4 rows fail"),
    ({"kind": "unique", "columns": ["id"]}, "unique id: 1 of 4 rows fail"),
    ({"kind": "range", "columns": ["total"], "max": 10}, "range total: 1 of 4 rows fail"),
    ({"kind": "set", "columns": ["kind"], "values": ["a", "b"]}, "set kind: 1 of 4 rows fail"),
    ({"kind": "regex", "columns": ["email"], "pattern": "[a-z@.]+"}, "regex email: 1 of 4 rows fail"),
    ({"kind": "freshness", "columns": ["at"], "max_age_hours": 1}, "freshness at: the newest row is "),
    ({"kind": "row_count", "max": 3}, "row_count: there are 4 rows, and at most 3 are expected"),
    ({"kind": "row_count", "max_increase_percent": 50}, "row_count: there are 4 rows, 100.0 % more than the 2 before"),
    ({"kind": "sql", "name": "no giants", "sql": "from this where total > 10"}, "no giants: 1 of 4 rows fail"),
    ({"kind": "sql", "sql": "select * from read_csv('/etc/passwd')"}, "sql: it can't be checked (PermissionException)"),
    ({"kind": "sql", "sql": "select nope from this"}, "sql: it can't be checked (BinderException)"),
    ({"kind": "not_null", "columns": ["knd"]}, "there is no column 'knd'; did you mean 'kind'?"),
]

BAD = "id,kind,total,email,at\n1,a,1.5,ann@example.com,2024-01-01\n2,b,2.5,bob@example.com,2024-01-02\n2,c,99,C-7,2024-01-02\n4,,1,x@y.z,2024-01-03\n"


def test_a_table_that_meets_its_expectations_is_published(world: World, tmp_path: Path) -> None:
    expect(world, *({**each, "severity": "block"} for each in MET))
    (tmp_path / "sources/shop/t.csv").write_text(GOOD + "3,a,3.5,c@example.com,2024-01-03\n")
    assert extract(world)["tables"][0]["status"] == "ok"
    (check,) = state(world)["checks"]
    assert (check["rows"], check["published"], {each["passed"] for each in check["results"]}) == (3, True, {True})


def test_warnings_appear_in_answer_catalog_manifest_and_history_until_they_end(world: World, tmp_path: Path) -> None:
    expect(world, *(each for each, _ in UNMET))
    (tmp_path / "sources/shop/t.csv").write_text(BAD)
    (table,) = extract(world)["tables"]
    assert table["status"] == "ok"
    for _, message in UNMET:
        assert message in table["note"], message
    assert world.ask("GET", "/api/catalog/tables/shop.t")["notice"] == table["note"]
    assert world.ask("GET", "/api/sync/manifest")["tables"]["shop.t"]["notice"] == table["note"]
    assert extract(world)["tables"][0]["note"] == table["note"]
    (check,) = state(world)["checks"]
    assert (check["published"], [each["passed"] for each in check["results"]]) == (True, [False] * len(UNMET))
    note = re.sub(r"[0-9,.]+ hours", "", table["note"])  # an age may have any digits
    for value in ("C-7", "99", "x@y.z"):
        assert value not in note
    expect(world)
    (tmp_path / "sources/shop/t.csv").write_text(GOOD)
    extract(world)
    assert world.ask("GET", "/api/catalog/tables/shop.t")["notice"] is None


def test_a_blocked_version_is_not_published_and_the_next_good_one_is(world: World, tmp_path: Path) -> None:
    expect(world, {"kind": "unique", "columns": ["id"], "severity": "block"}, {"kind": "row_count", "max": 1})
    (tmp_path / "sources/shop/t.csv").write_text(BAD)
    (table,) = extract(world, 422)["tables"]
    assert table["status"] == "failed"
    assert table["error"].startswith("not published, because expectations are not met: unique id: 1 of 4 rows fail")
    assert world.ask("GET", "/api/catalog/tables/shop.t")["rows"] == 2
    assert [each["published"] for each in state(world)["checks"]] == [False]
    (tmp_path / "sources/shop/t.csv").write_text(GOOD + "3,a,1,c@example.com,2024-01-03\n")
    extract(world)
    assert world.ask("GET", "/api/catalog/tables/shop.t")["rows"] == 3
    assert [each["published"] for each in state(world)["checks"]] == [True, False]


def test_a_share_of_rows_may_fail(world: World, tmp_path: Path) -> None:
    expect(world, {"kind": "not_null", "columns": ["kind"], "max_share": 0.25, "severity": "block"})
    (tmp_path / "sources/shop/t.csv").write_text(BAD)
    assert extract(world)["tables"][0]["note"] is None


def test_changes_of_columns_are_recorded(world: World, tmp_path: Path) -> None:
    (tmp_path / "sources/shop/t.csv").write_text("id,kind,new\nx,a,1\n")
    extract(world)
    (change,) = state(world)["column_changes"]
    assert change["added"] == {"new": "BIGINT"}
    assert set(change["removed"]) == {"total", "email", "at"}
    assert change["changed"] == {"id": ["BIGINT", "VARCHAR"]}


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ({"kind": "nothing"}, "kind"),
        ({"kind": "not_null"}, "not_null needs 'columns'"),
        ({"kind": "range", "columns": ["total"]}, "range needs one of min, max"),
        ({"kind": "set", "columns": ["kind"]}, "set needs 'values'"),
        ({"kind": "sql"}, "sql needs 'sql'"),
        ({"kind": "not_null", "columns": ["id"], "nope": 1}, "nope"),
        ({"kind": "not_null", "columns": ["id"], "max_share": 2}, "max_share"),
    ],
)
def test_an_expectation_that_cannot_be_checked_is_refused(
    world: World, expectation: dict[str, Any], message: str
) -> None:
    answer = world.send("PUT", "/api/admin/tables/shop.t/expectations", {"expectations": [expectation]})
    assert (answer.status_code, message in answer.text) == (422, True)


def test_expectations_are_shown_only_to_readers_of_the_table(world: World) -> None:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"]
    assert world.send("GET", "/api/tables/shop.t/expectations", token=token).status_code == 404
    assert (
        world.send("PUT", "/api/admin/tables/shop.t/expectations", {"expectations": []}, token=token).status_code == 403
    )
