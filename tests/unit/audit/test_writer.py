"""Events are written before those who write go on, several in one object when several come at once."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyst.audit import UNCHANGED, Audit, AuditEvent, Outcome
from analyst.audit.events import new_id
from analyst.errors import UnavailableError
from analyst.store import Condition
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def event(at: datetime = NOW, **fields: object) -> AuditEvent:
    known = {"action": "data.urls", "outcome": Outcome.OK, **fields}
    return AuditEvent.model_validate({"id": new_id(at), "at": at, **known})


def events(store: MemoryStore) -> dict[str, list[Any]]:
    """The events in each object, by the object's key."""
    found = {entry.key: store.read(entry.key) for entry in store.list("state/audit/")}
    return {key: [json.loads(line) for line in item.data.splitlines()] for key, item in found.items() if item}


def objects(store: MemoryStore) -> dict[str, list[str]]:
    """The ids of the events in each object, by the object's key."""
    return {key: [one["id"] for one in found] for key, found in events(store).items()}


@dataclass
class Gate:
    """Lets a write through when `crowd` events have come that are not written, or all that will."""

    crowd: int
    total: int
    arrived: int = 0
    written: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def count(self, *, arrived: int = 0, written: int = 0) -> None:
        with self.changed:
            self.arrived, self.written = self.arrived + arrived, self.written + written
            self.changed.notify_all()

    def wait(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.arrived - self.written >= min(self.crowd, self.total - self.written))


class GatedStore(MemoryStore):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._gate.wait()
        version = super().put(key, data, if_version=if_version)
        self._gate.count(written=len(data.splitlines()))
        return version


class GatedThenShut(GatedStore):
    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._gate.wait()
        raise UnavailableError(f"no answer to writing {len(data)} bytes to {key}, {if_version}")


def test_simultaneous_events_share_objects() -> None:
    gate = Gate(crowd=16, total=320)
    store = GatedStore(gate)
    audit = Audit(store, lambda: NOW)

    def write(_: int) -> str:
        written = event()
        gate.count(arrived=1)
        audit.write(written)
        assert any(written.id in ids for ids in objects(store).values())
        return written.id

    with ThreadPoolExecutor(gate.crowd) as pool:
        written = sorted(pool.map(write, range(gate.total)))
    kept = objects(store)
    assert sorted(id_ for ids in kept.values() for id_ in ids) == written
    assert len(kept) < gate.total / 4


def test_a_single_writer_does_not_wait() -> None:
    store = MemoryStore()
    written = event()
    Audit(store, lambda: NOW).write(written)
    assert objects(store) == {f"state/audit/date=2026-03-01/{written.id}.jsonl": [written.id]}


@pytest.mark.parametrize("fault", [Fault.AT_ONCE, Fault.LATE, Fault.NEVER])
def test_a_write_whose_answer_was_lost_is_repeated_without_a_duplicate(fault: Fault) -> None:
    store = MemoryStore()
    written = event()
    Audit(FaultyStore(store, puts=[fault]), lambda: NOW).write(written)
    assert list(objects(store).values()) == [[written.id]]


def test_all_writers_that_share_an_object_get_its_error() -> None:
    gate = Gate(crowd=8, total=8)
    failures: list[UnavailableError] = []

    audit = Audit(GatedThenShut(gate), lambda: NOW)

    def write(_: int) -> None:
        gate.count(arrived=1)
        with pytest.raises(UnavailableError, match="audit") as failed:
            audit.write(event())
        failures.append(failed.value)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(failures) == 8


def test_an_object_never_spans_more_than_a_second_or_midnight() -> None:
    """What is counted is written with what comes next; a store that hung lets events of many seconds come together."""
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    times = [midnight + timedelta(milliseconds=ms) for ms in (-3000, -2500, -1900, -100, 50, 900, 5000)]
    gate = Gate(crowd=len(times) + 1, total=len(times) + 1)
    store = GatedStore(gate)
    audit = Audit(store, lambda: NOW)

    def write(at: datetime) -> None:
        gate.count(arrived=1)
        audit.write(event(at))

    with ThreadPoolExecutor(len(times)) as pool:
        first = pool.submit(write, times[0])
        rest = [pool.submit(write, at) for at in times[1:]]
        gate.count(arrived=1)
        for each in (first, *rest):
            each.result()
    for key, ids in objects(store).items():
        assert key.endswith(f"/{max(ids)}.jsonl")
        at = [next(one for one in times if new_id(one)[:10] == id_[:10]) for id_ in ids]
        assert max(at) - min(at) <= timedelta(seconds=1)
        assert {one.date().isoformat() for one in at} == {key.split("/")[2].removeprefix("date=")}


@dataclass
class Timer:
    """Runs what is to be run later when the test says so."""

    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __call__(self, seconds: float, work: Callable[[], None]) -> None:
        self.due.append((seconds, work))

    def ring(self) -> None:
        self.due.pop(0)[1]()


def test_counted_events_are_written_at_the_end_of_their_hour() -> None:
    store, timer, now = MemoryStore(), Timer(), [NOW]
    audit = Audit(store, lambda: now[0], later=timer)
    for _ in range(5):
        audit.write(event(now[0]), UNCHANGED)
    assert [seconds for seconds, _ in timer.due] == [1801]
    now[0] += timedelta(seconds=timer.due[0][0])
    timer.ring()
    assert [one.get("count", 1) for found in events(store).values() for one in found] == [1, 4]
    assert timer.due == []


def test_counts_that_could_not_be_written_are_written_later() -> None:
    store, timer, now = MemoryStore(), Timer(), [NOW]
    faulty = FaultyStore(store)
    audit = Audit(faulty, lambda: now[0], later=timer)
    for _ in range(3):
        audit.write(event(now[0]), UNCHANGED)
    now[0] += timedelta(hours=1)
    faulty.puts = [Fault.NEVER, Fault.NEVER]
    timer.ring()
    assert len(objects(store)) == 1
    timer.ring()
    assert len(objects(store)) == 2
    assert timer.due == []
