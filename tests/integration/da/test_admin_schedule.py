"""`da admin schedule`: what is synced when, as the server reports it."""

import json

import pytest

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

LAST = {"last_run": "2026-03-27T12:00:00Z", "failures": 0, "error": None}
SWEEP = {"schedule": "daily 03:00", **LAST, "is_due": False, "next_due": "2026-03-28T03:00:00Z", "why": "not yet"}
ENTRY = {"source": "shop", "said_by": "table", "is_running": False, "schedule": "every 6h"}
SCHEDULE = {
    "at": "2026-03-27T13:00:00Z",
    "entries": [
        {**ENTRY, "id": "shop", "table": None, **LAST, "is_due": False, "next_due": "2026-03-27T18:00:00Z", "why": "y"},
        {**ENTRY, "id": "shop.a", "table": "a", **LAST, "is_due": True, "next_due": "2026-03-27T12:05:00Z", "why": "z"},
        {**ENTRY, "id": "web", "table": None, **LAST, "is_due": True, "next_due": None, "why": "w", "is_running": True},
        {**ENTRY, "id": "off", "table": None, "last_run": None, "is_due": False, "next_due": None, "why": "v"},
    ],
    "sweep": SWEEP,
}


def test_the_schedule_is_shown(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/admin/schedule"] = [(200, SCHEDULE)]
    _, _, *lines = logged_in("admin", "schedule").out.splitlines()
    assert [[cell.strip() for cell in line.split("  ") if cell] for line in lines] == [
        ["shop", "every 6h", "2026-03-27 13:00 CET", "2026-03-27 19:00 CET", "y"],
        ["shop.a", "every 6h", "2026-03-27 13:00 CET", "now", "z"],
        ["web", "every 6h", "2026-03-27 13:00 CET", "running", "w"],
        ["off", "every 6h", "never", "never", "v"],
        ["(sweep)", "daily 03:00", "2026-03-27 13:00 CET", "2026-03-28 04:00 CET", "not yet"],
    ]
    assert json.loads(logged_in("admin", "schedule", "--json").out) == SCHEDULE


def test_due_extracts_can_be_started_and_only_those_are_listed(api: FunctionsApi, logged_in: Da) -> None:
    started = {"outcome": "started", "why": "it is due by its schedule"}
    sources = [
        {**started, "source": "crm", "tables": None},
        {**started, "source": "shop", "tables": ["a", "b"]},
        {**started, "source": "web", "tables": []},
        {"outcome": "running", "source": "erp", "why": "an extract of the source is running", "tables": None},
    ]
    idle = {"outcome": "not_due", "why": "it is not due yet"}
    api.answers["POST", "/schedule"] = [
        (200, {"sources": sources, "sweep": started}),
        (200, {"sources": [], "sweep": idle}),
    ]
    assert logged_in("admin", "schedule", "--start").out.splitlines() == [
        "Started crm: all tables.",
        "Started shop: a, b.",
        "Started web: discovery of new tables.",
        "Started a sweep.",
    ]
    assert logged_in("admin", "schedule", "--start").out == ""


def test_a_server_is_paused_and_resumed(api: FunctionsApi, logged_in: Da) -> None:
    pause = {"at": "2026-03-27T12:00:00Z", "why": "a backup was restored", "by": None}
    api.answers["GET", "/api/admin/schedule"] = [(200, {**SCHEDULE, "paused": pause})]
    text = "Paused since 2026-03-27 13:00 CET: a backup was restored. To resume, run: da admin schedule --resume\n"
    assert logged_in("admin", "schedule").err == text
    api.answers["POST", "/api/admin/schedule"] = [(200, {"paused": pause}), (200, {"paused": None})]
    assert logged_in("admin", "schedule", "--pause").out == text
    assert logged_in("admin", "schedule", "--resume").out == "Resumed: schedules, scripts and messages.\n"
    assert api.bodies == [{"paused": True}, {"paused": False}]
    assert logged_in("admin", "schedule", "--pause", "--start").code == 2


@pytest.mark.parametrize(
    ("arguments", "path", "schedule"),
    [
        (["shop", "every 6h"], "sources/shop", "every 6h"),
        (["shop.a", "daily", "05:00"], "tables/shop.a", "daily 05:00"),
        (["shop.a"], "tables/shop.a", "inherited from its source"),
        (["shop"], "sources/shop", "inherited from the instance"),
    ],
)
def test_a_schedule_is_set_for_a_source_or_table(
    api: FunctionsApi, logged_in: Da, arguments: list[str], path: str, schedule: str
) -> None:
    api.answers["PUT", f"/api/admin/{path}"] = [(200, {})]
    assert logged_in("admin", "set-schedule", *arguments).out == f"Schedule of {arguments[0]}: {schedule}.\n"
    assert api.bodies == [{"sync_schedule": schedule if arguments[1:] else None}]


def test_a_schedule_in_which_the_shell_replaced_asterisks_is_explained(logged_in: Da) -> None:
    files = ("a.csv", "b.csv")
    refused = logged_in("admin", "set-schedule", "shop", "cron", "0", "5", *files, *files, "1-5")
    assert (refused.code, "quote the schedule: 'cron 0 5 * * 1-5'" in refused.err) == (2, True)
