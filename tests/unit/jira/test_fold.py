"""A fold takes what waits in batches, no more often than it may, and for no longer than it may."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from analyst.connectors.jira.inbox.archive import Archive
from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.sync import fold
from analyst.connectors.jira.sync.fold import Folding, Tally
from analyst.connectors.jira.warehouse.publish import Warehouse
from analyst.errors import LeaseLostError
from tests.doubles.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """Seconds that pass while somebody sleeps; `meanwhile` happens then."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds
        self.meanwhile()


class Bucket:
    """A source in memory whose published versions are counted."""

    def __init__(self, scratch: Path) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.inbox = Inbox(self.store, "jira")
        self.warehouse = Warehouse(self.store, "jira", TransformOptions.of(), lambda: NOON, scratch=scratch)
        self.versions: list[str | None] = []

    def tell(self, number: int) -> None:
        fields = {"summary": "x", "created": "2026-03-01T12:00:00.000+0000", "updated": "2026-03-01T12:00:00.000+0000"}
        issue = {"id": str(number), "key": f"A-{number}", "fields": fields}
        self.inbox.put(orjson.dumps({"webhookEvent": "jira:issue_updated", "issue": issue}), None, NOON)

    def fold(self, *, check: Callable[[], None] = lambda: None, interval: float = 0.0, seconds: float = 50.0) -> Tally:
        made = Folding(
            self.inbox,
            Archive(self.store, "jira"),
            self.warehouse,
            self.versions.append,
            None,
            interval,
            seconds,
            self.clock,
            self.clock.sleep,
        )
        tally = Tally.begin(self.store, lambda: NOON, "job", "jira", job="fold")
        made.run(tally, check)
        return tally


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def test_two_publishes_are_an_interval_apart_and_the_second_has_later_events(bucket: Bucket) -> None:
    bucket.tell(1)
    assert bucket.fold(interval=15.0).counts == {"events": 1, "issues": 1}
    assert bucket.clock.slept == []  # nothing was published before
    bucket.clock.now += 4.0
    bucket.tell(2)
    bucket.clock.meanwhile = lambda: bucket.tell(3)
    assert bucket.fold(interval=15.0).counts == {"events": 2, "issues": 2}
    assert bucket.clock.slept == [11.0]
    assert len(set(bucket.versions)) == 2


def test_waiting_events_are_folded_in_batches(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_MOST_EVENTS", 2)
    for number in range(5):
        bucket.tell(number)
    assert bucket.fold().counts == {"events": 5, "issues": 5}
    assert len(set(bucket.versions)) == 3


def test_large_events_are_folded_in_batches_too(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_MOST_BYTES", 1)
    for number in range(2):
        bucket.tell(number)
    assert bucket.fold().counts == {"events": 2, "issues": 2}
    assert len(set(bucket.versions)) == 2


def test_a_fold_out_of_time_leaves_the_rest(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_MOST_EVENTS", 1)
    for number in range(3):
        bucket.tell(number)

    def pass_time() -> None:
        bucket.clock.now += 30.0

    tally = bucket.fold(check=pass_time)
    assert tally.is_cut
    assert tally.counts["events"] == 2
    assert len(list(bucket.inbox.waiting())) == 1


def test_a_fold_that_has_lost_its_lease_stops(bucket: Bucket) -> None:
    bucket.tell(1)

    def lost() -> None:
        raise LeaseLostError("somebody else has it")

    with pytest.raises(LeaseLostError):
        bucket.fold(check=lost)
    assert len(list(bucket.inbox.waiting())) == 1
    assert bucket.versions == []
