"""`da tables` and `da status`: what there is, and whether it is up to date."""

import json

import pytest

from da.mirror.workspace import Workspace
from tests.doubles.functions_api import Fault, FunctionsApi
from tests.integration.da.conftest import Da

pytestmark = pytest.mark.duckdb


@pytest.fixture
def mirror(api: FunctionsApi, logged_in: Da) -> Da:
    entry = api.put("shop.orders", "select i as id, i * 1.5 as total from range(1500) t(i)", description="All orders")
    entry["columns"][0]["description"] = "The key"
    api.declare("events.clicks", query_mode="remote", rows=10**9)
    api.declare("hr.salaries", server_only=True, view="salaries")
    assert logged_in("sync").code == 0
    return logged_in


def test_tables_are_listed_with_their_location(mirror: Da) -> None:
    head, _, *lines = mirror("tables").out.splitlines()
    assert head.split() == ["view", "table", "where", "rows", "size", "updated", "description"]
    assert [line.split()[:3] for line in lines] == [
        ["clicks", "events.clicks", "remote"],
        ["salaries", "hr.salaries", "server"],
        ["orders", "shop.orders", "local"],
    ]
    assert "1,000,000,000" in lines[0]
    assert lines[2].endswith("All orders")


def test_notices_of_a_table_are_shown_everywhere(api: FunctionsApi, logged_in: Da) -> None:
    entry = api.put("shop.orders", "select 1 as id")
    entry["notice"] = "its files are gone from the source, last seen\x1b[2J 2026-01-02"
    api.put("shop.items", "select 1 as id")
    note = "shop.orders: its files are gone from the source, last seen\N{REPLACEMENT CHARACTER}[2J 2026-01-02"
    for _ in range(2):  # with a manifest, and with the answer that nothing has changed
        assert f"Note: {note}." in logged_in("sync").err
    assert json.loads(logged_in("sync", "--json").out)["notes"] == [note]
    assert f"Note: {note}." in logged_in("tables").out
    assert f"Note: {note}." in logged_in("tables", "orders").out
    assert f"Note: {note}." in logged_in("status").out
    assert json.loads(logged_in("status", "--json").out)["notices"] == [note]
    assert [table["notice"] for table in json.loads(logged_in("tables", "--json").out)] == [None, entry["notice"]]


def test_tables_as_json_have_the_paths_of_their_files(mirror: Da, workspace: Workspace) -> None:
    clicks, _, orders = json.loads(mirror("tables", "--json").out)
    assert (clicks["where"], clicks["folder"]) == ("remote", None)
    assert (orders["id"], orders["view"], orders["rows"]) == ("shop.orders", "orders", 1500)
    assert orders["folder"] == str(workspace.folder("shop.orders"))


@pytest.mark.parametrize("name", ["orders", "shop.orders", "ORDERS"])
def test_a_table_shows_its_columns(mirror: Da, name: str) -> None:
    head, described, _, *table = mirror("tables", name).out.splitlines()
    assert head.startswith("orders (shop.orders): local, 1,500 rows, ")
    assert described == "All orders"
    assert table[2].split(maxsplit=2) == ["id", "BIGINT", "The key"]


def test_a_table_as_json_has_columns_and_files(mirror: Da, workspace: Workspace) -> None:
    table = json.loads(mirror("tables", "orders", "--json").out)
    assert table["columns"][0] == {"name": "id", "type": "BIGINT", "description": "The key"}
    assert table["files"] == [str(path) for path in workspace.folder("shop.orders").iterdir()]


def test_the_snapshots_of_the_server_are_listed(logged_in: Da, api: FunctionsApi) -> None:
    listed = [
        {"snapshot": 12, "published_at": "2026-01-02T03:04:05Z", "is_current": True},
        {"snapshot": 11, "published_at": "2026-01-01T03:04:05.123456+00:00", "is_current": False},
    ]
    api.answers["GET", "/api/snapshots"] = [(200, {"snapshots": listed}), (200, {"snapshots": listed})]
    head, _, newest, before = logged_in("tables", "--snapshots").out.splitlines()
    assert head.split() == ["snapshot", "published"]
    assert (newest.split()[0], newest.split()[-1], before.split()[0]) == ("12", "current", "11")
    assert json.loads(logged_in("tables", "--snapshots", "--json").out) == listed


