"""When scripts are due."""

from datetime import UTC, datetime, timedelta

import pytest

from analyst import runs
from analyst.access import AccessList
from analyst.scripts.shelf import ScriptRun, Shelf, Status, due, run_id_of, spent
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import RetoldStore

NOW = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACCESS = AccessList.model_validate({"users": {"ann": {"email": "ann@example.com", "role": "analyst", "groups": []}}})


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(MemoryStore())


def start(shelf: Shelf, now: datetime) -> str | None:
    """Start what is due; return the run."""
    runs = {id_: run_id_of(id_, at) for id_, at in due(shelf.everything(), ACCESS, now).items()}
    if runs:
        shelf.started(runs, now)
    return next(iter(runs.values()), None)


def test_a_script_is_not_started_while_a_run_waits_or_runs(shelf: Shelf) -> None:
    script, _ = shelf.push("slow", "x = 1", "every 1m", "ann", NOW)
    run = start(shelf, NOW + MINUTE)
    assert run is not None
    for minutes in (2, 3, 60, 23 * 60):
        assert start(shelf, NOW + minutes * MINUTE) is None
    shelf.skipped(script.id, "another")
    assert start(shelf, NOW + 61 * MINUTE) is None
    shelf.skipped(script.id, run)
    assert start(shelf, NOW + 62 * MINUTE) is not None


def test_a_lost_run_blocks_nothing_for_long(shelf: Shelf) -> None:
    shelf.push("lost", "x = 1", "every 1m", "ann", NOW)
    assert start(shelf, NOW + MINUTE) is not None
    assert start(shelf, NOW + timedelta(days=1, minutes=2)) is not None


def test_a_resumed_script_is_due_again(shelf: Shelf) -> None:
    script, _ = shelf.push("resumed", "x = 1", "every 1m", "ann", NOW)
    assert start(shelf, NOW + MINUTE) is not None
    shelf.pause(shelf.everything()[script.id], "by you", NOW + 2 * MINUTE)
    assert start(shelf, NOW + 3 * MINUTE) is None
    shelf.pause(shelf.everything()[script.id], None, NOW + 4 * MINUTE)
    assert start(shelf, NOW + 5 * MINUTE) is not None


class _SinceRun(RetoldStore):
    """Makes objects as old as the runs that their keys name."""

    def age(self, key: str, version: str, age: float) -> float:  # noqa: ARG002
        name = key.rpartition("/")[2].removesuffix(".json").upper()
        return (NOW - runs.began(name)).total_seconds() if runs.is_run_id(name) else 0.0


def test_a_script_that_runs_each_minute_keeps_its_last_runs_and_failures_of_a_week() -> None:
    store = MemoryStore()
    shelf = Shelf(store)
    script, _ = shelf.push("often", "x = 1", "every 1m", "ann", NOW)
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
            shelf.keep_run(run)
            kept[name].append(run.run_id)
    gone = {entry.key for entry in spent(_SinceRun(store))}
    found = {
        name: [run_id for run_id in ids if f"state/scripts/runs/{script.id}/{run_id}.json" in gone]
        for name, ids in kept.items()
    }
    assert found == {"old": kept["old"], "week": kept["week"][1:], "yesterday": kept["yesterday"][1:], "today": []}
    assert f"state/scripts/failed/{script.id}/{kept['old'][0]}.json" in gone
    assert f"state/scripts/failed/{script.id}/{kept['week'][0]}.json" not in gone
    shelf.delete(script)
    assert [entry.key for entry in store.list("state/scripts/") if script.id in entry.key] == []


def test_a_script_that_is_not_saved_is_found_for_a_week() -> None:
    store = MemoryStore()
    shelf = Shelf(store)
    ids = []
    for days in (8, 6):
        at = NOW - timedelta(days=days)
        run_id = runs.new_run_id(at)
        ids.append(shelf.keep_once("trial", "x = 1", "ann", run_id, at).id)
        shelf.keep_run(
            ScriptRun(run_id=run_id, script=ids[-1], trigger="demand", status="ok", started_at=at, finished_at=at)
        )
    gone = {entry.key for entry in spent(_SinceRun(store))}
    assert gone == {f"state/scripts/once/{ids[0]}.json", f"state/scripts/runs/{ids[0]}/{ids[0].upper()}.json"}
