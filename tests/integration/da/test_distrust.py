"""Values from a server are checked before they become paths or SQL."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from da.errors import DaError
from da.mirror.sync import Report
from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

pytestmark = pytest.mark.duckdb

SyncRun = Callable[..., Report]
Rows = Callable[[str], list[tuple[Any, ...]]]

SHA = "0" * 64
FILE = {"path": "x", "sha256": SHA, "size_bytes": 12}


@pytest.mark.parametrize(
    "table_id",
    [
        "../../etc.passwd",
        "shop/../..orders",
        "shop",
        "shop.",
        ".orders",
        "shop.orders.more",
        "Shop.orders",
        "shop.or ders",
        "a" * 64 + ".b",
        "shop.\x00",
        "c:.x",
        "sh\\op.x",
    ],
)
def test_a_table_with_an_invalid_name_is_refused(
    api: FunctionsApi, sync: SyncRun, workspace: Workspace, rows: Rows, table_id: str
) -> None:
    api.put("shop.customers", "select 1 as id")
    api.declare(table_id, view="strange", files=[FILE])
    report = sync()
    assert list(report.failed) == [table_id]
    assert "is invalid: id is" in report.failed[table_id]
    assert rows("select id from customers") == [(1,)]
    assert [path.name for path in workspace.parquet.iterdir()] == ["shop"]


@pytest.mark.parametrize(
    "entry",
    [
        {"view": 'x"; drop table y; --'},
        {"view": "../x"},
        {"view": None},
        {"files": [{**FILE, "sha256": "../../../x"}]},
        {"files": [{**FILE, "sha256": SHA.upper().replace("0", "A")}]},
        {"files": [{**FILE, "size_bytes": -1}]},
        {"files": [{**FILE, "size_bytes": 0}]},
        {"files": [{**FILE, "size_bytes": "1"}]},
        {"files": [{**FILE, "path": 7}]},
        {"files": "x"},
        {"files": [None]},
        {"columns": [{"name": "a\x00b", "type": "INTEGER"}]},
        {"columns": [{"type": "INTEGER"}]},
        {"columns": [{"name": "a" * 1001, "type": "INTEGER"}]},
        {"columns": [{"name": "a", "type": "INTEGER\x1b[2J"}]},
        {"columns": [{"name": "a\ud800", "type": "INTEGER"}]},
        {"files": [FILE, {**FILE, "sha256": "0" * 63 + "1"}]},
        {"files": [{**FILE, "size_bytes": 2**63}]},
        {"files": [{**FILE, "path": "x" * 200_001}]},
        {"rows": True},
        {"rows": 2**63},
        {"size_bytes": 10**400},
        {"updated": 7},
        {"view": "x" * 64},
        {"view": "Main"},
        {"description": ["x"]},
        {"description": "\udfff"},
    ],
)
def test_a_table_with_an_invalid_entry_is_refused(api: FunctionsApi, sync: SyncRun, rows: Rows, entry: Any) -> None:
    api.put("shop.customers", "select 1 as id")
    api.declare("shop.orders").update(entry)
    report = sync()
    assert list(report.failed) == ["shop.orders"]
    assert "its description in the manifest is invalid" in report.failed["shop.orders"]
    assert rows("select id from customers") == [(1,)]


def test_a_refused_table_keeps_its_last_state(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.orders", "select 1 as id")
    assert sync().exit_code == 0
    api.tables["shop.orders"]["view"] = "../x"
    assert sync().exit_code == 1
    assert rows("select id from orders") == [(1,)]


def test_two_tables_cannot_share_a_view(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("a.orders", "select 1 as id")
    api.put("b.orders", "select 2 as id")
    assert sync().failed == {"b.orders": "its view name 'orders' is already used by a.orders"}


@pytest.mark.parametrize("view", ["main", "information_schema", "temp", "system", "select", "_tables", "con", "nul"])
def test_a_view_with_a_reserved_name_is_only_a_view(api: FunctionsApi, sync: SyncRun, rows: Rows, view: str) -> None:
    api.put(f"{view}.{view}", "select 1 as id")
    assert sync().failed == {}
    assert rows(f'select id from main."{view}"') == [(1,)]


def test_a_table_declared_larger_than_the_disk_blocks_no_other(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.customers", "select 1 as id")
    api.declare("shop.orders", files=[{**FILE, "size_bytes": 2**62}])
    report = sync()
    assert list(report.failed) == ["shop.orders"]
    assert "free some space" in report.failed["shop.orders"]
    assert rows("select id from customers") == [(1,)]


def test_a_deeply_nested_manifest_is_refused(api: FunctionsApi, sync: SyncRun) -> None:
    api.answers["GET", "/api/sync/manifest"] = [(200, "[" * 200_000)]
    with pytest.raises(DaError):
        sync()


@pytest.mark.parametrize(
    "kind",
    [
        "INTEGER) as x, (select 1",
        "nonsense",
        "INTEGER; drop view customers",
        "INTEGER, b INTEGER",
        "INTEGER default 5",
        "STRUCT(a INTEGER",
        "main.mood",
        "STRUCT(a " * 100 + "INTEGER" + ")" * 100,
    ],
)
def test_a_strange_type_is_not_executed_as_sql(api: FunctionsApi, sync: SyncRun, rows: Rows, kind: str) -> None:
    api.put("shop.customers", "select 1 as id")
    api.declare("shop.empty", columns=[{"name": "a", "type": kind, "description": None}])
    assert list(sync().failed) == ["shop.empty"]
    assert rows("select id from customers") == [(1,)]


def test_odd_descriptions_and_column_names_are_only_text(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    text = 'it\'s "odd"; drop view orders; --\n\x1b[31m'
    entry = api.put("shop.orders", 'select 1 as "a""; drop view x; --"', description=text)
    entry["columns"][0]["description"] = text
    assert sync().exit_code == 0
    assert rows("select comment from duckdb_views() where schema_name = 'main' and view_name = 'orders'") == [
        (f"{text} (shop.orders)",)
    ]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1:x/"])
def test_only_http_urls_are_fetched(api: FunctionsApi, sync: SyncRun, url: str) -> None:
    (file,) = api.put("shop.orders", "select 1 as id")["files"]
    api.answers["POST", "/api/data/urls"] = [(200, {"urls": {file["path"]: url}, "expires_in": 900})]
    report = sync()
    assert list(report.failed) == ["shop.orders"]


def test_the_token_is_not_sent_with_signed_urls(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("shop.orders", "select 1 as id")  # the double refuses a request for a file that carries a token
    assert sync().exit_code == 0


def test_texts_of_the_server_cannot_control_the_terminal(api: FunctionsApi, logged_in: Da) -> None:
    api.put("shop.orders", "select 1 as id", description="\x1b[2Jgone\nnext")
    logged_in("sync")
    ran = logged_in("tables")
    assert "\x1b" not in ran.out
    assert "gone next" in ran.out
    assert json.loads(logged_in("tables", "--json").out)[0]["description"] == "\x1b[2Jgone\nnext"


def test_a_url_may_be_relative_to_the_server(api: FunctionsApi, sync: SyncRun) -> None:
    (file,) = api.put("shop.orders", "select 1 as id")["files"]
    url = f"/files/{file['path']}?signature=0"
    api.answers["POST", "/api/data/urls"] = [(200, {"urls": {file["path"]: url}, "expires_in": 900})]
    assert sync().exit_code == 0
