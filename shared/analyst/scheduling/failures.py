"""Recording the failures of tasks: as the record of an extract, or as a note in the ledger of the scheduler."""

from datetime import datetime
from typing import Final

from analyst.runs import is_run_id
from analyst.scheduling import ledger
from analyst.scheduling.ledger import Attempt, Ledger
from analyst.store import Store
from analyst.sync_runs import TriggeredRun, record_failure
from analyst.tasks import Task

JOB: Final = "job "
"""The start of the name of a job's task; the id of the job follows."""
SWEEP: Final = "sweep"
"""The name of the task of a scheduled sweep."""


def note_failure(store: Store, task: Task, reason: str, now: datetime) -> None:
    """Record that a task failed for good, where people and the scheduler look for its result.

    Raises:
        UnavailableError: the store does not respond.
    """
    run_id, source = task.body.get("run_id"), task.body.get("source")
    if isinstance(run_id, str) and is_run_id(run_id) and isinstance(source, str):
        record_failure(store, TriggeredRun(source=source, run_id=run_id), reason, now)
    elif task.name == SWEEP:
        ledger.edit(store, lambda before: (_sweep_failed(before, reason), None))
    elif task.name is not None and task.name.startswith(JOB):
        job = task.name.removeprefix(JOB)
        ledger.edit(store, lambda before: (_job_failed(before, job, reason), None))


def _job_failed(before: Ledger, job: str, error: str) -> Ledger:
    last = before.jobs.get(job)
    failed = {job: Attempt(at=last.at, failures=last.failures + 1, error=error)} if last else {}
    return before.model_copy(update={"jobs": {**before.jobs, **failed}})


def _sweep_failed(before: Ledger, error: str) -> Ledger:
    last = before.sweep
    failed = last and Attempt(at=last.at, failures=last.failures + 1, error=error)
    return before.model_copy(update={"sweep": failed})
