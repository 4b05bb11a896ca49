"""When scripts are due."""

from datetime import UTC, datetime, timedelta

import pytest

from analyst import runs
from analyst.access import AccessList
from analyst.scripts.stored_scripts import ScriptRun, Status, StoredScripts, due, expired, run_id_of
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import RetoldStore

NOW = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACCESS = AccessList.model_validate({"users": {"ann": {"email": "ann@example.com", "role": "analyst", "groups": []}}})


@pytest.fixture
def stored() -> StoredScripts:
    return StoredScripts(MemoryStore())


def start(stored: StoredScripts, now: datetime) -> str | None:
    """Start what is due; return the run."""
    runs = {id_: run_id_of(id_, at) for id_, at in due(stored.everything(), ACCESS, now).items()}
    if runs:
        stored.started(runs, now)
    return next(iter(runs.values()), None)


def test_a_script_is_not_started_while_a_run_waits_or_runs(stored: StoredScripts) -> None:
    script, _ = stored.push("slow", "x = 1", "every 1m", "ann", NOW)
    run = start(stored, NOW + MINUTE)
    assert run is not None
    for minutes in (2, 3, 60, 23 * 60):
        assert start(stored, NOW + minutes * MINUTE) is None
    stored.skipped(script.id, "another")
    assert start(stored, NOW + 61 * MINUTE) is None
    stored.skipped(script.id, run)
    assert start(stored, NOW + 62 * MINUTE) is not None


def test_a_lost_run_blocks_nothing_for_long(stored: StoredScripts) -> None:
    stored.push("lost", "x = 1", "every 1m", "ann", NOW)
    assert start(stored, NOW + MINUTE) is not None
    assert start(stored, NOW + timedelta(days=1, minutes=2)) is not None


def test_a_resumed_script_is_due_again(stored: StoredScripts) -> None:
    script, _ = stored.push("resumed", "x = 1", "every 1m", "ann", NOW)
    assert start(stored, NOW + MINUTE) is not None
    stored.pause(stored.everything()[script.id], "by you", NOW + 2 * MINUTE)
    assert start(stored, NOW + 3 * MINUTE) is None
    stored.pause(stored.everything()[script.id], None, NOW + 4 * MINUTE)
    assert start(stored, NOW + 5 * MINUTE) is not None


class _SinceRun(RetoldStore):
    """Makes objects as old as the runs that their keys name."""

    def age(self, key: str, version: str, age: float) -> float:  # noqa: ARG002
        name = key.rpartition("/")[2].removesuffix(".json").upper()
        return (NOW - runs.began(name)).total_seconds() if runs.is_run_id(name) else 0.0


def test_a_script_that_runs_every_minute_keeps_its_last_runs_and_a_week_of_failures() -> None:
    store = MemoryStore()
    stored = StoredScripts(store)
    script, _ = stored.push("often", "x = 1", "every 1m", "ann", NOW)
    days = {"old": 8, "week": 6, "yesterday": 1.5, "today": 0.5}
    kept: dict[str, list[str]] = {name: [] for name in days}
    for name, ago in days.items():
        for number in range(120 if name == "today" else 3):
            at = NOW - timedelta(days=ago) + number * MINUTE
            status: Status = "failed" if number == 0 else "ok"
            run = ScriptRun(
                run_id=run_id_of(script.id, at),
                script=script.id,
                trigger="schedule",
                status=status,
                started_at=at,
                finished_at=at,
            )
            stored.keep_run(run)
            kept[name].append(run.run_id)
    gone = {entry.key for entry in expired(_SinceRun(store))}
    found = {
        name: [run_id for run_id in ids if f"state/scripts/runs/{script.id}/{run_id}.json" in gone]
        for name, ids in kept.items()
    }
    assert found == {"old": kept["old"], "week": kept["week"][1:], "yesterday": kept["yesterday"][1:], "today": []}
    assert f"state/scripts/failed/{script.id}/{kept['old'][0]}.json" in gone
    assert f"state/scripts/failed/{script.id}/{kept['week'][0]}.json" not in gone
    stored.delete(script)
    assert [entry.key for entry in store.list("state/scripts/") if script.id in entry.key] == []


def test_an_unsaved_script_can_be_found_for_a_week() -> None:
    store = MemoryStore()
    stored = StoredScripts(store)
    ids = []
    for days in (8, 6):
        at = NOW - timedelta(days=days)
        run_id = runs.new_run_id(at)
        ids.append(stored.keep_once("trial", "x = 1", "ann", run_id, at).id)
        stored.keep_run(
            ScriptRun(run_id=run_id, script=ids[-1], trigger="demand", status="ok", started_at=at, finished_at=at)
        )
    gone = {entry.key for entry in expired(_SinceRun(store))}
    assert gone == {f"state/scripts/once/{ids[0]}.json", f"state/scripts/runs/{ids[0]}/{ids[0].upper()}.json"}
