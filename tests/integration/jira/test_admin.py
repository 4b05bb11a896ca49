"""Requests of administrators to the Jira source."""

from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import TOKEN, Service
from tests.integration.jira.conftest import Jira


def test_an_administrator_runs_a_backfill_a_check_and_a_replay_and_sees_the_status(
    asking: Jira, service: Service, instance: Instance
) -> None:
    world = asking.world
    before = world.ask("GET", "/api/admin/jira/status")
    assert (before["read_until"], before["reading_from"], before["check"]) == (None, None, None)
    instance.create()
    assert world.ask("POST", "/api/admin/jira/backfill", {"dry_run": True})["found"] == 1
    assert world.ask("POST", "/api/admin/jira/backfill", {})["counts"]["fetched"] == 1
    instance.clock += 3_600_000
    assert world.ask("POST", "/api/admin/jira/check", {"repair": False})["level"] == "INFO"
    assert world.ask("POST", "/api/admin/jira/replay", {})["events"] == 0
    status = world.ask("GET", "/api/admin/jira/status")
    assert status["read_until"].startswith("2024-05-01T00:00:01")
    ended = {job["job"]: job["status"] for job in status["jobs"]}
    assert (ended["extract"], ended["check"]) == ("ok", "unchanged")
    assert status["check"]["jira"] == 1
    service.accounts.pop(TOKEN)
    refused = world.send("POST", "/api/admin/jira/backfill", {"jql": "project = SUP"})
    assert (refused.status_code, "set JIRA_API_TOKEN to" in refused.get_json()["detail"]) == (422, True)
    world.process.audit.close()
    events = world.ask("GET", "/api/admin/audit?resource=source:jira")["events"]
    assert {"source.backfill", "source.check", "source.replay"} <= {event["action"] for event in events}
