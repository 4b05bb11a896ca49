"""A sync asks which sources have changed, and fetches the manifests of these alone."""

import json
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

pytestmark = pytest.mark.duckdb

Rows = Callable[[str], list[tuple[Any, ...]]]
LIST, MANIFEST = "GET /api/sync/sources", "GET /api/sync/manifest"


@pytest.fixture
def mirrored(api: FunctionsApi, logged_in: Da) -> FunctionsApi:
    """A server of three sources, all of which are mirrored."""
    api.lists_sources = True
    for source in ("crm", "shop", "zoo"):
        api.put(f"{source}.{source}_orders", f"select 1 as n, '{source}' as origin")
    logged_in("sync")
    assert api.counts()[MANIFEST] == 1
    api.forget()
    return api


def asked(api: FunctionsApi) -> dict[str, int]:
    return {name: count for name, count in api.counts().items() if name in (LIST, MANIFEST)}


def test_without_changes_only_the_list_is_requested(mirrored: FunctionsApi, logged_in: Da) -> None:
    assert logged_in("sync").out == "Already up to date; 3 tables unchanged. Snapshot 3.\n"
    assert mirrored.counts() == {LIST: 1}


def test_only_the_source_that_changed_is_requested(mirrored: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    mirrored.put("shop.shop_orders", "select 2 as n, 'shop' as origin")
    mirrored.put("shop.items", "select 3 as n")
    ran = logged_in("sync")
    assert ran.out.startswith("Updated shop.items, shop.shop_orders: 2 files, ")
    assert "1 table unchanged" not in ran.out
    assert "2 tables unchanged. Snapshot 5." in ran.out
    assert asked(mirrored) == {LIST: 1, MANIFEST: 1}
    sql = "select n from shop.shop_orders union all from items union all select n from crm_orders"
    assert sorted(rows(sql)) == [(1,), (2,), (3,)]
    assert "up to date" in logged_in("status").out
    mirrored.forget()
    logged_in("sync")
    assert mirrored.counts() == {LIST: 1}


def test_a_removed_source_leaves_the_mirror(mirrored: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    mirrored.withdraw("zoo.zoo_orders")
    assert logged_in("sync").out.startswith("Removed zoo.zoo_orders; 2 tables unchanged.")
    assert not workspace.folder("zoo.zoo_orders").exists()
    assert asked(mirrored) == {LIST: 1}


def test_tables_published_between_the_requests_arrive_with_the_next_sync(
    mirrored: FunctionsApi, logged_in: Da, rows: Rows
) -> None:
    mirrored.put("shop.shop_orders", "select 2 as n, 'shop' as origin")

    def publish() -> None:
        mirrored.after_list = lambda: None
        mirrored.put("shop.shop_orders", "select 3 as n, 'shop' as origin")
        mirrored.put("crm.crm_orders", "select 4 as n, 'crm' as origin")

    mirrored.after_list = publish
    logged_in("sync")
    assert rows("select n from shop_orders union all select n from crm_orders order by n") == [(1,), (3,)]
    mirrored.forget()
    assert logged_in("sync").out.startswith("Updated crm.crm_orders: 1 file, ")
    assert asked(mirrored) == {LIST: 1, MANIFEST: 1}
    assert rows("select n from shop_orders union all select n from crm_orders order by n") == [(3,), (4,)]


def test_after_a_failed_table_the_next_sync_compares_everything(
    mirrored: FunctionsApi, logged_in: Da, rows: Rows
) -> None:
    mirrored.put_bytes("shop.shop_orders", b"this is no parquet at all")
    assert logged_in("sync").code == 1
    mirrored.put("shop.shop_orders", "select 2 as n, 'shop' as origin")
    mirrored.forget()
    assert logged_in("sync").code == 0
    assert asked(mirrored) == {MANIFEST: 1}
    assert rows("select n from shop_orders") == [(2,)]


def test_in_a_damaged_mirror_a_sync_compares_everything(
    mirrored: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    (file,) = workspace.folder("zoo.zoo_orders").glob("*.parquet")
    file.unlink()
    assert logged_in("sync").out.startswith("Updated zoo.zoo_orders: 1 file, ")
    assert asked(mirrored) == {LIST: 1, MANIFEST: 1}
    assert rows("select n from zoo_orders") == [(1,)]


def test_a_name_that_moves_to_another_source_is_still_one_view(mirrored: FunctionsApi, logged_in: Da) -> None:
    mirrored.declare("shop.shop_orders", view="zoo_orders", files=mirrored.tables["shop.shop_orders"]["files"])
    ran = logged_in("sync")
    assert (ran.code, "its view name 'zoo_orders' is already used by zoo.zoo_orders" in ran.err) == (1, True)


def test_the_whole_manifest_of_an_older_server_is_requested(mirrored: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    mirrored.lists_sources = False
    mirrored.put("shop.shop_orders", "select 2 as n, 'shop' as origin")
    assert logged_in("sync").out.startswith("Updated shop.shop_orders: 1 file, ")
    assert rows("select n from shop_orders") == [(2,)]
    mirrored.forget()
    logged_in("sync")
    assert mirrored.counts() == {MANIFEST: 1}


@pytest.mark.parametrize("document", ['{"snapshot": 4}', '{"snapshot": -1, "sources": {}}', "[]"])
def test_an_invalid_list_is_refused_and_changes_nothing(
    mirrored: FunctionsApi, logged_in: Da, rows: Rows, document: str
) -> None:
    mirrored.answers["GET", "/api/sync/sources"] = [(200, json.loads(document))]
    ran = logged_in("sync")
    assert (ran.code, "the server's list of sources is invalid" in ran.err) == (1, True)
    assert rows("select n from shop_orders") == [(1,)]


def test_views_of_other_sources_are_not_changed(mirrored: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    mirrored.put("shop.shop_orders", "select 2 as n", description="Orders of the shop")
    mirrored.put("new.new_orders", "select 5 as n")
    mirrored.withdraw("zoo.zoo_orders")
    logged_in("sync")
    listed = "select schema_name, view_name, comment from duckdb_views() where not internal order by all"
    assert rows(listed) == [
        ("crm", "crm_orders", "(crm.crm_orders)"),
        *(("main", f"{name}_orders", comment) for name, comment in COMMENTS.items()),
        ("new", "new_orders", "(new.new_orders)"),
        ("shop", "shop_orders", COMMENTS["shop"]),
    ]
    assert rows("select id from _da.tables order by 1") == [(f"{name}.{name}_orders",) for name in COMMENTS]
    assert rows("select name from _da.schemas order by 1") == [("crm",), ("new",), ("shop",)]


COMMENTS = {
    "crm": "(crm.crm_orders)",
    "new": "(new.new_orders)",
    "shop": "Orders of the shop (shop.shop_orders)",
}


def test_a_database_that_the_user_changed_is_compared_completely(
    mirrored: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop view crm_orders; create table crm_orders as select 7 as mine")
    mirrored.put("shop.shop_orders", "select 2 as n")
    ran = logged_in("sync")
    assert "crm.crm_orders has no view 'crm_orders'" in ran.err
    assert rows("select mine from crm_orders") == [(7,)]
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop table crm_orders")
    mirrored.put("shop.shop_orders", "select 3 as n")
    logged_in("sync")
    assert rows("select n from crm_orders union all select n from shop_orders order by n") == [(1,), (3,)]
