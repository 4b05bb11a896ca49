"""What is done for a source besides its extract is started when it is due, and once."""

from datetime import timedelta
from typing import Any

import pytest

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.scheduling import ledger
from analyst.scheduling.ledger import Attempt, Ledger, Start
from analyst.store import ABSENT
from tests.integration.schedule.conftest import NOON, Schedule
from tests.integration.world import SERVICE_TOKEN

MINUTE = timedelta(minutes=1)


@pytest.fixture
def jira(schedule: Schedule) -> Schedule:
    """A source of a type that has jobs; its extract is not what this is about."""
    schedule.world.ask("POST", "/api/admin/sources/jira", {"type": "jira", "sync_schedule": "never"})
    return schedule


def jobs(schedule: Schedule, minutes: int) -> dict[str, Any]:
    """Call the scheduler so many minutes after noon; tell what it says of each job."""
    schedule.clock.now = NOON + minutes * MINUTE
    answer = schedule.world.ask("POST", "/schedule", token=SERVICE_TOKEN)
    schedule.background.wait()
    return {entry["job"]: entry for entry in answer["jobs"]}


def shown(schedule: Schedule, job: str) -> dict[str, Any]:
    (found,) = (entry for entry in schedule.world.ask("GET", "/api/admin/schedule")["jobs"] if entry["job"] == job)
    return dict(found)


def folds(schedule: Schedule) -> int:
    """Count the versions of the tables that the job publishes when it runs for the first time."""
    return sum(1 for _ in schedule.world.process.store.list("extracts/jira/extract.duckdb"))


def test_a_job_is_started_when_it_is_due(jira: Schedule) -> None:
    assert jobs(jira, 0)["fold"]["outcome"] == "started"
    assert folds(jira) == 1
    entry = jobs(jira, 0)["fold"]
    assert (entry["outcome"], entry["why"], entry["next_due"]) == (
        "not_due",
        "it is not due yet",
        "2026-03-27T12:01:00Z",
    )
    assert [jobs(jira, minute)["fold"]["outcome"] for minute in (1, 2, 2)] == ["started", "started", "not_due"]


def test_each_job_has_a_schedule_of_its_own(jira: Schedule) -> None:
    jobs(jira, 0)
    assert {name: entry["outcome"] for name, entry in jobs(jira, 1).items()}["tidy"] == "not_due"
    assert jobs(jira, 60)["tidy"]["outcome"] == "started"
    found = shown(jira, "tidy")
    assert (found["source"], found["schedule"], found["last_run"]) == ("jira", "every 1h", "2026-03-27T13:00:00Z")
    assert (found["is_due"], found["next_due"], found["failures"]) == (False, "2026-03-27T14:00:00Z", 0)


def test_a_failed_job_is_reported_and_retried_after_a_pause(jira: Schedule) -> None:
    store = jira.world.process.store
    store.put("extracts/jira/extract.duckdb", b"damaged", if_version=ABSENT)
    jobs(jira, 0)
    found = shown(jira, "fold")
    assert found["failures"] == 1
    assert found["why"].startswith("it failed once: extracts/jira/extract.duckdb can't be opened")
    assert jobs(jira, 1)["fold"]["outcome"] == "not_due"
    assert jobs(jira, 5)["fold"]["outcome"] == "started"
    assert shown(jira, "fold")["failures"] == 2
    store.delete("extracts/jira/extract.duckdb")
    jobs(jira, 30)
    assert shown(jira, "fold")["error"] is None
    jobs(jira, 31)  # which is how it is known that the one before did not fail
    assert shown(jira, "fold")["failures"] == 0


def test_a_job_marked_by_a_process_that_ended_is_started_again(jira: Schedule) -> None:
    start = Start(run_id="01KMQ000000000000000000000", source="jira", job="fold", at=NOON)
    attempted = {f"jira/{job.name}": Attempt(at=NOON) for job in SOURCE_TYPES["jira"].jobs}
    marked = Ledger(jobs=attempted, starts={start.run_id: start})
    ledger.edit(jira.world.process.store, lambda _: (marked, None))
    assert jobs(jira, 1)["fold"]["outcome"] == "running"
    assert folds(jira) == 0
    assert jobs(jira, 2)["fold"]["outcome"] == "started"
    assert folds(jira) == 1
    assert ledger.read(jira.world.process.store).starts == {}


def test_removing_a_source_removes_the_entries_of_its_jobs(jira: Schedule) -> None:
    jobs(jira, 0)
    for table in jira.world.ask("GET", "/api/admin/tables?source=jira")["tables"]:
        jira.world.ask("DELETE", f"/api/admin/tables/{table['id']}")
    jira.world.ask("DELETE", "/api/admin/sources/jira")
    assert jobs(jira, 1).keys() == {"freshness"}
    assert ledger.read(jira.world.process.store).jobs.keys() == {"/freshness"}


def test_jobs_are_not_listed_as_extracts(jira: Schedule) -> None:
    jira.set("jira", "every 15m")
    jobs(jira, 0)
    entries = jira.world.ask("GET", "/api/admin/schedule")["entries"]
    assert {entry["id"] for entry in entries if entry["table"] is None} == {"jira"}
    assert not any(entry["is_running"] for entry in entries)
