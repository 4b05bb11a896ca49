"""`da admin`: what administrators do, as the server is asked for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

BUILT = [(200, {"status": "published", "snapshot": 2, "tables": 1, "problems": []})]


def run_of(status: str, *tables: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"run_id": "r1", "kind": "extract", "source": "shop", "status": status, "tables": list(tables), **more}


def test_a_source_is_added_with_its_options(
    api: FunctionsApi, logged_in: Da, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api.answers["GET", "/api/admin/sources"] = [(200, {"sources": []})]
    api.answers["POST", "/api/admin/sources/shop"] = [(201, {"name": "shop"})]
    options = ["-o", "delimiter=;", "-o", "nullstr=NA", "-o", "nullstr=", "-o", 'types={"id": "BIGINT"}', "-o", "a=b=c"]
    ran = logged_in("admin", "sources", "add", "shop", "--no-check", "--path", "./files", *options)
    assert (ran.code, ran.out) == (0, "Added the source shop. To sync it, run: da admin sync shop\n")
    config = {
        "path": str(tmp_path / "files"),
        "delimiter": ";",
        "nullstr": ["NA", ""],
        "types": {"id": "BIGINT"},
        "a": "b=c",
    }
    assert api.bodies == [{"type": "csv", "config": config}]


@pytest.mark.parametrize("path", ["shop", "sources/shop", "/sources/shop", "s3://bucket/shop"])
def test_a_path_below_the_folder_of_sources_is_sent_unchanged(api: FunctionsApi, logged_in: Da, path: str) -> None:
    api.answers["GET", "/api/admin/sources"] = [(200, {"sources": []})]
    api.answers["POST", "/api/admin/sources/shop"] = [(201, {"name": "shop"})]
    assert logged_in("admin", "add-source", "shop", "--no-check", "--path", path).code == 0
    assert api.bodies == [{"type": "csv", "config": {"path": path}}]


@pytest.mark.parametrize("option", ["nothing", "=x", "types={", "list=[1,"])
def test_a_malformed_option_is_a_usage_error(api: FunctionsApi, logged_in: Da, option: str) -> None:
    assert logged_in("admin", "add-source", "shop", "--path", "/x", "--option", option).code == 2
    assert api.requests == []


def test_a_csv_source_needs_a_path(logged_in: Da) -> None:
    assert logged_in("admin", "add-source", "shop").code == 2


def test_sources_are_listed(api: FunctionsApi, logged_in: Da) -> None:
    sources = [{"name": "shop", "type": "csv", "config": {"path": "/data"}, "sync_schedule": "every 6h"}]
    api.answers["GET", "/api/admin/sources"] = [(200, {"sources": sources})]
    assert logged_in("admin", "list-sources").out.splitlines()[2].split() == [
        "shop",
        "csv",
        "every",
        "6h",
        "path=/data",
    ]
    assert json.loads(logged_in("admin", "list-sources", "--json").out) == sources


def test_a_table_is_registered_with_the_given_options(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/admin/tables/shop.orders"] = [(201, {"id": "shop.orders", "is_public": True})]
    arguments = ["--public", "--primary-key", "id, line", "--sync-strategy", "incremental", "-o", "files=o-*.csv"]
    ran = logged_in("admin", "register-table", "shop.orders", *arguments)
    assert ran.out == "Registered shop.orders, readable by every user. To publish it, run: da admin sync shop\n"
    assert api.bodies == [
        {
            "primary_key": ["id", "line"],
            "sync_strategy": "incremental",
            "is_public": True,
            "options": {"files": "o-*.csv"},
        }
    ]


def test_registered_tables_are_listed(api: FunctionsApi, logged_in: Da) -> None:
    table = {"id": "shop.orders", "query_mode": "local", "is_public": False, "sync_strategy": "full_refresh"}
    api.answers["GET", "/api/admin/tables"] = [(200, {"tables": [table]})]
    lines = logged_in("admin", "list-tables", "--source", "shop").out.splitlines()
    assert lines[2].split() == ["shop.orders", "local", "granted", "full_refresh"]
    assert api.requests[0][1] == "/api/admin/tables?source=shop"


def test_a_sync_is_followed_until_it_ends(api: FunctionsApi, logged_in: Da) -> None:
    orders = {"table": "orders", "status": "ok", "rows": 1500, "size_bytes": 20_000, "rejected": 0, "error": None}
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [
        (200, {"snapshot": 1, "runs": [run_of("pending")]}),
        (200, {"snapshot": 2, "runs": [run_of("ok", orders)]}),
    ]
    api.answers["POST", "/rebuild"] = [(202, {"status": "running"}), *BUILT]
    ran = logged_in("admin", "sync", "shop")
    assert (ran.code, ran.out, ran.err) == (0, "shop.orders: ok, 1,500 rows, 20.0 kB\nSnapshot 2: 1 table.\n", "")
    assert api.bodies == [{"sources": ["shop"]}, {}, {}]
    assert api.count("/api/sync/status?run=r1") == 2


def test_a_failed_table_is_reported(api: FunctionsApi, logged_in: Da) -> None:
    failed = {"table": "orders", "status": "failed", "rows": None, "rejected": 0, "error": "line 3 is odd"}
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [(200, {"runs": [run_of("partial", failed)]})]
    api.answers["POST", "/rebuild"] = BUILT
    ran = logged_in("admin", "sync", "shop.orders")
    assert (ran.code, ran.out) == (1, "shop.orders: failed: line 3 is odd\nSnapshot 2: 1 table.\n")
    assert api.bodies == [{"tables": ["shop.orders"]}, {}]


def test_sources_and_tables_can_be_synced_together(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    assert logged_in("admin", "sync", "web.visits", "shop", "web.hits", "--no-wait").code == 0
    assert api.bodies == [{"sources": ["shop"]}, {"tables": ["web.visits", "web.hits"]}]


def test_waiting_for_a_run_that_does_not_end_has_a_limit(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [(200, {"runs": [run_of("pending")]})]
    ran = logged_in("admin", "sync", "--timeout", "1")
    assert ran.code == 1
    assert ran.err.startswith("da: 'shop' is still syncing, and the time to wait is over; it continues on the server.")
    assert ran.err.endswith("to see how it ended, run: da admin runs\n")


def test_a_failed_run_is_reported(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [(200, {"runs": [run_of("failed", error="the folder is gone")]})]
    api.answers["POST", "/rebuild"] = BUILT
    ran = logged_in("admin", "sync")
    assert (ran.code, ran.err) == (1, "shop: the folder is gone\n")
    assert json.loads(logged_in("admin", "sync", "--json").out)["runs"][0]["error"] == "the folder is gone"


def test_a_sync_need_not_be_followed(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    assert logged_in("admin", "sync", "--no-wait").out == "Started: shop.\n"
    assert api.count("/api/sync/status") == 0


def test_without_sources_there_is_nothing_to_sync(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": []})]
    ran = logged_in("admin", "sync")
    assert ran.code == 1
    assert "nothing to sync: there are no sources" in ran.err


def test_a_rebuild_reports_its_problems(api: FunctionsApi, logged_in: Da) -> None:
    problem = {"source": "shop", "table": "orders", "code": "contract", "message": "its view can't be placed"}
    api.answers["POST", "/rebuild"] = [
        (200, {"snapshot": 3, "status": "published", "tables": 2, "problems": [problem]})
    ]
    ran = logged_in("admin", "rebuild")
    assert (ran.code, ran.out, ran.err) == (1, "Snapshot 3: 2 tables.\n", "shop.orders: its view can't be placed\n")


def test_unread_tables_are_printed_after_a_sync(api: FunctionsApi, logged_in: Da) -> None:
    table = {"table": "t", "status": "ok", "rows": 1, "size_bytes": 10, "notes": ["b.csv has no column in common"]}
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"run_id": "r1", "source": "shop"}]})]
    api.answers["GET", "/api/sync/status"] = [(200, {"runs": [run_of("ok", table, notes=["skipped 1: old.xls"])]})]
    api.answers["POST", "/rebuild"] = BUILT
    assert logged_in("admin", "sync").out.splitlines()[:2] == [
        "shop.t: ok, 1 row, 10 B; b.csv has no column in common",
        "shop: skipped 1: old.xls",
    ]
