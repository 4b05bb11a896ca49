"""How a rebuild handles sources and tables that come, go and change."""

from pathlib import Path

import duckdb
import pytest

from analyst.catalog import CURRENT
from analyst.contract.publishing import drop
from analyst.rebuild.publishing import COPY
from analyst.store import ANY, Store
from analyst.store.gcs.store import GsStore
from tests.bucket_contents import edited, pointer, query
from tests.doubles.gcs import Gcs, running
from tests.unit.rebuild.lake import NOW, damage, extract, rebuild, views


def test_problems_come_and_go_with_their_cause(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    extract(store, "crm", {"people": "select 1 as n"})
    good = store.read("extracts/shop/extract.duckdb")
    assert good is not None

    def problems() -> list[tuple[str, str | None]]:
        return [(problem.source, problem.table) for problem in rebuild(store).problems]

    assert problems() == []
    damage(store, "shop")
    assert problems() == [("shop", None)]
    extract(store, "crm", {"people": "select 2 as n"})
    assert problems() == [("shop", None)]
    assert rebuild(store).status == "unchanged"
    assert problems() == [("shop", None)]
    store.put("extracts/shop/extract.duckdb", good.data, if_version=ANY)
    assert problems() == []
    damage(store, "shop", b"broken again")
    assert problems() == [("shop", None)]
    assert query(store, "from orders") == [(1,)]
    store.delete("extracts/shop/extract.duckdb")
    assert problems() == [("shop", None)]
    assert views(store) == {"crm.people": "people", "shop.orders": "orders"}


def test_a_source_whose_extract_is_gone_keeps_its_tables_and_is_listed(store: Store, tmp_path: Path) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    store.delete("extracts/shop/extract.duckdb")
    answer = rebuild(store)
    assert (answer.tables, [problem.source for problem in answer.problems]) == (1, ["shop"])
    assert "'extracts/shop/extract.duckdb' is gone" in answer.problems[0].message
    extract(store, "other", {"orders": "select 1 as n"})
    assert [problem.source for problem in rebuild(store).problems] == ["shop"]
    assert query(store, "from orders") == [(1,)]
    drop(store, "shop", "orders", now=lambda: NOW, folder=tmp_path, shown_version=1)
    assert rebuild(store).problems == ()
    assert views(store) == {"other.orders": "other_orders"}


def test_a_table_that_left_meta_stays_until_it_is_deleted(store: Store, tmp_path: Path) -> None:
    extract(store, "shop", {"orders": "select 1 as n", "items": "select 1 as n"})
    rebuild(store)
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("delete from _meta where table_name = 'orders'")
    (problem,) = rebuild(store).problems
    assert (problem.source, problem.table) == ("shop", "orders")
    assert (
        "the table 'shop.orders' is not updated: 'extracts/shop/extract.duckdb' no longer lists it" in problem.message
    )
    assert query(store, "from orders") == [(1,)]
    drop(store, "shop", "orders", now=lambda: NOW, folder=tmp_path, shown_version=1)
    assert rebuild(store).problems == ()
    assert views(store) == {"shop.items": "items"}


def test_invisible_changes_are_recorded_without_a_snapshot(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("create table notes (t varchar)")
    before = pointer(store)
    assert rebuild(store).status == "unchanged"
    assert pointer(store).built_from != before.built_from
    assert pointer(store).catalog == before.catalog


def test_a_changed_remote_view_or_attachment_is_published(store: Store) -> None:
    extract(store, "big", {"orders": "select 1 as n"})

    def change(*statements: str) -> int | None:
        with edited(store, "extracts/big/extract.duckdb") as path, duckdb.connect(path) as con:
            for statement in statements:
                con.execute(statement)
        return rebuild(store).snapshot

    def remote(table: str) -> tuple[str, ...]:
        attach, schema = "attach ':memory:' as bq", 'create schema bq."web-1"'
        made = f'create table bq."web-1".{table} (n int, origin varchar)'
        return attach, schema, made, f'create or replace view far as select * from bq."web-1".{table}'

    attached = "insert into _remote_attach values ('bq', 'bigquery', 'project=a', 'BQ_TOKEN')"
    assert change("insert into _meta (table_name, query_mode) values ('far', 'remote')", attached, *remote("one")) == 1
    assert change(*remote("two")) == 2
    assert change("update _remote_attach set token_env = 'BQ_OTHER_TOKEN'") == 3
    assert change("update _remote_attach set url = 'project=b'") == 4
    sql = 'CREATE VIEW far AS SELECT n, origin FROM bq."web-1".two;'
    assert query(store, "select sql from duckdb_views() where view_name = 'far' and schema_name = 'main'") == [(sql,)]
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]
    extract(store, "other", {"people": "select 1 as n"})
    assert rebuild(store).snapshot == 5
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]


@pytest.mark.parametrize("version", [5, 1 << 60])
@pytest.mark.parametrize("was_deleted", [False, True])
def test_an_extract_alone_does_not_remove_a_table(
    store: Store, tmp_path: Path, *, version: int, was_deleted: bool
) -> None:
    extract(store, "shop", {"orders": "select 1 as n", "items": "select 1 as n"})
    rebuild(store)
    if was_deleted:  # and published again: the deletion of then says nothing about the table of now
        drop(store, "shop", "orders", now=lambda: NOW, folder=tmp_path)
        assert rebuild(store).tables == 1
        extract(store, "shop", {"orders": "select 2 as n", "items": "select 1 as n"})
        assert rebuild(store).tables == 2
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        for table in ("_meta", "_files", "_state"):
            con.execute(f"delete from {table} where table_name = 'orders'")
        con.execute("insert into _state values ('orders', ?, null, null)", [version])
    (problem,) = rebuild(store).problems
    assert (problem.source, problem.table) == ("shop", "orders")
    assert query(store, "select count(*) from orders") == [(1,)]
    drop(store, "shop", "orders", now=lambda: NOW, folder=tmp_path, shown_version=3)
    assert rebuild(store).problems == ()
    assert views(store) == {"shop.items": "items"}


def test_a_rebuild_without_changes_takes_no_lease() -> None:
    gcs = Gcs()
    with running(gcs), gcs.client() as client:
        store = GsStore("bucket", "", client)
        extract(store, "shop", {"orders": "select 1 as n"})
        published = rebuild(store)
        before = {entry.key: entry.version for entry in store.list("")}
        gcs.ahead += 10  # ages are those of the service, in whole seconds
        gcs.counts.clear()
        answer = rebuild(store)
        assert sum(gcs.counts.values()) <= 3, gcs.counts
        assert answer == published.model_copy(update={"status": "unchanged"})
        assert {entry.key: entry.version for entry in store.list("")} == before


@pytest.mark.parametrize("part", ["duckdb", "catalog", "copy", "pointer", "damaged"])
def test_a_rebuild_without_changes_still_restores_missing_objects(store: Store, part: str) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    keys = {"duckdb": pointer(store).duckdb, "catalog": pointer(store).catalog, "copy": COPY, "pointer": CURRENT}
    if part == "damaged":
        store.put(pointer(store).catalog, b"{", if_version=ANY)
    else:
        store.delete(keys[part])
    rebuild(store)
    assert views(store) == {"shop.orders": "orders"}
    assert query(store, "from orders") == [(1,)]
    assert store.head(COPY) is not None
    assert store.head(pointer(store).catalog) is not None
    assert rebuild(store).status == "unchanged"
