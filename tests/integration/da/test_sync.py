"""`da sync`: what a user sees of it, and what it leaves on the disk."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import ORDERS, Da, parquet

pytestmark = pytest.mark.duckdb

Rows = Callable[[str], list[tuple[Any, ...]]]


def test_the_first_sync_fetches_all_tables(shop: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    ran = logged_in("sync")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Updated shop.customers, shop.orders: 3 files, ")
    assert rows("select count(*), sum(total) from orders") == [(1000, 749250)]
    assert rows("select name from customers order by id") == [("Ann",), ("Bob",)]
    assert shop.count("/api/data/urls") == 1


def test_a_sync_without_changes_is_one_request(shop: FunctionsApi, logged_in: Da) -> None:
    logged_in("sync")
    shop.forget()
    ran = logged_in("sync")
    assert ran.out == f"Already up to date; 2 tables unchanged. Snapshot {shop.snapshot}.\n"
    assert shop.counts() == {"GET /api/sync/manifest": 1}


def test_only_what_changed_is_fetched(shop: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    logged_in("sync")
    shop.forget()
    shop.put("shop.customers", "select 1 as id, 'Ann' as name", "select 3 as id, 'Eve' as name")
    ran = logged_in("sync")
    assert shop.count("/files/") == 1
    assert "Updated shop.customers: 1 file, " in ran.out
    assert rows("select name from customers order by id") == [("Ann",), ("Eve",)]


@pytest.mark.parametrize("news", [True, False])
def test_replaced_files_are_deleted_one_sync_later(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, *, news: bool
) -> None:
    logged_in("sync")
    before = set(parquet(workspace))
    shop.put("shop.orders", "select 1 as id")
    logged_in("sync")
    assert before < set(parquet(workspace))
    if news:
        shop.put("shop.customers", "select 3 as id", "select 4 as id")
    logged_in("sync")
    left = before & set(parquet(workspace))
    assert {path.parent.name for path in left} == {"customers"}


def test_a_withdrawn_table_is_removed_with_its_files(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    logged_in("sync")
    shop.withdraw("shop.orders")
    ran = logged_in("sync")
    assert ran.out.startswith("Removed shop.orders; 1 table unchanged.")
    assert not workspace.folder("shop.orders").exists()
    assert rows("select view_name from duckdb_views() where schema_name = 'main' and not internal") == [("customers",)]


def test_a_table_that_becomes_remote_is_removed_with_its_files(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    logged_in("sync")
    shop.declare("shop.orders", query_mode="remote")
    ran = logged_in("sync")
    assert ran.out.startswith("Removed shop.orders; 1 table unchanged.")
    assert not workspace.folder("shop.orders").exists()


def test_remote_and_server_only_tables_are_not_fetched(api: FunctionsApi, logged_in: Da) -> None:
    api.declare("events.clicks", query_mode="remote")
    api.declare("hr.salaries", server_only=True)
    ran = logged_in("sync")
    assert (ran.code, api.count("/api/data/urls")) == (0, 0)
    assert "2 tables can only be queried on the server." in ran.out


def test_a_table_without_files_has_its_columns(api: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    columns: list[dict[str, Any]] = [
        {"name": "id", "type": "BIGINT", "description": "Key"},
        {"name": "at", "type": "TIMESTAMP WITH TIME ZONE", "description": None},
        {"name": 'od"d, name', "type": 'STRUCT(a INTEGER, "b c" DECIMAL(10,2)[])', "description": "it's odd"},
    ]
    api.declare("shop.empty", columns=columns)
    assert logged_in("sync").code == 0
    assert rows(
        "select column_name, data_type, comment from duckdb_columns() where schema_name = 'main' and table_name = 'empty'"
    ) == [(column["name"], column["type"], column["description"]) for column in columns]
    assert rows("select count(*) from empty") == [(0,)]


def test_descriptions_become_comments_in_the_database(
    api: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    entry = api.put("shop.orders", ORDERS, description="Ann's orders")
    entry["columns"][0]["description"] = "The key"
    logged_in("sync")
    assert rows("select comment from duckdb_views() where schema_name = 'main' and view_name = 'orders'") == [
        ("Ann's orders (shop.orders)",)
    ]
    described = "select schema_name, comment from duckdb_columns() where table_name = 'orders' and column_name = 'id' order by 1"
    assert rows(described) == [("main", "The key"), ("shop", None)]
    with duckdb.connect(workspace.duckdb) as connection:  # the short name is given to something else
        connection.execute("drop view orders; create table orders as select 42 as answer")
    entry["rows"] = 999
    assert "has no view 'orders'" in logged_in("sync").err
    assert rows(described) == [("shop", "The key")]
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop table orders")
    assert logged_in("sync").code == 0
    entry["rows"] = 1000
    assert logged_in("sync").code == 0
    assert rows(described) == [("main", "The key"), ("shop", None)]


def test_a_new_description_needs_no_download(api: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    entry = api.put("shop.orders", ORDERS)
    logged_in("sync")
    api.forget()
    entry["description"] = "Orders"
    assert logged_in("sync").out.startswith("Already up to date; 1 table unchanged.")
    assert api.counts() == {"GET /api/sync/manifest": 1}
    assert rows("select comment from duckdb_views() where schema_name = 'main' and view_name = 'orders'") == [
        ("Orders (shop.orders)",)
    ]


def test_columns_that_only_some_files_have_are_null_elsewhere(api: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    api.put("shop.mixed", "select 1 as id", "select 2 as id, 'x' as more")
    logged_in("sync")
    assert rows("select id, more from mixed order by id") == [(1, None), (2, "x")]


@pytest.mark.parametrize("name", ["select", "table", "con", "_", "a" * 63])
def test_every_valid_table_name_works_in_a_mirror(api: FunctionsApi, logged_in: Da, rows: Rows, name: str) -> None:
    api.put(f"{name}.{name}", "select 1 as id")
    assert logged_in("sync").code == 0
    assert rows(f'select id from "{name}"') == [(1,)]


def test_a_file_listed_twice_counts_twice(api: FunctionsApi, logged_in: Da, rows: Rows) -> None:
    api.put("shop.twice", "select 1 as id", "select 1 as id")
    ran = logged_in("sync")
    assert (ran.code, api.count("/files/")) == (0, 1)
    assert rows("select count(*) from twice") == [(2,)]


def test_json_reports_what_was_done(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    report = json.loads(logged_in("sync", "--json").out)
    assert report["updated"] == ["shop.customers", "shop.orders"]
    assert (report["files"], report["snapshot"], report["failed"]) == (3, shop.snapshot, [])
    assert report["workspace"] == str(workspace.root)
    report = json.loads(logged_in("sync", "--json").out)
    assert (report["updated"], report["unchanged"]) == ([], 2)


def test_quiet_prints_nothing(shop: FunctionsApi, logged_in: Da) -> None:  # noqa: ARG001
    ran = logged_in("sync", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_dry_run_changes_nothing(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    ran = logged_in("sync", "--dry-run")
    assert ran.out.startswith("Would update shop.customers, shop.orders: 3 files, ")
    assert not workspace.root.exists()
    logged_in("sync")
    shop.withdraw("shop.orders")
    shop.forget()
    assert "Would remove shop.orders" in logged_in("sync", "--dry-run").out
    assert workspace.folder("shop.orders").exists()
    assert shop.counts() == {"GET /api/sync/manifest": 1}


def test_one_table_can_be_synced_alone(shop: FunctionsApi, logged_in: Da, rows: Rows, workspace: Workspace) -> None:
    logged_in("sync", "--table", "orders")
    assert shop.count("/files/") == 1
    logged_in("sync")
    shop.put("shop.orders", "select 7 as id")
    shop.withdraw("shop.customers")
    ran = logged_in("sync", "--table", "shop.orders")
    assert "Updated shop.orders: 1 file" in ran.out
    assert rows("select id from orders") == [(7,)]
    assert len(list(workspace.folder("shop.customers").iterdir())) == 2
    assert rows("select count(*) from customers") == [(2,)]


def test_after_one_table_was_synced_alone_the_rest_follows(shop: FunctionsApi, logged_in: Da, rows: Rows) -> None:  # noqa: ARG001
    logged_in("sync", "--table", "orders")
    assert "Updated shop.customers: 2 files" in logged_in("sync").out
    assert rows("select count(*) from customers") == [(2,)]


def test_an_unknown_table_cannot_be_synced(shop: FunctionsApi, logged_in: Da) -> None:  # noqa: ARG001
    for _ in range(2):
        ran = logged_in("sync", "--table", "shop.nothing")
        assert ran.code == 1
        assert "there is no table 'shop.nothing'" in ran.err
        logged_in("sync")


def test_files_appear_under_the_hash_of_their_content(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:  # noqa: ARG001
    logged_in("sync")
    for path in parquet(workspace):
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:32] == path.stem


def test_the_database_can_be_opened_by_old_clients(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.put("shop.orders", "select 7 as id")
    logged_in("sync")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{workspace.duckdb}' as mirror (read_only)")
        tags = connection.execute("select tags from duckdb_databases() where database_name = 'mirror'").fetchone()
    assert tags == ({"storage_version": "v1.0.0+"},)
