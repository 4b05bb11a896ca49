"""The timetable: everything with a schedule, and whether it is due, as pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from analyst.errors import InvalidInputError
from analyst.schedule import Schedule
from analyst.scheduling.ledger import Attempt, Ledger
from analyst.settings import Settings
from analyst.state.registry import TableRow, list_rows
from analyst.state.source_types import EXTERNAL, Job, SourceTypes
from analyst.state.sources import Source, list_sources

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from analyst.state import State

FIRST_PAUSE = timedelta(minutes=5)
"""The pause after a failure; doubled with every further consecutive failure."""
LONGEST_PAUSE = timedelta(days=1)
TIMES_KEPT_AFTER = timedelta(hours=1)
"""How long ago the last attempt must be for a scheduled time to count although the pause is not over."""

SaidBy = Literal["table", "source", "instance"]
"""Where a schedule is defined: on the table, on its source, or in the settings."""


OF_INSTANCE: Final = ""
"""The source of jobs that belong to none."""


def own_jobs(settings: Settings) -> tuple[Job, ...]:
    """Return the jobs of the instance."""
    jobs = [Job("freshness", "/check-freshness", "every 1h")]
    if settings.openmetadata_url is not None and settings.openmetadata_token is not None:
        jobs.append(Job("openmetadata", "/import-openmetadata", settings.openmetadata_schedule))
    return tuple(jobs)


@dataclass(frozen=True, slots=True)
class Registry:
    """The sources and tables; `default` is the schedule of those without one. `types` have jobs, `own` are of the instance."""

    sources: tuple[Source, ...]
    tables: tuple[TableRow, ...]
    default: str
    types: SourceTypes = field(default_factory=dict)
    own: tuple[Job, ...] = ()

    @classmethod
    def read(cls, state: "State", settings: Settings, types: SourceTypes) -> Self:
        """Read it from the system state."""
        sources, tables = state.derived(_listed)
        return cls(sources, tables, settings.sync_schedule, types, own_jobs(settings))

    def jobs(self) -> "Iterator[SourceJob]":
        """List the jobs of the instance and of all sources."""
        yield from (SourceJob(OF_INSTANCE, job) for job in self.own)
        for source in self.sources:
            if source.type in self.types:
                yield from (SourceJob(source.name, job) for job in self.types[source.type].jobs)


def _listed(db: "DuckDBPyConnection") -> tuple[tuple[Source, ...], tuple[TableRow, ...]]:
    return list_sources(db), list_rows(db)


@dataclass(frozen=True, slots=True)
class SourceJob:
    """A job of one source, or of the instance."""

    source: str
    job: Job

    @property
    def id(self) -> str:
        """Its key in the ledger."""
        return f"{self.source}/{self.job.name}"


class Entry(NamedTuple):
    """A table, or a source as a whole (`table` is `None`), with its schedule and its last attempt."""

    source: Source
    table: TableRow | None
    schedule: str
    said_by: SaidBy
    last: Attempt | None

    @property
    def id(self) -> str:
        """The name of the source, or the id of the table."""
        return self.source.name if self.table is None else self.table.id


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is due, and why; `next_due` is the time, `None` for never."""

    is_due: bool
    why: str
    next_due: datetime | None


def entries(registry: Registry, ledger: Ledger) -> dict[str, list[Entry]]:
    """List the scheduled items by source: the source as a whole, for discovery, and its tables."""
    found = {source.name: [of_source(source, registry, ledger)] for source in registry.sources}
    for table in registry.tables:
        if table.source in found:  # tables of an older system may have none
            found[table.source].append(of_table(table, found[table.source][0], ledger))
    return found


def judge(entry: Entry, now: datetime) -> Verdict:
    """Return whether a table or source is due."""
    if entry.source.type == EXTERNAL:
        return Verdict(is_due=False, why="an external process writes its extract", next_due=None)
    return judge_attempt(entry.schedule, entry.last, now)


def judge_attempt(schedule: str, last: Attempt | None, now: datetime) -> Verdict:
    """Return whether an item with this schedule and last attempt is due."""
    try:
        if last is None:
            is_due = _parsed(schedule).is_due(None, now)
            return Verdict(is_due, "it has never run" if is_due else _ON_DEMAND, now if is_due else None)
        due = _due_again(schedule, last)
    except InvalidInputError as error:
        return Verdict(is_due=False, why=str(error), next_due=None)
    if due is None:
        return Verdict(is_due=False, why=_ON_DEMAND, next_due=None)
    return Verdict(due <= now, _why(last, is_due=due <= now), due)


_ON_DEMAND = "it runs only on demand"


def _why(last: Attempt, *, is_due: bool) -> str:
    if last.error is None:
        return "it is due by its schedule" if is_due else "it is not due yet"
    times = "once" if last.failures == 1 else f"{last.failures} times in a row"
    return f"it failed {times}{' and is retried' if is_due else ''}: {last.error}"


def _due_again(schedule: str, last: Attempt) -> datetime | None:
    """Return the next time after an attempt.

    After a failure, it is the end of a pause, or the next time of the schedule if that is earlier, but not within the
    first hour of the pause.
    """
    time = _next_due(schedule, last.at)
    if time is None or last.error is None:
        return time
    pause = min(FIRST_PAUSE * (1 << min(last.failures - 1, 16)), LONGEST_PAUSE)
    return min(last.at + pause, max(time, last.at + min(pause, TIMES_KEPT_AFTER)))


@lru_cache(maxsize=1000)
def _parsed(schedule: str) -> Schedule:
    return Schedule.parse(schedule)


@lru_cache(maxsize=10_000)
def _next_due(schedule: str, after: datetime) -> datetime | None:
    """Return the next time; tables that were synced together share it."""
    return _parsed(schedule).next_due(after)


def of_source(source: Source, registry: Registry, ledger: Ledger) -> Entry:
    """Return the entry of a source as a whole."""
    own = source.sync_schedule
    return Entry(
        source, None, own or registry.default, "source" if own else "instance", ledger.sources.get(source.name)
    )


def of_table(table: TableRow, whole: Entry, ledger: Ledger) -> Entry:
    """Return the entry of a table of a source, of which `whole` is the entry."""
    own, last = table.sync_schedule, ledger.tables.get(table.uuid)
    return Entry(whole.source, table, own or whole.schedule, "table" if own else whole.said_by, last)
