"""Bringing the ledger up to date: runs that ended, or were lost, become attempts; what is registered no more goes."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from analyst.runs import RunRecord, TableResult
from analyst.scheduling.ledger import Attempt, Ledger, Start
from analyst.scheduling.timetable import Registry
from analyst.sync_runs import LOST_AFTER

_LOST = "it has left no record for an hour: its process ended, or never began"
_LONGEST_ERROR = 500
_CLOCKS_DIFFER = timedelta(minutes=10)

T = TypeVar("T", Attempt, Start)

Outcome = tuple[str, str | None]
"""What was attempted (a table's uuid or a source's name), and why it failed; `None` when it did not."""


def folded(ledger: Ledger, registry: Registry, records: Mapping[str, RunRecord], now: datetime) -> Ledger:
    """Give the ledger with what became of its starts. `records` are those of the runs that have ended."""
    names = {source.name for source in registry.sources}
    sources = _believed(ledger.sources, now, names)
    tables = _believed(ledger.tables, now, {table.uuid for table in registry.tables})
    jobs = _believed(ledger.jobs, now, {job.id for job in registry.jobs()})
    starts = _believed(ledger.starts, now)
    for start in sorted(starts.values(), key=lambda start: start.at):
        record = records.get(start.run_id)
        if record is None and not _is_lost(start, names, now):
            continue
        del starts[start.run_id]
        if not start.is_extract:
            continue
        if start.source in names:
            _attempt(sources, start, [(start.source, _LOST if record is None else record.error)])
        _attempt(tables, start, _outcomes(start, record, registry))
    sweep = ledger.sweep and _believed({"": ledger.sweep}, now).get("")
    known = {"sources": sources, "tables": tables, "jobs": jobs, "sweep": sweep, "starts": starts}
    return ledger.model_copy(update=known)


def _believed(noted: Mapping[str, T], now: datetime, keys: Collection[str] | None = None) -> dict[str, T]:
    """Leave out what is not among the keys, and what a clock that was wrong has written: its time would never come."""
    return {key: it for key, it in noted.items() if (keys is None or key in keys) and it.at <= now + _CLOCKS_DIFFER}


def _is_lost(start: Start, names: Collection[str], now: datetime) -> bool:
    """Tell whether nothing will be heard of a start; one that was never handed over is started anew instead."""
    if start.source is None or (start.is_extract and start.source in names and not start.under_way):
        return False
    return now - start.at > LOST_AFTER


def _outcomes(start: Start, record: RunRecord | None, registry: Registry) -> Iterator[Outcome]:
    """Tell how the tables of a run fared: those that it looked at, or when it failed as a whole, those it was for."""
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


def _attempt(attempts: dict[str, Attempt], start: Start, outcomes: Iterable[Outcome]) -> None:
    for key, error in outcomes:
        before = attempts.get(key)
        if before is None or before.at <= start.at:  # else a run that began later has ended before
            failures = (before.failures if before else 0) + 1 if error else 0
            attempts[key] = Attempt(at=start.at, failures=failures, error=error and error[:_LONGEST_ERROR])