def test_an_administrator_rolls_back_to_an_earlier_snapshot(logged_in: Da, api: FunctionsApi) -> None:
    api.answers["POST", "/api/admin/snapshots/11/rollback"] = [(200, {"snapshot": 13, "status": "published"})]
    assert logged_in("admin", "rollback", "11").out == "Restored the tables of snapshot 11 as snapshot 13.\n"
    assert logged_in("admin", "rollback", "0").code == 2


def test_an_administrator_sees_held_back_sources_and_releases_them(logged_in: Da, api: FunctionsApi) -> None:
    report = {"snapshot": 12, "status": "unchanged", "tables": 2, "missing": ["crm.people"], "held_back": ["shop"]}
    report["changes"] = [
        {"table": "crm.people", "change": "removed", "rows_before": 1200, "rows_after": None},
        {"table": "shop.orders", "change": "changed", "rows_before": 4000, "rows_after": 3999},
        {"table": "shop.items", "change": "changed", "rows_before": 1, "rows_after": 1},
    ]
    changes = (
        "  crm.people: removed, 1,200 rows\n  shop.orders: 4,000 → 3,999 rows\n  shop.items: 1 row, other content\n"
    )
    done = {**report, "snapshot": 13, "status": "published"}
    api.answers["POST", "/api/admin/snapshots/11/rollback"] = [(200, report), (200, done)]
    held = "Held back by a rollback until they publish again or you run da admin release: shop.\n"
    assert logged_in("admin", "rollback", "11", "--dry-run").out == (
        f"Would restore snapshot 11: 2 tables.\n{changes}Would remove tables: crm.people.\n{held}"
    )
    assert logged_in("admin", "rollback", "11").out == (
        f"Restored the tables of snapshot 11 as snapshot 13.\n{changes}Removed tables: crm.people.\n{held}"
    )
    api.answers["POST", "/api/admin/snapshots/release"] = [(200, {"snapshot": 14, "status": "published", "tables": 3})]
    assert logged_in("admin", "release", "shop").out == "Snapshot 14: 3 tables.\n"


SWEPT = {"dry_run": False, "deleted": 2, "deleted_bytes": 1500, "waiting": 1, "problems": []}


def test_an_administrator_sweeps_the_bucket(logged_in: Da, api: FunctionsApi) -> None:
    api.answers["POST", "/sweep"] = [(200, SWEPT), (200, SWEPT)]
    assert logged_in("admin", "sweep").out == "Deleted 2 objects (1.5 kB); 1 file due for deletion later.\n"
    assert (
        logged_in("admin", "sweep", "--dry-run").out
        == "Would delete 2 objects (1.5 kB); 1 file due for deletion later.\n"
    )


def test_compacted_files_are_reported(logged_in: Da, api: FunctionsApi) -> None:
    compacted = [{"source": "shop", "table": "orders", "files": 5000, "size_bytes": 14_000_000}]
    swept = {
        **SWEPT,
        "compacted": compacted,
        "gathered": 1,
        "rebuild": {"status": "published", "snapshot": 3, "error": None},
    }
    failed = {**swept, "gathered": 0, "rebuild": {"status": "failed", "snapshot": None, "error": "it is away"}}
    api.answers["POST", "/sweep"] = [(200, {**swept, "rebuild": None}), (200, swept), (200, failed)]
    assert logged_in("admin", "sweep", "--dry-run").out.splitlines()[1:] == [
        "Would compact shop.orders: 5,000 small files (14.0 MB).",
        "Would archive 1 record of past days.",
    ]
    ran = logged_in("admin", "sweep")
    assert ran.out.splitlines()[1:] == [
        "Compacted shop.orders: 5,000 small files (14.0 MB).",
        "Archived 1 record of past days.",
    ]
    assert (ran.err, ran.code) == ("", 0)
    ran = logged_in("admin", "sweep")
    assert (len(ran.out.splitlines()), ran.err, ran.code) == (2, "rebuild: it is away\n", 1)


