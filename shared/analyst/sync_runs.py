"""Triggering extracts, and telling what became of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.errors import AnalystError, InvalidInputError, NotFoundError, UnavailableError
from analyst.runs import Run, RunKind, RunRecord, RunStatus, TableResult
from analyst.snapshots import Snapshots
from analyst.state.source_types import EXTERNAL
from analyst.state.sources import Source
from analyst.store import Store

LOST_AFTER = timedelta(hours=1)
"""How long a run may go without a record before it is taken for lost; no host lets a function run longer."""


class Enqueue(Protocol):
    """Runs one of our functions after this; see `analyst.tasks`."""

    def __call__(self, path: str, body: dict[str, Any], failed: Callable[[Exception], object]) -> None:
        """Run the function at `path`; `failed` is told when that could not be done."""


class TriggeredRun(BaseModel):
    """One extract that will run; ask for its outcome by `run_id`."""

    model_config = ConfigDict(frozen=True)

    source: str
    run_id: str


Failed = Callable[[TriggeredRun, Exception], object]
"""Is told of an extract that could not be run."""


@dataclass(frozen=True, slots=True)
class Extract:
    """An extract to run, of a source of this type; `tables` are names, `None` for all."""

    run: TriggeredRun
    type: str
    tables: tuple[str, ...] | None

    def enqueue(self, enqueue: Enqueue, failed: Failed) -> None:
        """Have it run after this.

        Raises:
            UnavailableError: too much is waiting already.
        """
        body = {"source": self.run.source, "tables": self.tables, "run_id": self.run.run_id}
        enqueue(f"/extract/{self.type}", body, partial(failed, self.run))


class Triggered(BaseModel):
    """The extracts that were triggered."""

    model_config = ConfigDict(frozen=True)

    runs: tuple[TriggeredRun, ...]


class RunView(BaseModel):
    """One run. A `pending` one has not ended, or never began; one that left no record for an hour is `lost`."""

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


class SyncStatus(BaseModel):
    """The newest snapshot and runs, newest first.

    `held_back` are sources that show the tables of an earlier snapshot, since a rollback.
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
    """Enqueue an extract of each source asked for; of all when neither sources nor tables (ids) are.

    A source whose extract somebody else writes is left to them. `note` is told beforehand, `failed` of an extract that
    could not be run.

    Raises:
        NotFoundError: a source is not configured.
        InvalidInputError: both sources and tables are given.
        UnavailableError: too much is waiting already, or `note` raises it.
    """
    extracts = list(_planned(configured, sources, tables))
    if extracts:
        note(extracts)
    for index, extract in enumerate(extracts):
        try:
            extract.enqueue(enqueue, failed)
        except UnavailableError as error:
            for left in extracts[index:]:
                failed(left.run, error)
            raise
    return Triggered(runs=tuple(extract.run for extract in extracts))


def _planned(
    configured: Iterable[Source], sources: Sequence[str] | None, tables: Sequence[str] | None
) -> Iterator[Extract]:
    if sources is not None and tables is not None:
        raise InvalidInputError("give sources or tables, not both")
    types = {source.name: source.type for source in configured}
    wanted: Mapping[str, list[str] | None]
    wanted = dict.fromkeys(types if sources is None else sources) if tables is None else dict(_by_source(tables))
    if unknown := sorted(wanted.keys() - types.keys()):
        raise NotFoundError(f"no source {unknown[0]!r} is configured")
    for source, names in wanted.items():
        if types[source] != EXTERNAL:
            run = TriggeredRun(source=source, run_id=runs.new_run_id())
            yield Extract(run, types[source], None if names is None else tuple(names))


def record_failure(store: Store, run: TriggeredRun, error: Exception, now: datetime) -> None:
    """Keep a record of an extract that could not be run; one that it left itself stands."""
    started_at = runs.began(run.run_id)
    Run(store, lambda: now, "extract", run.source, run.run_id, started_at, error=explain(error)).end()


def explain(error: Exception) -> str:
    """Tell why something could not be run, without what only we can mend."""
    return str(error) if isinstance(error, AnalystError) else "an unexpected error, which the log tells"


@dataclass(frozen=True, slots=True)
class Following:
    """Tells how runs fare."""

    store: Store
    snapshots: Snapshots
    now: datetime

    def newest(self, limit: int) -> SyncStatus:
        """Tell the newest runs of the last days."""
        records = runs.newest(self.store, today=self.now.date(), limit=limit)
        return self._status(*(_view(record) for record in records))

    def of(self, run_id: str) -> SyncStatus:
        """Tell how one run fares."""
        try:
            view = _view(runs.read(self.store, run_id, today=self.now.date()))
        except NotFoundError:
            view = self._unrecorded(run_id)
        return self._status(view)

    def _unrecorded(self, run_id: str) -> RunView:
        if self.now - runs.began(run_id) < LOST_AFTER:
            return RunView(run_id=run_id, status="pending")
        error = "it has left no record for an hour: its process ended, or never began; trigger it again"
        return RunView(run_id=run_id, status="lost", error=error)

    def _status(self, *runs: RunView) -> SyncStatus:
        newest = self.snapshots.current()
        held_back = tuple(one.source for one in newest.catalog.held_back)
        return SyncStatus(snapshot=newest.number or None, runs=runs, held_back=held_back)


def _view(record: RunRecord) -> RunView:
    return RunView.model_validate(record.model_dump())


def _by_source(tables: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table_id in tables:
        source, name = table_id.split(".", 1)
        found.setdefault(source, []).append(name)
    return found
