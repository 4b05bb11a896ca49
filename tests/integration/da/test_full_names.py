"""Full names in the mirror: `shop.orders` beside `orders`, whatever sources and users call things."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.mirror.database import publish
from da.mirror.manifest import Table
from da.mirror.sync import Report
from da.mirror.views import Mirrored
from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi

SyncRun = Callable[..., Report]
Rows = Callable[[str], list[tuple[Any, ...]]]
Give = Callable[..., list[str]]
Ask = Callable[[str], Any]


@pytest.fixture
def give(tmp_path: Path) -> Callable[..., list[str]]:
    """Publish tables, given as id=short name, whose only value is their id; return the notes."""

    def run(**views: str) -> list[str]:
        mirrored = []
        for name, view in views.items():
            table_id = name.replace("__", ".")
            path = tmp_path / f"{name}.parquet"
            duckdb.execute(f"copy (select '{table_id}' as id) to '{path}' (format parquet)")
            mirrored.append(Mirrored(Table(table_id, view, ""), (path,)))
        published = publish(tmp_path / "analytics.duckdb", mirrored)
        assert published.failed == {}
        return published.notes

    return run


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Any]:
    def run(sql: str) -> Any:
        with duckdb.connect(tmp_path / "analytics.duckdb") as connection:
            return connection.execute(sql).fetchall()

    return run


def test_both_names_of_a_table_read_it(give: Give, ask: Ask) -> None:
    assert give(shop__orders="orders", crm__orders="crm_orders") == []
    for name, table in {"orders": "shop.orders", "shop.orders": "shop.orders", "crm.orders": "crm.orders"}.items():
        assert ask(f"select id from {name}") == [(table,)]
    assert ask("select orders.id from shop.orders join crm.orders as other on true") == [("shop.orders",)]


@pytest.mark.parametrize("source", ["main", "temp", "system", "information_schema", "pg_catalog", "_da"])
def test_a_source_named_like_a_schema_of_duckdb_has_short_names_only(give: Give, ask: Ask, source: str) -> None:
    assert give(**{f"{source}__orders": "orders"}) == []
    assert ask("select id from orders") == [(f"{source}.orders",)]
    assert ask("select 1 from information_schema.tables limit 1") == [(1,)]


def test_a_source_named_like_the_file_never_returns_the_table_of_another_source(give: Give, ask: Ask) -> None:
    give(analytics__orders="orders")
    assert ask("select id from analytics.orders") == [("analytics.orders",)]
    give(shop__orders="orders", analytics__orders="analytics_orders")
    with pytest.raises(duckdb.Error, match="Ambiguous reference"):
        ask("select id from analytics.orders")
    assert ask("select id from analytics.analytics.orders") == [("analytics.orders",)]
    give(analytics__orders="orders")
    assert ask("select id from analytics.orders") == [("analytics.orders",)]


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        ("create schema shop; create table shop.orders as select 42 as id", "no view 'shop.orders'"),
        ('create schema "Shop"; create view "Shop"."Orders" as select 42 as id', "no view 'shop.orders'"),
    ],
)
def test_an_object_of_the_user_with_this_name_is_kept(give: Give, ask: Ask, theirs: str, note: str) -> None:
    give(shop__items="items", crm__x="x")
    ask("drop view shop.items; drop schema shop")
    ask(theirs)
    (message,) = give(shop__orders="orders", shop__items="items")
    assert note in message
    assert "query it as orders, or rename yours and sync again" in message
    assert ask("select id from shop.orders") == [(42,)]
    assert ask("select id from orders") == [("shop.orders",)]
    assert ask("select id from shop.items") == [("shop.items",)]
    give()
    assert ask("select id from shop.orders") == [(42,)]


def test_a_schema_is_dropped_with_its_last_table_unless_the_user_uses_it(give: Give, ask: Ask) -> None:
    schemas = "select schema_name from duckdb_schemas() where database_name = 'analytics' order by 1"
    give(shop__orders="orders", crm__orders="crm_orders", erp__x="x")
    ask("create table crm.mine as select 1 as id")
    ask("create macro erp.twice(x) as 2 * x")
    give()
    assert ask(schemas) == [("_da",), ("crm",), ("erp",), ("main",)]
    assert ask("select id from crm.mine") == [(1,)]
    assert ask("select erp.twice(2)") == [(4,)]
    ask("drop table crm.mine")
    give(shop__orders="orders")
    assert ask(schemas) == [("_da",), ("erp",), ("main",), ("shop",)]


def test_a_mirror_of_an_older_version_gets_full_names_without_a_download(
    shop: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    assert sync().exit_code == 0
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop schema shop cascade; drop table _da.qualified; drop table _da.schemas")
        connection.execute("create table mine as select 1 as id")
    state = workspace.root / ".da/state.json"
    document = json.loads(state.read_text())
    del document["layout"]
    document["database"] = workspace.database_stamp()
    state.write_text(json.dumps(document))
    shop.forget()
    report = sync()
    assert (report.exit_code, report.files, report.updated) == (0, 0, [])
    assert rows("select count(*) from shop.orders") == [(1000,)]
    assert rows("select id from mine") == [(1,)]
    shop.forget()
    assert sync().exit_code == 0
    assert shop.counts() == {"GET /api/sync/manifest": 1}


def test_a_database_without_a_full_name_is_repaired(
    shop: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    assert shop.tables
    assert sync().exit_code == 0
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop view shop.orders")
    assert sync().exit_code == 0
    assert rows("select count(*) from shop.orders") == [(1000,)]


def test_a_table_that_cannot_be_read_leaves_no_name_and_affects_no_other(
    shop: FunctionsApi, sync: SyncRun, rows: Rows
) -> None:
    shop.put_bytes("shop.broken", b"no parquet at all")
    report = sync()
    assert list(report.failed) == ["shop.broken"]
    names = "select schema_name || '.' || view_name from duckdb_views() where not internal order by 1"
    assert rows(names) == [("main.customers",), ("main.orders",), ("shop.customers",), ("shop.orders",)]
