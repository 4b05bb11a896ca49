"""The decisions of the scheduler: what it starts, and how earlier starts ended, as pure functions."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from analyst.runs import RunRecord, TableResult
from analyst.scheduling.ledger import Attempt, Ledger, Start
from analyst.scheduling.timetable import Entry, Registry, SourceJob, entries, judge, judge_attempt

_LOST = "the run was lost: it left no record and sent no heartbeat, so its process ended"
_LONGEST_ERROR = 500
_CLOCKS_DIFFER = timedelta(minutes=10)
_FORGOTTEN_AFTER = timedelta(hours=1)
"""How long a mark is kept if its source is gone, or if nobody started its job again."""

T = TypeVar("T", Attempt, Start)

_Result = tuple[str, str | None]
"""The target of an attempt (a table's uuid or a source's name), and its error; `None` if it succeeded."""


def folded(
    ledger: Ledger, registry: Registry, records: Mapping[str, RunRecord], now: datetime, lost: Collection[str]
) -> Ledger:
    """Return the ledger with the results of its starts.

    `records` are those of the runs that have ended; `lost` are runs that ended without one.
    """
    names = {source.name: source.created_at.replace(tzinfo=UTC) for source in registry.sources}
    sources = {
        name: attempt
        for name, attempt in _believed(ledger.sources, now, names).items()
        if attempt.at >= names[name]  # otherwise it is one of an earlier source of this name
    }
    tables = _believed(ledger.tables, now, {table.uuid for table in registry.tables})
    jobs = _believed(ledger.jobs, now, {job.id for job in registry.jobs()})
    starts = _believed(ledger.starts, now)
    for start in sorted(starts.values(), key=lambda start: start.at):
        record = records.get(start.run_id)
        if record is None and not _has_ended(start, names, now, lost):
            continue
        del starts[start.run_id]
        if not start.is_extract:
            continue
        if start.source in names and start.at >= names[start.source]:
            _attempt(sources, start, [(start.source, _LOST if record is None else record.error)])
        _attempt(tables, start, _outcomes(start, record, registry))
    sweep = ledger.sweep and _believed({"": ledger.sweep}, now).get("")
    known = {"sources": sources, "tables": tables, "jobs": jobs, "sweep": sweep, "starts": starts}
    return ledger.model_copy(update=known)


def _believed(noted: Mapping[str, T], now: datetime, keys: Collection[str] | None = None) -> dict[str, T]:
    """Drop entries that are not among the keys, and entries from the future, which a wrong clock has written."""
    return {
        key: entry for key, entry in noted.items() if (keys is None or key in keys) and entry.at <= now + _CLOCKS_DIFFER
    }


def _has_ended(start: Start, names: Collection[str], now: datetime, lost: Collection[str]) -> bool:
    """Return whether a start without a record is over; one that was never handed over is started again instead."""
    if start.is_extract and start.source in names:
        return start.run_id in lost
    return start.source is not None and now - start.at > _FORGOTTEN_AFTER


def _outcomes(start: Start, record: RunRecord | None, registry: Registry) -> Iterator[_Result]:
    """Return the results of the tables of a run: those that it read, or if it failed as a whole, those it was for."""
    results = {} if record is None else {result.table: result for result in record.tables}
    failure = _LOST if record is None else record.error
    for table in registry.tables:
        if table.source != start.source:
            continue
        if table.name in results:
            yield table.uuid, _problem(results[table.name])
        elif failure and (start.tables is None or table.name in start.tables):
            yield table.uuid, failure


def _problem(result: TableResult) -> str | None:
    return (result.error or result.status) if result.status in ("failed", "missing") else None


def _attempt(attempts: dict[str, Attempt], start: Start, outcomes: Iterable[_Result]) -> None:
    for key, error in outcomes:
        before = attempts.get(key)
        if before is None or before.at <= start.at:  # otherwise a run that began later has ended earlier
            failures = (before.failures if before else 0) + 1 if error else 0
            attempts[key] = Attempt(at=start.at, failures=failures, error=error and error[:_LONGEST_ERROR])


MOST_AT_ONCE = 20
"""Extracts that run at the same time; further ones wait for a later call."""

MOST_TABLES = 10_000
"""The maximum number of tables named to one extract; further ones are due at the next call."""

STARTED_ANEW_AFTER = timedelta(minutes=2)
"""How long a mark may wait for its start; then the process that marked it is considered dead."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Outcome = Literal["started", "running", "waiting", "not_due"]


class SourceOutcome(BaseModel):
    """What the scheduler decided about one source. `tables` null means all tables; `next_due` null means never."""

    model_config = ConfigDict(frozen=True)

    source: str
    outcome: Outcome
    why: str
    run_id: str | None = None
    tables: tuple[str, ...] | None = None
    next_due: datetime | None = None


class JobOutcome(BaseModel):
    """What the scheduler decided about one job of a source."""

    model_config = ConfigDict(frozen=True)

    source: str
    job: str
    outcome: Outcome
    why: str
    next_due: datetime | None = None


class SweepOutcome(BaseModel):
    """What the scheduler decided about the sweep."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    why: str
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to start, and the outcome for every source, job and the sweep."""

    starts: tuple[Start, ...]
    sources: tuple[SourceOutcome, ...]
    jobs: tuple[JobOutcome, ...]
    sweep: SweepOutcome


