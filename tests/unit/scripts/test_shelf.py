"""When scripts are due."""

from datetime import UTC, datetime, timedelta

import pytest

from analyst.access import AccessList
from analyst.scripts.shelf import Shelf, due, run_id_of
from tests.doubles.memory_store import MemoryStore

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


def test_a_run_that_is_lost_holds_nothing_up_for_long(shelf: Shelf) -> None:
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
