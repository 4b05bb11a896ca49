"""`da admin jira`: the requests to the server, and how its answers are printed."""

import json
from typing import Any

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

BACKFILL = "/api/admin/jira/backfill"
RAN: dict[str, Any] = {
    "status": "ok",
    "counts": {"read": 1200, "fetched": 1100, "known": 90, "gone": 10},
    "notes": [],
    "error": None,
    "is_complete": True,
    "jql": None,
    "found": None,
}
CHECKED = {
    "level": "WARNING",
    "totals": {"missing": 4, "stale": 2, "deleted": 0},
    "until": "2026-03-01T11:55:00Z",
    "jira": 5000,
    "published": 4996,
    "notes": [],
    "error": None,
}
WEBHOOKS = {
    "source": "jira",
    "domain": "example.atlassian.net",
    "is_secret_set": True,
    "is_jira_asked": True,
    "waiting": 2,
    "oldest_seconds": 31.4,
}
STATUS = {
    "webhooks": WEBHOOKS,
    "read_until": "2026-03-27T12:00:00Z",
    "reading_from": None,
    "failed": ["10001"],
    "unresolved": ["Severity"],
    "jobs": [
        {
            "job": "fold",
            "status": "ok",
            "finished_at": "2026-03-27T12:00:01Z",
            "counts": {"events": 3, "issues": 2},
            "error": None,
        }
    ],
    "check": CHECKED,
}


