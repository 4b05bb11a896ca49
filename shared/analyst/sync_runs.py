"""Triggering extracts, and reporting their progress."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.errors import AnalystError, InvalidInputError, NotFoundError, UnavailableError
from analyst.runs import RecentRuns, Run, RunKind, RunProgress, RunRecord, RunStatus, TableResult
from analyst.snapshots import Snapshots
from analyst.state.source_types import EXTERNAL
from analyst.state.sources import Source, no_source
from analyst.store import Store
from analyst.tasks import is_waiting

LOST_AFTER = timedelta(seconds=60)
"""The time without a heartbeat after which a run counts as lost."""


class Enqueue(Protocol):
    """Has one of our functions run after the answer; see `analyst.tasks`."""

    def __call__(self, path: str, body: dict[str, Any], *, name: str | None = None, delay: float = 0.0) -> None:
        """Have the function at `path` run, at least once."""


class TriggeredRun(BaseModel):
    """A triggered extract; `run_id` identifies its result."""

    model_config = ConfigDict(frozen=True)

    source: str
    run_id: str


Failed = Callable[[TriggeredRun, Exception], object]
"""Called for an extract that could not be run."""


@dataclass(frozen=True, slots=True)
class Extract:
    """An extract to run; `type` is that of its source, `tables` are names (`None`: all)."""

    run: TriggeredRun
    type: str
    tables: tuple[str, ...] | None

    def enqueue(self, enqueue: Enqueue) -> None:
        """Add it as a task.

        Raises:
            UnavailableError: tasks can't be added.
        """
        body = {"source": self.run.source, "tables": self.tables, "run_id": self.run.run_id}
        enqueue(f"/extract/{self.type}", body)


class Triggered(BaseModel):
    """The triggered extracts."""

    model_config = ConfigDict(frozen=True)

    runs: tuple[TriggeredRun, ...]


class RunView(BaseModel):
    """A run. `pending`: it has not started or not finished; `lost`: it left no record, and nothing works on it."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    kind: RunKind | None = None
    job: str | None = None
    source: str | None = None
    status: RunStatus | Literal["pending", "lost"]
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tables: tuple[TableResult, ...] = ()
    error: str | None = None
    snapshot: int | None = None
    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    """Of a pending run: the tables that it is reading; `tables` are those it has read, of `total`."""
    total: int | None = None
    is_profiled: bool = False
    """Whether the tables that it changed are profiled after it, in the background."""


class SyncStatus(BaseModel):
    """The newest snapshot, and runs, newest first.

    `held_back` are sources that show the tables of an earlier snapshot since a rollback.
    """

    model_config = ConfigDict(frozen=True)

    snapshot: int | None
    runs: tuple[RunView, ...]
    held_back: tuple[str, ...] = ()


def trigger(
    configured: Iterable[Source],
    sources: Sequence[str] | None,
    tables: Sequence[str] | None,
    *,
    note: Callable[[Sequence[Extract]], object],
    enqueue: Enqueue,
    failed: Failed,
) -> Triggered:
    """Enqueue an extract of each given source, or of the given tables (ids); of all sources if neither is given.

    Sources whose extracts a third party writes are skipped. `note` is called before, `failed` for each extract that
    could not be run.

    Raises:
        NotFoundError: a source is not configured.
        InvalidInputError: both sources and tables are given.
        UnavailableError: tasks can't be added, or `note` raises it.
    """
    extracts = list(_planned(configured, sources, tables))
    if extracts:
        note(extracts)
    for index, extract in enumerate(extracts):
        try:
            extract.enqueue(enqueue)
        except UnavailableError as error:
            for left in extracts[index:]:
                failed(left.run, error)
            raise
    return Triggered(runs=tuple(extract.run for extract in extracts))


