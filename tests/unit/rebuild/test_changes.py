"""What a rebuild makes of sources and tables that come, go and change."""

import duckdb

from analyst.store import ANY, Store
from tests.reading import edited, pointer, query
from tests.unit.rebuild.building import damage, extract, rebuild, views


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
    assert problems() == []
    assert views(store) == {"crm.people": "people"}


def test_when_all_sources_are_gone_so_are_their_tables(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    store.delete("extracts/shop/extract.duckdb")
    assert (rebuild(store).tables, views(store)) == (0, {})
    extract(store, "other", {"orders": "select 1 as n"})
    rebuild(store)
    assert views(store) == {"other.orders": "other_orders"}


def test_a_table_that_left_meta_leaves_the_snapshot(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n", "items": "select 1 as n"})
    rebuild(store)
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("delete from _meta where table_name = 'orders'")
    rebuild(store)
    assert views(store) == {"shop.items": "items"}


def test_what_nobody_can_see_is_recorded_without_a_snapshot(store: Store) -> None:
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

    remote = "create or replace view far as select 1::int as n, {} as origin"
    assert change("insert into _meta (table_name, query_mode) values ('far', 'remote')", remote.format("'one'")) == 1
    assert change(remote.format("'two'")) == 2
    assert change("insert into _remote_attach values ('bq', 'bigquery', 'project=a', 'BQ_TOKEN')") == 3
    assert change("update _remote_attach set url = 'project=b'") == 4
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]
    extract(store, "other", {"people": "select 1 as n"})
    assert rebuild(store).snapshot == 5
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]