def test_a_source_that_could_not_be_swept_is_reported(logged_in: Da, api: FunctionsApi) -> None:
    api.answers["POST", "/sweep"] = [(200, {**SWEPT, "problems": [{"source": "bad", "message": "it is broken"}]})]
    ran = logged_in("admin", "sweep")
    assert (ran.err, ran.code) == ("bad: it is broken\n", 1)


def test_a_missing_table_is_reported(mirror: Da) -> None:
    ran = mirror("tables", "nothing")
    assert (ran.code, ran.err) == (
        1,
        "da: there is no table 'nothing'; to fetch new tables, run: da sync\n",
    )


def test_before_the_first_sync_there_are_no_tables(da: Da) -> None:
    ran = da("tables")
    assert ran.code == 1
    assert "there is no mirror in" in ran.err


def test_an_up_to_date_mirror_is_reported_as_such(mirror: Da, api: FunctionsApi, workspace: Workspace) -> None:
    api.forget()
    ran = mirror("status")
    lines = dict(line.split(maxsplit=1) for line in ran.out.replace("last sync", "last_sync").splitlines())
    assert ran.code == 0
    assert (lines["server"], lines["user"]) == (api.address, "ann@example.com")
    assert lines["workspace"] == str(workspace.root)
    assert lines["last_sync"].startswith(f"snapshot {api.snapshot}, synced just now (20")
    assert lines["tables"].startswith("1 mirrored, 2 on the server only; 1,500 rows, ")
    assert lines["state"] == "up to date"
    assert api.counts() == {"GET /api/sync/manifest": 1}


def test_a_mirror_that_is_behind_is_reported_with_what_is_missing(mirror: Da, api: FunctionsApi) -> None:
    api.withdraw("shop.orders")
    api.put("shop.customers", "select 1 as id")
    status = json.loads((ran := mirror("status", "--json")).out)
    assert (ran.code, status["state"]) == (3, "behind")
    assert status["detail"].startswith("1 table to fetch (")
    assert status["detail"].endswith("1 table to remove; run da sync")


def test_a_mirror_that_lost_a_file_is_incomplete(mirror: Da, workspace: Workspace) -> None:
    next(iter(workspace.folder("shop.orders").iterdir())).unlink()
    ran = mirror("status")
    assert ran.code == 3
    assert "incomplete: files of shop.orders are missing; run da sync" in ran.out


def test_a_mirror_with_a_failed_table_is_behind(mirror: Da, api: FunctionsApi) -> None:
    api.put("shop.orders", "select 7 as id")
    api.faults.append(Fault(status=404))
    assert mirror("sync").code == 1
    ran = mirror("status")
    assert ran.code == 3
    assert "behind: 1 table to fetch" in ran.out


def test_offline_the_status_shows_what_is_known_locally(
    mirror: Da, api: FunctionsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DA_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("DA_TOKEN", "x")
    ran = mirror("status")
    assert ran.code == 4
    assert "1 mirrored" in ran.out
    assert "unknown: can't reach '127.0.0.1:1'" in ran.out
    assert f"snapshot {api.snapshot}, synced just now" in ran.out


def test_logged_out_the_status_shows_what_is_known_locally(mirror: Da) -> None:
    mirror("auth", "logout")
    ran = mirror("status")
    assert ran.code == 4
    assert "unknown: you are not logged in" in ran.out


def test_before_the_first_sync_the_status_says_that(logged_in: Da) -> None:
    ran = logged_in("status")
    assert ran.code == 3
    assert "never synced: run da sync" in ran.out