def decide(
    registry: Registry, ledger: Ledger, sweep_schedule: str, now: datetime, new_run_id: Callable[[], str]
) -> tuple[Ledger, Decision]:
    """Return the ledger with marks of what to start, and the decision. Sources with the oldest attempts come first."""
    starts = dict(ledger.starts)
    outcomes: list[SourceOutcome] = []
    for found in sorted(entries(registry, ledger).values(), key=lambda found: _last(found[0].last)):
        outcome, start = _source(found, starts.values(), now, new_run_id)
        outcomes.append(outcome)
        starts |= {start.run_id: start} if start else {}
    jobs: list[JobOutcome] = []
    attempts = dict(ledger.jobs)
    for job in registry.jobs():
        done, start = _job(job, ledger, starts.values(), now, new_run_id)
        jobs.append(done)
        if start:
            starts[start.run_id] = start
            attempts[job.id] = _attempted(ledger.jobs.get(job.id), now)
    sweep, start = _sweep(sweep_schedule, ledger, now, new_run_id)
    starts |= {start.run_id: start} if start else {}
    new = tuple(start for run_id, start in starts.items() if start != ledger.starts.get(run_id))
    last_sweep = _attempted(ledger.sweep, now) if start else ledger.sweep
    decision = Decision(new, tuple(sorted(outcomes, key=lambda outcome: outcome.source)), tuple(jobs), sweep)
    return ledger.model_copy(update={"starts": starts, "jobs": attempts, "sweep": last_sweep}), decision


def _source(
    found: Sequence[Entry], starts: Collection[Start], now: datetime, new_run_id: Callable[[], str]
) -> tuple[SourceOutcome, Start | None]:
    """Decide about a source: the tables that are due are read, and new ones discovered."""
    name = found[0].source.name
    before = [start for start in starts if start.is_extract and start.source == name]
    if any(_goes_on(start, now) for start in before):
        return SourceOutcome(source=name, outcome="running", why="an extract of the source is running"), None
    if before:
        return _started(before[0].model_copy(update={"at": now}), "the process that was starting it has ended")
    verdicts = [(entry, judge(entry, now)) for entry in found]
    due = [(entry, verdict) for entry, verdict in verdicts if verdict.is_due]
    if not due:
        soonest = min((verdict for _, verdict in verdicts), key=lambda verdict: verdict.next_due or _NEVER)
        outcome = SourceOutcome(source=name, outcome="not_due", why=soonest.why, next_due=soonest.next_due)
        return outcome, None
    if sum(start.is_extract for start in starts) >= MOST_AT_ONCE:
        why = f"{MOST_AT_ONCE} extracts are running; it starts when one of them ends"
        return SourceOutcome(source=name, outcome="waiting", why=why, next_due=due[0][1].next_due), None
    names = tuple(entry.table.name for entry, _ in due if entry.table)[:MOST_TABLES]
    tables = None if len(due) == len(found) else names
    return _started(Start(run_id=new_run_id(), source=name, tables=tables, at=now), due[0][1].why)


def _job(
    found: SourceJob, ledger: Ledger, starts: Collection[Start], now: datetime, new_run_id: Callable[[], str]
) -> tuple[JobOutcome, Start | None]:
    """Decide about a job. Like the sweep, it reports its end only if it fails."""
    source, job = found.source, found.job
    before = [start for start in starts if (start.source, start.job) == (source, job.name)]
    if any(_goes_on(start, now) for start in before):
        return JobOutcome(source=source, job=job.name, outcome="running", why="it is starting"), None
    verdict = judge_attempt(job.schedule, ledger.jobs.get(found.id), now)
    if not before and not verdict.is_due:
        why, due = verdict.why, verdict.next_due
        return JobOutcome(source=source, job=job.name, outcome="not_due", why=why, next_due=due), None
    start = before[0] if before else Start(run_id=new_run_id(), source=source, job=job.name, at=now)
    outcome = JobOutcome(source=source, job=job.name, outcome="started", why=verdict.why)
    return outcome, start.model_copy(update={"at": now})


def _sweep(
    schedule: str, ledger: Ledger, now: datetime, new_run_id: Callable[[], str]
) -> tuple[SweepOutcome, Start | None]:
    before = [start for start in ledger.starts.values() if start.source is None]
    if any(_goes_on(start, now) for start in before):
        return SweepOutcome(outcome="running", why="it is starting"), None
    verdict = judge_attempt(schedule, ledger.sweep, now)
    if not before and not verdict.is_due:
        return SweepOutcome(outcome="not_due", why=verdict.why, next_due=verdict.next_due), None
    start = before[0] if before else Start(run_id=new_run_id(), source=None, at=now)
    return SweepOutcome(outcome="started", why=verdict.why), start.model_copy(update={"at": now})


def _started(start: Start, why: str) -> tuple[SourceOutcome, Start]:
    outcome = SourceOutcome(
        source=start.source or "", outcome="started", why=why, run_id=start.run_id, tables=start.tables
    )
    return outcome, start


def _goes_on(start: Start, now: datetime) -> bool:
    return start.under_way or now - start.at < STARTED_ANEW_AFTER


def _attempted(last: Attempt | None, now: datetime) -> Attempt:
    """Record an attempt that reports only failures; consecutive failures keep counting."""
    return Attempt(at=now, failures=last.failures if last and last.error else 0)


def _last(attempt: Attempt | None) -> datetime:
    return attempt.at if attempt else datetime.min.replace(tzinfo=UTC)
