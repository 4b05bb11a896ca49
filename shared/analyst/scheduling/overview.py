"""The overview of all schedules for people."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.scheduling import ledger
from analyst.scheduling.due import folded
from analyst.scheduling.ledger import Attempt
from analyst.scheduling.timetable import Registry, SaidBy, SourceJob, Verdict, entries, judge, judge_attempt
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
    """The schedules of sources and tables, of jobs, and of the sweep, as of `at`."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    entries: tuple[ScheduledEntry, ...]
    jobs: tuple[ScheduledJob, ...]
    sweep: Scheduled


def view(store: Store, registry: Registry, sweep_schedule: str, now: datetime) -> ScheduleView:
    """Return when everything is started, and why; nothing is written.

    Raises:
        UnavailableError: the store does not respond, or the ledger is damaged.
    """
    found = ledger.read(store)
    records = ledger.records(store, found, {}, now)
    current = folded(found, registry, records, now, ledger.lost(store, found, records, now))
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
