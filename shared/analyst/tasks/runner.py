"""Running a task in the process that serves its function: claim it, call the function, settle it."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from analyst.tasks.ledger import MOST_ATTEMPTS, Claim, Task, TaskLedger

log = logging.getLogger(__name__)

TASK_ID: Final = "X-Task-Id"
"""The header of a request that is a task: its id in the ledger, which has the body."""

_AGAIN_STATUSES: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 with which a function asks for another attempt."""

Ran = Literal["done", "failed", "retried", "running", "not_here", "not_served"]
"""The outcome of an attempt. No attempt was made if another process is `running` it, if it has ended or is not due yet
(`not_here`), or if this process does not serve the function."""

LocalCall = Callable[[str, bytes, str], tuple[int, bytes] | None]
"""Runs a function of this process; returns status and body, or `None` if this process does not serve it."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs tasks.

    Args:
        ledger: the ledger.
        call: calls a function of this process.
        deliver: delivers a task that is to run again.
        gave_up: called with a task that failed for good, and the reason.
    """

    ledger: TaskLedger
    call: LocalCall
    deliver: Callable[[Task], object]
    gave_up: Callable[[Task, str], object]

    def run(self, task_id: str, path: str, *, is_last: bool = True) -> Ran:
        """Run a task once, if this process can claim it. Unless it `is_last`, another one may serve the function.

        Raises:
            UnavailableError: the store does not respond; the task stays in the ledger.
        """
        claim = self.ledger.claim(task_id, path)
        if not isinstance(claim, Claim):
            return claim
        task = claim.task
        if task.attempts > MOST_ATTEMPTS:
            return self._failed(
                claim, f"the process that ran it ended in each of {MOST_ATTEMPTS} attempts", for_good=True
            )
        try:
            answer = self.call(task.path, json.dumps(task.body).encode(), task.request_id or task.id)
        except BaseException:
            self.ledger.handed_back(claim)
            raise
        if answer is None and not is_last:
            self.ledger.handed_back(claim)
            return "not_served"
        return self._settle(claim, answer)

    def _settle(self, claim: Claim, answer: tuple[int, bytes] | None) -> Ran:
        path = claim.task.path
        if answer is None:
            return self._failed(claim, f"no function is served at {path}", for_good=True)
        status, document = answer[0], document_of(answer[1])
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return self._done(claim)
        reason = str(document.get("detail") or document.get("error") or f"{path} answered {status}")
        is_refused = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _AGAIN_STATUSES
        if is_refused and "run_id" in document:  # the run has a record, and the schedule tries again
            self.gave_up(claim.task, reason)
            return self._done(claim)
        return self._failed(claim, reason, for_good=is_refused)

    def fail(self, task_id: str, path: str, reason: str) -> None:
        """Count an attempt that nobody made, because nobody could."""
        claim = self.ledger.claim(task_id, path)
        if isinstance(claim, Claim):
            self._failed(claim, reason, for_good=False)

    def _done(self, claim: Claim) -> Ran:
        if (again := self.ledger.succeeded(claim)) is not None:
            self.deliver(again)
        return "done"

    def _failed(self, claim: Claim, reason: str, *, for_good: bool) -> Ran:
        fields = {"path": claim.task.path, "task": claim.task.id, "attempt": claim.task.attempts, "reason": reason}
        after = self.ledger.failed(claim, reason, for_good=for_good)
        if after.failed_at is not None:
            log.error("a task failed for good", extra={"fields": fields})
            self.gave_up(after, reason)
            return "failed"
        log.warning("a task failed and is retried", extra={"fields": {**fields, "due": after.due}})
        self.deliver(after)
        return "retried"


def expire(ledger: TaskLedger, task: Task, gave_up: Callable[[Task, str], object]) -> None:
    """Give up a task that nobody has finished in a day."""
    reason = "it was not finished within a day; check that its function can be reached and that its process survives it"
    log.error("a task failed for good", extra={"fields": {"path": task.path, "task": task.id, "reason": reason}})
    gave_up(ledger.give_up(task, reason if task.error is None else f"{reason}; last error: {task.error}"), reason)


def document_of(answer: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one if it is something else."""
    try:
        document = json.loads(answer) if answer else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
