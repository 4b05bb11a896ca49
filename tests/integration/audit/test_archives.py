"""Past days are archived as Parquet with each event once, wherever a sweep is interrupted."""

from collections import Counter
from datetime import timedelta
from itertools import count
from pathlib import Path

import duckdb
import pytest

from analyst.audit import Audit, AuditEvent
from analyst.audit.archives import Archiving
from analyst.errors import UnavailableError
from tests.doubles.memory_store import MemoryStore
from tests.integration.audit.conftest import NOW, Clock
from tests.integration.audit.test_reader import events

FIRST = (NOW - timedelta(days=3)).date()


class CutOff(MemoryStore):
    """A store that fails once, at a certain one of the uploads and deletions."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(lambda: clock().timestamp())
        self.steps = count(1)
        self.fails_at = 0

    def upload(self, key: str, path: Path) -> str:
        version = super().upload(key, path)
        self._step(key)
        return version

    def delete(self, key: str) -> None:
        self._step(key)
        super().delete(key)

    def _step(self, key: str) -> None:
        if next(self.steps) == self.fails_at:
            raise UnavailableError(f"no answer about {key}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> list[AuditEvent]:
    return events(40, days=3)


@pytest.fixture
def store(clock: Clock, written: list[AuditEvent]) -> CutOff:
    """A bucket to which events were written as they happened."""
    bucket = CutOff(clock)
    audit = Audit(bucket, clock)
    for event in written:
        clock.now = event.at
        audit.write(event)
    clock.now = NOW + timedelta(days=3)
    return bucket


def sweep(store: CutOff) -> None:
    archiving = Archiving(store, "300MB")
    archiving.gather(archiving.due())


def archived(store: CutOff, home: Path) -> Counter[str]:
    """Count the events in archives by their ids, as any engine reads them."""
    found: Counter[str] = Counter()
    for number, entry in enumerate(store.list("state/audit/")):
        if entry.key.endswith(".parquet"):
            path = home / f"{number}.parquet"
            store.download(entry.key, path)
            found.update(id_ for (id_,) in duckdb.sql(f"select id from '{path}'").fetchall())
    return found


def test_a_day_is_over_when_its_youngest_batch_is_two_days_old(
    store: CutOff, clock: Clock, written: list[AuditEvent]
) -> None:
    clock.now = max(one.at for one in written if one.at.date() == FIRST) + timedelta(days=2)
    assert Archiving(store, "300MB").due() == {}
    clock.wait(seconds=1)
    assert list(Archiving(store, "300MB").due()) == [f"state/audit/date={FIRST}/"]


@pytest.mark.parametrize("fails_at", [0, 1, 2, 9, 25, 41])
def test_every_event_is_in_one_archive_wherever_a_sweep_is_cut_off(
    store: CutOff, written: list[AuditEvent], tmp_path: Path, fails_at: int
) -> None:
    store.fails_at = fails_at
    if fails_at:
        with pytest.raises(UnavailableError):
            sweep(store)
    sweep(store)
    assert not any(entry.key.endswith(".jsonl") for entry in store.list("state/audit/"))
    assert archived(store, tmp_path) == Counter(one.id for one in written)


def test_late_events_are_archived_later(store: CutOff, clock: Clock, written: list[AuditEvent], tmp_path: Path) -> None:
    sweep(store)
    (late,) = events(1, days=3, seed=5)
    Audit(store, clock).write(late)
    sweep(store)
    clock.wait(days=3)
    sweep(store)
    assert archived(store, tmp_path) == Counter(one.id for one in [*written, late])


def test_a_damaged_batch_is_kept(store: CutOff, clock: Clock, tmp_path: Path) -> None:
    key = next(entry.key for entry in store.list("state/audit/"))
    found = store.read(key)
    assert found is not None
    store.put(key, b"{]\n", if_version=found.version)
    clock.wait(days=3)
    with pytest.raises(UnavailableError, match="can't be read"):
        sweep(store)
    assert store.read(key) is not None
    assert archived(store, tmp_path) == Counter()