def test_a_backfill_is_requested_until_it_is_complete(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", BACKFILL] = [(200, {**RAN, "is_complete": False}), (200, RAN)]
    ran = logged_in("admin", "jira", "backfill", "--parallel", "8")
    assert (ran.code, ran.out.splitlines()) == (
        0,
        [
            "1,200 issues read, 1,100 fetched, 90 known, 10 gone, 0 failed; not complete.",
            "1,200 issues read, 1,100 fetched, 90 known, 10 gone, 0 failed.",
        ],
    )
    assert api.bodies == [{"since": None, "jql": None, "parallel": 8, "dry_run": False}] * 2


def test_a_backfill_of_a_query_can_be_counted_and_reports_failures(api: FunctionsApi, logged_in: Da) -> None:
    counted = {**RAN, "jql": "(project = SUP) AND updated >= 0", "found": 7}
    failed = {**RAN, "counts": {"read": 1, "failed": 1}, "notes": ["10001: Jira refuses it"]}
    api.answers["POST", BACKFILL] = [(200, counted), (200, failed)]
    arguments = ("admin", "jira", "backfill", "--jql", "project = SUP", "--since", "2026-01-01T00:00:00Z")
    assert logged_in(*arguments, "--dry-run").out == ("Would read about 7 issues: (project = SUP) AND updated >= 0\n")
    ran = logged_in(*arguments)
    assert (ran.code, ran.err) == (1, "10001: Jira refuses it\n")
    assert api.bodies[1] == {"since": "2026-01-01T00:00:00Z", "jql": "project = SUP", "parallel": 4, "dry_run": False}


def test_a_check_exits_with_1_if_its_level_is_error(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/admin/jira/check"] = [(200, CHECKED), (200, {**CHECKED, "level": "ERROR"})]
    ran = logged_in("admin", "jira", "check", "--max-age-days", "30", "--no-repair")
    assert (ran.code, ran.out) == (
        0,
        "WARNING: 5,000 issues in Jira (created until 2026-03-01T11:55, by Jira's clock), 4,996 published: 4 missing, 2 stale, 0 deleted.\n",
    )
    assert api.bodies == [{"max_age_days": 30, "repair": False, "limit": 200, "deletions": None}]
    ran = logged_in("admin", "jira", "check", "--json")
    assert (ran.code, json.loads(ran.out)["level"]) == (1, "ERROR")


def test_a_refresh_is_requested_until_all_issues_have_been_read(api: FunctionsApi, logged_in: Da) -> None:
    path = "/api/admin/jira/refresh"
    first: dict[str, Any] = {"counts": {"fetched": 500, "changed": 3}, "notes": [], "error": None, "is_complete": False}
    last = {**first, "counts": {"fetched": 20, "changed": 1}, "is_complete": True, "next_from": None}
    api.answers["POST", path] = [(200, {**first, "next_from": "2024-05-01T00:00:00Z"}), (200, last)]
    ran = logged_in("admin", "jira", "refresh", "--all")
    assert (ran.code, ran.out) == (0, "520 issues read again, 4 changed, 0 not in Jira, 0 failed.\n")
    every = {"keys": [], "all_issues": True, "created_from": None}
    assert api.bodies == [every, {**every, "created_from": "2024-05-01T00:00:00Z"}]


def test_an_issue_that_jira_does_not_have_fails_a_refresh(api: FunctionsApi, logged_in: Da) -> None:
    report = {"counts": {"read": 2, "fetched": 1, "missing": 1}, "notes": ["Jira has no issue 'SUP-9'"], "error": None}
    api.answers["POST", "/api/admin/jira/refresh"] = [(200, {**report, "is_complete": True, "next_from": None})]
    ran = logged_in("admin", "jira", "refresh", "SUP-1", "SUP-9")
    assert (ran.code, ran.err) == (1, "Jira has no issue 'SUP-9'\n")
    assert api.bodies == [{"keys": ["SUP-1", "SUP-9"], "all_issues": False, "created_from": None}]
    for arguments in ((), ("SUP-1", "--all")):
        assert logged_in("admin", "jira", "refresh", *arguments).code == 2


def test_a_replay_reports_changes(api: FunctionsApi, logged_in: Da) -> None:
    report = {"events": 1, "issues": 0, "status": "unchanged", "notes": [], "error": None}
    broken = {**report, "status": "partial", "error": "an archive is damaged"}
    api.answers["POST", "/api/admin/jira/replay"] = [(200, report), (207, broken)]
    assert logged_in("admin", "jira", "replay").out == "1 event applied again, 0 issues changed.\n"
    ran = logged_in("admin", "jira", "replay")
    assert (ran.code, ran.err) == (1, "an archive is damaged\n")


def test_the_status_is_shown(api: FunctionsApi, logged_in: Da) -> None:
    first = {**STATUS, "read_until": None, "reading_from": "2024-05-01T00:00:00Z", "jobs": [], "check": None}
    nothing = {**first, "reading_from": None, "failed": [], "unresolved": []}
    unasked = {**nothing, "webhooks": {**WEBHOOKS, "is_jira_asked": False, "domain": None}}
    answers = [(200, STATUS), (200, first), (200, nothing), (200, unasked), (200, STATUS)]
    api.answers["GET", "/api/admin/jira/status"] = answers
    lines = logged_in("admin", "jira", "status").out.splitlines()
    assert lines[:5] == [
        "Jira (example.atlassian.net): API enabled, webhooks accepted.",
        "2 events waiting, the oldest for 31 s.",
        "Backfill complete; updates read up to 2026-03-27 13:00 CET.",
        "1 issue could not be read: 10001",
        "Jira has no field named 'Severity'.",
    ]
    assert lines[7].split() == ["fold", "ok", "2026-03-27", "13:00", "CET", "3", "events,", "2", "issues"]
    assert "issues created before 2024-05-01 02:00 CEST have been read" in logged_in("admin", "jira", "status").out
    assert "No issues have been read yet" in logged_in("admin", "jira", "status").out
    lines = logged_in("admin", "jira", "status").out.splitlines()
    assert lines[0] == "Jira: API disabled (JIRA_API_TOKEN is not set), webhooks accepted."
    assert "been read" not in " ".join(lines)
    assert json.loads(logged_in("admin", "jira", "status", "--json").out) == STATUS
