"""The progress of a run, published while it reads its tables."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from analyst.errors import UnavailableError
from analyst.runs import Reading, Run, TableResult, progress_of, under_way
from analyst.snapshots import Snapshots
from analyst.store import ANY, Condition
from analyst.sync_runs import Following
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DONE = TableResult(table="orders", status="ok", rows=2, size_bytes=300, ms=40)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def begun(store: MemoryStore) -> Run:
    return Run.begin(store, lambda: datetime.now(UTC), "extract", "shop")


def wait_until(is_so: Callable[[], object]) -> None:
    end, pause = time.monotonic() + 60, threading.Event()
    while not is_so():
        assert time.monotonic() < end
        pause.wait(0.005)


def test_a_run_publishes_its_progress_and_removes_it_at_the_end(store: MemoryStore) -> None:
    run = begun(store)
    following = Following(store, Snapshots(store), datetime.now(UTC))
    with Reading(run, interval=0.005) as reading:
        reading.expect(3)
        reading.begin("orders")
        reading.begin("customers")
        reading.end(DONE)
        wait_until(lambda: (found := progress_of(store, run.run_id)) and found[0].tables)
        (view,) = following.of(run.run_id).runs
        assert (view.status, view.source, view.kind, view.total) == ("pending", "shop", "extract", 3)
        assert (view.reading, view.tables) == (("customers",), (DONE,))
        assert [each.run_id for each in following.newest(10).runs] == [run.run_id]
    assert progress_of(store, run.run_id) is None
    assert list(under_way(store, 10)) == []


def test_a_run_that_ends_at_once_publishes_no_progress(store: MemoryStore) -> None:
    with Reading(begun(store)) as reading:
        reading.begin("orders")
        reading.end(DONE)
    assert list(store.list("state/progress/")) == []


def test_a_store_that_cannot_take_progress_does_not_fail_the_run() -> None:
    tried = threading.Event()

    class Failing(MemoryStore):
        def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:  # noqa: ARG002
            tried.set()
            raise UnavailableError("the store does not answer")

    failing = Failing()
    with Reading(begun(failing), interval=0.005) as reading:
        reading.begin("orders")
        assert tried.wait(60)
    assert list(failing.list("state/progress/")) == []


def test_an_invalid_run_id_has_no_progress(store: MemoryStore) -> None:
    store.put("state/progress/x.json", b"{}", if_version=ANY)
    assert progress_of(store, "x") is None
    assert progress_of(store, "../../x") is None


def test_a_run_without_progress_is_lost_after_a_minute_and_one_with_progress_is_not(store: MemoryStore) -> None:
    run = begun(store)
    later = Following(store, Snapshots(store), datetime.now(UTC) + timedelta(seconds=61))
    assert later.of(run.run_id).runs[0].status == "lost"
    with Reading(run, interval=0.005) as reading:
        reading.begin("orders")
        wait_until(lambda: progress_of(store, run.run_id))
        assert later.of(run.run_id).runs[0].status == "pending"
