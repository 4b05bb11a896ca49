"""The health of the installation: the last runs of each source, and the gauges that Prometheus reads."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.counters import Family, Labels
from analyst.runs import RunRecord, RunStatus
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.tasks import TaskLedger

_MOST_RUNS: Final = 1_000
_READ_EVERY: Final = 15.0

SNAPSHOT_AGE: Final = Family("analyst_snapshot_age_seconds", "gauge", "Age of the newest snapshot.")
TASKS: Final = Family(
    "analyst_tasks", "gauge", "Calls between functions that wait or run, or failed for good.", ("state",)
)
LAST_GOOD: Final = Family(
    "analyst_source_last_good_timestamp_seconds",
    "gauge",
    "When the last extract without a failure ended, in the last 7 days; 0 if there was none.",
    ("source",),
)
FAILED: Final = Family("analyst_source_failed", "gauge", "Whether the last extract failed, 1 or 0.", ("source",))

Samples = Iterable[tuple[Family, Mapping[Labels, float]]]


class SourceHealth(BaseModel):
    """The last extract of a source, and the last one without a failure, in the last 7 days."""

    model_config = ConfigDict(frozen=True)

    source: str
    status: RunStatus
    last_run: datetime
    last_good: datetime | None
    error: str | None


def source_health(newest_first: Iterable[RunRecord]) -> tuple[SourceHealth, ...]:
    """Return the health of each source that has a run of its extract among these, by name."""
    of_source: dict[str, list[RunRecord]] = {}
    for run in newest_first:
        if run.kind == "extract" and run.source is not None:
            of_source.setdefault(run.source, []).append(run)
    return tuple(_health(name, of_source[name]) for name in sorted(of_source))


def _health(name: str, newest_first: list[RunRecord]) -> SourceHealth:
    last = newest_first[0]
    good = next((run.finished_at for run in newest_first if run.status in ("ok", "unchanged")), None)
    failed = next((table for table in last.tables if table.error), None)
    error = last.error or (failed and f"{failed.table}: {failed.error}")
    return SourceHealth(source=name, status=last.status, last_run=last.finished_at, last_good=good, error=error)


@dataclass(frozen=True, slots=True)
class _Run:
    """What counts of a run."""

    ended: float
    is_good: bool


class Gauges:
    """The gauges that are read from the bucket: at most every 15 seconds, and each record of a run once.

    Args:
        store: the bucket.
        snapshots: the published snapshots.
        ledger: the tasks.
        monotonic: returns the seconds of a monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        ledger: TaskLedger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._ledger = ledger
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._seen: set[str] = set()
        self._last: dict[str, tuple[str, _Run]] = {}
        self._good: dict[str, float] = {}
        self._kept: tuple[float, dict[str, float]] | None = None

    def read(self, now: datetime) -> Samples:
        """Return the gauges.

        Raises:
            UnavailableError: the store does not respond.
        """
        with self._turn:
            if self._kept is None or self._monotonic() - self._kept[0] >= _READ_EVERY:
                self._read_runs(now)
                waiting = sum(1 for _ in self._ledger.waiting())
                self._kept = self._monotonic(), {"waiting": waiting, "failed": self._ledger.failure_count()}
            tasks = self._kept[1]
            last, good = dict(self._last), dict(self._good)
        newest = self._snapshots.current()
        age: dict[Labels, float] = {}
        if newest.number:
            age[()] = max(0.0, (now - newest.catalog.built_at).total_seconds())
        return [
            (SNAPSHOT_AGE, age),
            (TASKS, {(state,): count for state, count in tasks.items()}),
            (LAST_GOOD, {(source,): good.get(source, 0.0) for source in last}),
            (FAILED, {(source,): float(not run.is_good) for source, (_, run) in last.items()}),
        ]

    def close(self) -> None:
        """Do nothing: it holds nothing but memory."""

    def _read_runs(self, now: datetime) -> None:
        for record in runs.unseen(self._store, self._seen, today=now.date(), limit=_MOST_RUNS):
            if record.kind != "extract" or record.source is None:
                continue
            run = _Run(record.finished_at.timestamp(), record.status in ("ok", "unchanged"))
            if record.source not in self._last or self._last[record.source][0] < record.run_id:
                self._last[record.source] = record.run_id, run
            if run.is_good:
                self._good[record.source] = max(run.ended, self._good.get(record.source, 0.0))
