"""The ledger of tasks: what is added is run at least once, and what fails for good is kept."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.errors import NotFoundError, UnavailableError
from analyst.lease import GRACE
from analyst.tasks.delivery import Background, HostDelivery
from analyst.tasks.ledger import LEASE_TTL, MOST_ATTEMPTS, Claim, Task, TaskLedger, is_waiting
from analyst.tasks.runner import Ran, Runner, expire
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOLD = "/extract/jira/fold"
CSV = "/extract/csv"


@dataclass
class Bench:
    """A ledger, a clock that the test sets, and functions that answer what they are told to."""

    now: datetime = NOON
    seconds: float = 0.0
    """By which the clock of the store is ahead."""
    answers: list[tuple[int, Any] | Callable[[], object] | None] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    delivered: list[Task] = field(default_factory=list)
    given_up: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: time.time() + self.seconds)

    def die(self, task: Task) -> Claim:
        """Claim a task in a process that dies."""
        claim = self.ledger.claim(task.id, task.path)
        assert isinstance(claim, Claim)
        claim.held._ended.set()  # nobody renews the lease any more
        return claim

    def wait(self) -> None:
        """Wait until the leases of dead processes end."""
        self.seconds += LEASE_TTL + GRACE + 1

    @property
    def ledger(self) -> TaskLedger:
        return TaskLedger(self.store, lambda: self.now)

    def add(self, path: str = CSV, body: Mapping[str, Any] | None = None, **options: Any) -> Task:
        added = self.ledger.add(path, body or {}, **options)
        assert added is not None
        return added

    def run(self, task: Task, *, is_last: bool = True) -> Ran:
        return self.runner.run(task.id, task.path, is_last=is_last)

    @property
    def runner(self) -> Runner:
        return Runner(
            self.ledger, self._call, self.delivered.append, lambda task, why: self.given_up.append((task.id, why))
        )

    def _call(self, path: str, body: bytes, _request_id: str) -> tuple[int, bytes] | None:
        self.calls.append((path, json.loads(body)))
        answer = self.answers.pop(0) if self.answers else (200, {})
        if callable(answer):
            answer()
            answer = (200, {})
        return None if answer is None else (answer[0], json.dumps(answer[1]).encode())

    def left(self) -> list[str]:
        return [task.id for task in self.ledger.waiting()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_task_is_run_with_its_body_and_leaves_nothing(bench: Bench) -> None:
    task = bench.add(CSV, {"source": "shop", "run_id": "01KMQ000000000000000000000"})
    assert task.id == "01KMQ000000000000000000000"
    assert bench.run(task) == "done"
    assert bench.calls == [(CSV, {"source": "shop", "run_id": task.id})]
    assert bench.run(task) == "not_here"
    assert [entry.key for entry in bench.store.list("")] == []


def test_adding_a_run_twice_adds_one(bench: Bench) -> None:
    body = {"source": "shop", "run_id": "01KMQ000000000000000000000"}
    assert bench.add(CSV, body).id == bench.add(CSV, body).id
    assert len(bench.left()) == 1


def test_an_extract_that_runs_can_add_the_profiles_of_its_own_run(bench: Bench) -> None:
    body = {"source": "shop", "run_id": "01KMQ000000000000000000000"}
    bench.answers = [lambda: bench.add("/profile", {**body, "part": 0}) and None]
    assert bench.run(bench.add(CSV, body)) == "done"
    assert [task.path for task in bench.ledger.waiting()] == ["/profile"]
    assert not is_waiting(bench.store, body["run_id"])


def test_tasks_of_the_same_name_wait_once(bench: Bench) -> None:
    one, other = bench.add(FOLD, {"source": "jira"}, name="jira"), bench.add(FOLD, {"source": "jira"}, name="jira")
    assert one.id == other.id
    assert bench.run(one) == "done"
    assert (bench.run(one), len(bench.calls)) == ("not_here", 1)
    assert bench.run(bench.add(FOLD, {"source": "jira"}, name="jira")) == "done"


def test_a_named_task_added_while_it_runs_runs_once_more(bench: Bench) -> None:
    task = bench.add(FOLD, name="jira")
    bench.answers = [lambda: [bench.ledger.add(FOLD, {}, name="jira") for _ in range(3)] and None]
    assert bench.run(task) == "done"
    assert [again.id for again in bench.delivered] == [task.id]
    assert [bench.run(task), bench.run(task)] == ["done", "not_here"]


def test_a_named_task_added_with_a_delay_while_it_runs_waits_for_the_delay(bench: Bench) -> None:
    task = bench.add(FOLD, name="jira")
    bench.answers = [lambda: bench.ledger.add(FOLD, {}, name="jira", delay=40)]
    assert [bench.run(task), bench.run(task)] == ["done", "not_here"]
    bench.now += timedelta(seconds=40)
    assert [bench.run(task), bench.run(task)] == ["done", "not_here"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409, 425, 429])
def test_a_temporary_failure_is_retried_after_growing_pauses_and_then_given_up(bench: Bench, status: int) -> None:
    task = bench.add()
    bench.answers = [(status, {"detail": "busy"})] * 9
    pauses = []
    for _ in range(MOST_ATTEMPTS - 1):
        assert bench.run(task) == "retried"
        assert bench.run(task) == "not_here"  # not yet
        pauses.append((bench.delivered[-1].due - bench.now).total_seconds())
        bench.now = bench.delivered[-1].due
    assert pauses == [10, 20, 40, 80]
    assert bench.run(task) == "failed"
    assert bench.given_up == [(task.id, "busy")]
    assert bench.left() == []
    assert [(failed.id, failed.error) for failed in bench.ledger.failures()] == [(task.id, "busy")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_refused_tasks_fail_at_once(bench: Bench, status: int) -> None:
    task = bench.add()
    bench.answers = [(status, {"detail": "no such source"})]
    assert bench.run(task) == "failed"
    assert bench.given_up == [(task.id, "no such source")]
    assert bench.ledger.failure_count() == 1


def test_a_failed_run_with_a_record_is_not_a_failed_task(bench: Bench) -> None:
    task = bench.add()
    bench.answers = [(422, {"run_id": "x", "error": "the folder is gone"})]
    assert bench.run(task) == "done"
    assert bench.given_up == [(task.id, "the folder is gone")]
    assert bench.ledger.failure_count() == 0


def test_a_function_that_another_process_serves_is_left_to_that_process(bench: Bench) -> None:
    task = bench.add()
    bench.answers = [None, None]
    assert bench.run(task, is_last=False) == "not_served"
    assert (bench.ledger.get(task.id, task.path) or task).attempts == 0
    assert bench.run(task) == "failed"
    assert bench.given_up == [(task.id, f"no function is served at {CSV}")]


def test_a_task_waits_until_it_is_due(bench: Bench) -> None:
    task = bench.add(delay=60)
    assert (bench.run(task), list(bench.ledger.due())) == ("not_here", [])
    bench.now += timedelta(seconds=60)
    assert [due.id for due in bench.ledger.due()] == [task.id]
    assert bench.run(task) == "done"


def test_a_task_whose_process_has_died_is_due_again_when_its_lease_ends(bench: Bench) -> None:
    task = bench.add()
    claim = bench.die(task)
    assert (bench.run(task), list(bench.ledger.due())) == ("running", [])
    bench.wait()
    assert [due.id for due in bench.ledger.due()] == [task.id]
    assert bench.run(task) == "done"
    assert bench.ledger.succeeded(claim) is None  # what it finds when it resumes after all
    assert bench.left() == []


def test_a_task_that_kills_its_process_every_time_is_given_up(bench: Bench) -> None:
    task = bench.add()
    for _ in range(MOST_ATTEMPTS):
        bench.die(task)
        bench.wait()
    assert bench.run(task) == "failed"
    assert "process" in bench.given_up[0][1]
    assert bench.calls == []


def test_a_task_unfinished_for_a_day_fails(bench: Bench) -> None:
    task = bench.add(FOLD, name="jira")
    expire(bench.ledger, task, lambda task, why: bench.given_up.append((task.id, why)))
    assert bench.left() == []
    assert [failed.id for failed in bench.ledger.failures()] == [task.id]
    assert "within a day" in bench.given_up[0][1]
    assert bench.run(bench.add(FOLD, name="jira")) == "done"


def test_a_failed_task_is_retried_as_a_new_run_or_dropped(bench: Bench) -> None:
    for number in range(2):
        bench.answers = [(404, {})]
        bench.run(bench.add(CSV, {"source": "shop", "run_id": f"01KMQ00000000000000000000{number}"}))
    one, other = bench.ledger.failures()
    again = bench.ledger.retry(one.id)
    assert again is not None
    assert again.body["run_id"] != one.id
    assert bench.run(again) == "done"
    bench.ledger.forget(other.id)
    assert list(bench.ledger.failures()) == []
    for unknown in (one.id, "../../users", ""):
        with pytest.raises(NotFoundError):
            bench.ledger.retry(unknown)


@given(st.lists(st.sampled_from([None, *Fault]), max_size=12))
def test_lost_answers_of_the_store_lose_no_task(faults: list[Any]) -> None:
    bench = Bench()
    store = FaultyStore(bench.store, puts=[None, *faults])
    ledger = TaskLedger(store, lambda: bench.now)
    task = ledger.add(FOLD, {}, name="jira")
    assert task is not None
    runner = Runner(ledger, bench._call, bench.delivered.append, lambda *_: None)
    for _ in range(4):
        try:
            runner.run(task.id, task.path)
        except UnavailableError:
            store.land()
        bench.wait()
        bench.now += timedelta(minutes=5)
    assert bench.calls
    assert bench.left() == []


def test_four_processes_run_each_task_once(bench: Bench) -> None:
    task, together = bench.add(), threading.Barrier(4)
    ran: list[str] = []

    def run() -> None:
        together.wait()
        ran.append(bench.run(task))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.calls) == 1
    assert ran.count("done") == 1


def test_slow_tasks_leave_room_for_quick_ones(bench: Bench) -> None:
    background, go, done = Background(), threading.Event(), threading.Event()
    delivery = HostDelivery(lambda: background)
    for _ in range(5):
        delivery.deliver(bench.add(), lambda _task: go.wait(60))
    delivery.deliver(bench.add("/rebuild", name="all"), lambda _task: done.set())
    assert done.wait(60)
    go.set()
    background.close()


def test_a_delivery_that_fails_leaves_the_task_in_the_ledger(bench: Bench) -> None:
    background = Background()
    delivery = HostDelivery(lambda: background)

    def fail(_task: Task) -> None:
        raise UnavailableError("nobody is there")

    delivery.deliver(bench.add(), fail)
    background.close()
    assert len(bench.left()) == 1
