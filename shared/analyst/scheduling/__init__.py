"""The scheduler: starts what is due, however often and by whomever it is called.

A start is marked in a ledger first, by compare-and-swap, so that concurrent calls start each thing once. If a process
ends between marking and starting, a later call starts it. A run reports its result in a record that later calls read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.runs import RunRecord
from analyst.scheduling import ledger
from analyst.scheduling.decisions import Decision, JobOutcome, SourceOutcome, SweepOutcome, decide, folded
from analyst.scheduling.failures import JOB, SWEEP
from analyst.scheduling.ledger import Ledger, Start
from analyst.scheduling.timetable import Registry
from analyst.store import Store
from analyst.sync_runs import Enqueue, Extract, TriggeredRun


class ScheduleAnswer(BaseModel):
    """What this call started, and why it did not start the rest."""

    model_config = ConfigDict(frozen=True)

    sources: tuple[SourceOutcome, ...]
    jobs: tuple[JobOutcome, ...]
    sweep: SweepOutcome


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The environment of the scheduler. `enqueue` calls the functions that it starts."""

    store: Store
    registry: Registry
    sweep_schedule: str
    enqueue: Enqueue
    now: Callable[[], datetime]

    def call(self) -> ScheduleAnswer:
        """Start what is due. Missed times are caught up once.

        Raises:
            UnavailableError: the store does not respond, the ledger is damaged, or tasks can't be added. Runs that were
                started continue; a later call starts the rest.
        """
        # Marked first, started second: a process that dies in between leaves a mark that a later call acts upon. In the
        # other order, two concurrent calls would both start the same extract.
        decision = self._decide(self.now())
        handed_over: list[Start] = []
        try:
            for start in decision.starts:
                self._hand_over(start)
                handed_over.append(start)
        finally:
            if handed_over:
                ledger.edit(self.store, lambda before: (_under_way(before, handed_over), None))
        return ScheduleAnswer(sources=decision.sources, jobs=decision.jobs, sweep=decision.sweep)

    def _decide(self, at: datetime) -> Decision:
        known: dict[str, RunRecord] = {}

        def change(before: Ledger) -> tuple[Ledger, Decision]:
            known.update(ledger.records(self.store, before, known, at))
            current = folded(before, self.registry, known, at, ledger.lost(self.store, before, known, at))
            return decide(self.registry, current, self.sweep_schedule, at, lambda: runs.new_run_id(at))

        return ledger.edit(self.store, change)

    def _hand_over(self, start: Start) -> None:
        if start.source is None:
            self.enqueue("/sweep", {}, name=SWEEP)
        elif start.job is not None:
            job = next(
                found for found in self.registry.jobs() if (found.source, found.job.name) == (start.source, start.job)
            )
            self.enqueue(job.job.path, {"source": job.source} if job.source else {}, name=f"{JOB}{job.id}")
        else:
            run = TriggeredRun(source=start.source, run_id=start.run_id)
            source_type = next(found.type for found in self.registry.sources if found.name == start.source)
            Extract(run, source_type, start.tables).enqueue(self.enqueue)


def note(store: Store, extracts: Sequence[Extract], at: datetime) -> None:
    """Record extracts that were started on demand: the scheduler counts them, and skips their sources while they run.

    Raises:
        UnavailableError: the store does not respond, or the ledger is damaged.
    """
    starts = {
        extract.run.run_id: Start(
            run_id=extract.run.run_id, source=extract.run.source, tables=extract.tables, at=at, under_way=True
        )
        for extract in extracts
    }
    ledger.edit(store, lambda before: (before.model_copy(update={"starts": {**before.starts, **starts}}), None))


def _under_way(before: Ledger, handed_over: Sequence[Start]) -> Ledger:
    """Mark extracts as in progress, unless they have ended already. Jobs and the sweep are not tracked."""
    left = dict(before.starts)
    for start in handed_over:
        marked = left.pop(start.run_id, None)
        if marked and start.is_extract:
            left[start.run_id] = marked.model_copy(update={"under_way": True})
    return before.model_copy(update={"starts": left})
