"""The overview of all schedules for people."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain, islice, starmap
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from analyst import automation
from analyst.automation import Pause
from analyst.scheduling import ledger
from analyst.scheduling.decisions import folded
from analyst.scheduling.ledger import Attempt, Ledger
from analyst.scheduling.timetable import (
    Entry,
    Registry,
    SaidBy,
    SourceJob,
    Verdict,
    entries,
    judge,
    judge_attempt,
    of_source,
    of_table,
)
from analyst.state.registry import TableRow
from analyst.state.sources import Source
from analyst.store import Store


class Scheduled(BaseModel):
    """A schedule and its state. `last_run` is the start of the last run, scheduled or on demand.

    `failures` counts consecutive failures. `next_due` is null for never, and in the past if it is due now.
    """

    model_config = ConfigDict(frozen=True)

    schedule: str
    last_run: datetime | None
    failures: int
    error: str | None
    is_due: bool
    next_due: datetime | None
    why: str


class ScheduledEntry(Scheduled):
    """The schedule of a table, or of a source as a whole (`table` is null), which also discovers new tables.

    `said_by` is where the schedule is defined: on the table, on its source, or in the settings of the instance.
    `is_running` means that an extract of the source is running.
    """

    id: str
    source: str
    table: str | None
    said_by: SaidBy
    is_running: bool


class ScheduledJob(Scheduled):
    """The schedule of a job of a source."""

    source: str
    job: str


class ScheduleView(BaseModel):
    """The schedules of sources and tables, of jobs, and of the sweep, as of `at`; `paused` says why they are paused."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    entries: tuple[ScheduledEntry, ...]
    jobs: tuple[ScheduledJob, ...]
    sweep: Scheduled
    paused: Pause | None = None


class SchedulePage(ScheduleView):
    """A page of `count` entries."""

    count: int
    page: int
    pages: int


State = Literal["due", "failing", "running"]
"""The state by which entries are filtered."""


@dataclass(frozen=True)
class Overview:
    """What is scheduled, with the results of the last runs. Nothing is written."""

    registry: Registry
    ledger: Ledger
    sweep_schedule: str
    now: datetime
    pause: Pause | None

    @classmethod
    def read(cls, store: Store, found: Ledger, registry: Registry, sweep_schedule: str, now: datetime) -> Self:
        """Read the results of the runs that the ledger still expects.

        Raises:
            UnavailableError: the store does not respond.
        """
        records = ledger.records(store, found, {}, now)
        current = folded(found, registry, records, now, ledger.lost(store, found, records, now))
        return cls(registry, current, sweep_schedule, now, automation.paused(store))

    def view(self) -> ScheduleView:
        """Return when everything is started, and why."""
        return self._view(chain.from_iterable(entries(self.registry, self.ledger).values()))

    def page(self, text: str, source: str | None, state: State | None, *, page: int, size: int) -> SchedulePage:
        """Return a page of the entries whose id contains a string, of one source or of all, in one state or in any."""
        found = [
            (whole, table)
            for whole, table in self._rows()
            if text in (whole.name if table is None else table.id) and source in {None, whole.name}
        ]
        if state is not None:
            found = [(whole, table) for whole, table in found if self._is(state, self._entry(whole, table))]
        pages = max(1, -(-len(found) // size))
        number = min(page, pages)
        shown = self._view(starmap(self._entry, found[(number - 1) * size : number * size]))
        return SchedulePage(**shown.__dict__, count=len(found), page=number, pages=pages)

    def failing(self, limit: int) -> list[ScheduledEntry | ScheduledJob]:
        """Return the sources, tables and jobs whose last run failed."""
        found: Iterator[ScheduledEntry | ScheduledJob] = chain(
            (self._shown(self._entry(whole, table)) for whole, table in self._rows() if self._has_failed(whole, table)),
            (job for job in self._jobs() if job.failures),
        )
        return list(islice(found, limit))

    @property
    def is_silent(self) -> bool:
        """Whether nothing has ever run although something is due: nobody calls the scheduler."""
        known = self.ledger
        if known.sources or known.tables or known.jobs or known.starts:
            return False
        return any(self._is("due", self._entry(whole, table)) for whole, table in self._rows())

    def _rows(self) -> Iterator[tuple[Source, TableRow | None]]:
        """Yield each source, followed by its tables; tables of an older system may have none."""
        tables = {source.name: list[TableRow]() for source in self.registry.sources}
        for table in self.registry.tables:
            if table.source in tables:
                tables[table.source].append(table)
        for source in self.registry.sources:
            yield source, None
            yield from ((source, table) for table in tables[source.name])

    def _entry(self, source: Source, table: TableRow | None) -> Entry:
        whole = of_source(source, self.registry, self.ledger)
        return whole if table is None else of_table(table, whole, self.ledger)

    def _has_failed(self, source: Source, table: TableRow | None) -> bool:
        last = self.ledger.sources.get(source.name) if table is None else self.ledger.tables.get(table.uuid)
        return last is not None and last.failures > 0

    def _is(self, state: State, entry: Entry) -> bool:
        if state == "failing":
            return self._has_failed(entry.source, entry.table)
        if state == "running":
            return entry.source.name in self._running
        return judge(entry, self.now).is_due

    def _view(self, shown: Iterable[Entry]) -> ScheduleView:
        return ScheduleView(
            at=self.now,
            entries=tuple(map(self._shown, shown)),
            jobs=tuple(self._jobs()),
            sweep=_scheduled(
                self.sweep_schedule,
                self.ledger.sweep,
                judge_attempt(self.sweep_schedule, self.ledger.sweep, self.now),
            ),
            paused=self.pause,
        )

    def _jobs(self) -> Iterator[ScheduledJob]:
        return (_scheduled_job(job, self.ledger.jobs.get(job.id), self.now) for job in self.registry.jobs())

    def _shown(self, entry: Entry) -> ScheduledEntry:
        return ScheduledEntry(
            id=entry.id,
            source=entry.source.name,
            table=entry.table and entry.table.name,
            said_by=entry.said_by,
            is_running=entry.source.name in self._running,
            **_scheduled(entry.schedule, entry.last, judge(entry, self.now)).__dict__,
        )

    @cached_property
    def _running(self) -> frozenset[str | None]:
        return frozenset(start.source for start in self.ledger.starts.values() if start.is_extract)


def _scheduled_job(found: SourceJob, last: Attempt | None, now: datetime) -> ScheduledJob:
    schedule = found.job.schedule
    times = _scheduled(schedule, last, judge_attempt(schedule, last, now)).model_dump()
    return ScheduledJob(source=found.source, job=found.job.name, **times)


def _scheduled(schedule: str, last: Attempt | None, verdict: Verdict) -> Scheduled:
    return Scheduled(
        schedule=schedule,
        last_run=last and last.at,
        failures=last.failures if last else 0,
        error=last and last.error,
        is_due=verdict.is_due,
        next_due=verdict.next_due,
        why=verdict.why,
    )