def _planned(
    configured: Iterable[Source], sources: Sequence[str] | None, tables: Sequence[str] | None
) -> Iterator[Extract]:
    if sources is not None and tables is not None:
        raise InvalidInputError("'sources' and 'tables' can't be combined; give one of them")
    types = {source.name: source.type for source in configured}
    wanted: Mapping[str, list[str] | None]
    wanted = dict.fromkeys(types if sources is None else sources) if tables is None else dict(_by_source(tables))
    if unknown := sorted(wanted.keys() - types.keys()):
        raise no_source(unknown[0], list(types))
    for source, names in wanted.items():
        if types[source] != EXTERNAL:
            run = TriggeredRun(source=source, run_id=runs.new_run_id())
            yield Extract(run, types[source], None if names is None else tuple(names))


def record_failure(store: Store, run: TriggeredRun, reason: str, now: datetime) -> None:
    """Record an extract that could not be run; a record that it left itself stays."""
    started_at = runs.began(run.run_id)
    Run(store, lambda: now, "extract", run.source, run.run_id, started_at, error=reason).end()


def explain(error: Exception) -> str:
    """Return why something could not be run; unexpected errors are only in the log."""
    return str(error) if isinstance(error, AnalystError) else "unexpected error; see the log of the server"


def progress_of(store: Store, run_id: str) -> RunProgress | None:
    """Return the progress of a run whose process sends heartbeats."""
    found = runs.progress_of(store, run_id)
    return None if found is None or found[1] > LOST_AFTER else found[0]


def is_alive(store: Store, run_id: str) -> bool:
    """Return whether a run without a record waits as a task, or sends heartbeats."""
    return is_waiting(store, run_id) or progress_of(store, run_id) is not None


@dataclass(frozen=True, slots=True)
class Following:
    """Reports the state of runs; `profiles` is whether tables are profiled after a sync, `recent` has records in memory."""

    store: Store
    snapshots: Snapshots
    now: datetime
    profiles: bool = False
    recent: RecentRuns | None = None

    def newest(self, limit: int) -> SyncStatus:
        """Return the runs that are reading tables, and the newest runs of the last days."""
        records = (self.recent or RecentRuns(self.store)).newest(today=self.now.date(), limit=limit)
        ended = {record.run_id for record in records}
        pending = [each for each in runs.under_way(self.store, limit) if each.run_id not in ended]
        return self._status(*[*map(_pending, pending), *map(_view, records)][:limit])

    def of(self, run_id: str) -> SyncStatus:
        """Return the state of one run."""
        try:
            view = _view(runs.read(self.store, run_id, today=self.now.date()))
        except NotFoundError:
            view = self._unrecorded(run_id)
        return self._status(view)

    def _unrecorded(self, run_id: str) -> RunView:
        progress = progress_of(self.store, run_id)
        if progress is not None:
            return _pending(progress)
        if self.now - runs.began(run_id) < LOST_AFTER or is_waiting(self.store, run_id):
            return RunView(run_id=run_id, status="pending")
        try:  # it may have ended between our looks at its record and at its task
            return _view(runs.read(self.store, run_id, today=self.now.date()))
        except NotFoundError:
            error = (
                "the run is lost: it left no record and sends no heartbeat, so its process has ended; trigger it again"
            )
            return RunView(run_id=run_id, status="lost", error=error)

    def _status(self, *runs: RunView) -> SyncStatus:
        newest = self.snapshots.current()
        held_back = tuple(one.source for one in newest.catalog.held_back)
        seen = tuple(
            run.model_copy(update={"is_profiled": True}) if self.profiles and _has_changed_tables(run) else run
            for run in runs
        )
        return SyncStatus(snapshot=newest.number or None, runs=seen, held_back=held_back)


def _has_changed_tables(run: RunView) -> bool:
    is_extract = run.kind == "extract" and run.status != "pending"
    return is_extract and any(table.status == "ok" for table in run.tables)


def _pending(progress: RunProgress) -> RunView:
    return RunView.model_validate({"status": "pending", "kind": "extract", **progress.model_dump()})


def _view(record: RunRecord) -> RunView:
    return RunView.model_validate(dict(record))  # not `model_dump`: the results of tables are shared


def _by_source(tables: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table_id in tables:
        source, name = table_id.split(".", 1)
        found.setdefault(source, []).append(name)
    return found
