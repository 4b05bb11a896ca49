"""Telling people what is synced when, and why."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.scheduling import ledger
from analyst.scheduling.due import folded
from analyst.scheduling.ledger import Attempt
from analyst.scheduling.timetable import Registry, SaidBy, SourceJob, Verdict, entries, judge, judge_attempt
from analyst.store import Store


class Scheduled(BaseModel):
    """When something is started. `last_run` began then, by the scheduler or because somebody asked; `failures` in a row.

    `next_due` is null for never, and in the past for what is due.
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
    """When a table is synced, or a source (whose `table` is null) looked through for new ones.

    `said_by` is where the schedule is written: with the table, with its source or in the settings of the instance.
    `is_running` is of the source: an extract of it is under way.
    """

    id: str
    source: str
    table: str | None
    said_by: SaidBy
    is_running: bool


class ScheduledJob(Scheduled):
    """When something is done for a source besides its extract."""

    source: str
    job: str


class ScheduleView(BaseModel):
    """Sources with their tables, by name, their jobs, and the sweep, as they are at this moment."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    entries: tuple[ScheduledEntry, ...]
    jobs: tuple[ScheduledJob, ...]
    sweep: Scheduled


def view(store: Store, registry: Registry, sweep_schedule: str, now: datetime) -> ScheduleView:
    """Tell when everything is started, and why; nothing is written.

    Raises:
        UnavailableError: the store does not answer, or the ledger is damaged.
    """
    found = ledger.read(store)
    current = folded(found, registry, ledger.records(store, found, {}, now), now)
    running = {start.source for start in current.starts.values() if start.is_extract}
    return ScheduleView(
        at=now,
        entries=tuple(
            ScheduledEntry(
                id=entry.id,
                source=entry.source.name,
                table=entry.table and entry.table.name,
                said_by=entry.said_by,
                is_running=entry.source.name in running,
                **_scheduled(entry.schedule, entry.last, judge(entry, now)).model_dump(),
            )
            for listed in entries(registry, current).values()
            for entry in listed
        ),
        jobs=tuple(_scheduled_job(job, current.jobs.get(job.id), now) for job in registry.jobs()),
        sweep=_scheduled(sweep_schedule, current.sweep, judge_attempt(sweep_schedule, current.sweep, now)),
    )


def _scheduled_job(found: SourceJob, last: Attempt | None, now: datetime) -> ScheduledJob:
    schedule = found.job.schedule
    told = _scheduled(schedule, last, judge_attempt(schedule, last, now)).model_dump()
    return ScheduledJob(source=found.source, job=found.job.name, **told)


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
