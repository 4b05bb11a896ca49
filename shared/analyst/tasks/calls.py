"""Calls of other functions: now, with their answer, or as a task, after this answer.

A function of this process is called in it, any other over HTTP with the service token. If `TASKS_URL` is set, every call
runs there, so that webhooks, pages and signed URLs do not share an interpreter and a processor with extracts, folds and
rebuilds.

Every function that is called this way is idempotent: it may run twice if a response is lost or a process dies.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

from analyst.backoff import growing, repeat
from analyst.errors import (
    AnalystError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    SettingsError,
    UnauthenticatedError,
    UnavailableError,
)
from analyst.http_client import HttpClient
from analyst.settings import Settings
from analyst.tasks.delivery import Delivery
from analyst.tasks.ledger import LONGEST_WAIT, Task, TaskLedger
from analyst.tasks.runner import TASK_ID, LocalCall, Runner, document_of, expire

log = logging.getLogger(__name__)

_KINDS: Final = {
    kind.status: kind
    for kind in (InvalidInputError, NotFoundError, UnauthenticatedError, ForbiddenError, ConflictError)
}
REQUEST_ID: Final = "X-Request-Id"
TRACE: Final = "traceparent"
_BUSY: Final = frozenset({429, 502, 503, 504})
_LONGEST_CALL: Final = 3600.0
"""In seconds; extracts and rebuilds respond only when they have ended."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Calls functions on behalf of one request, and passes on its id."""

    settings: Settings
    local: LocalCall
    request_id: str
    http: HttpClient
    ledger: Callable[[], TaskLedger]
    delivery: Callable[[], Delivery]
    gave_up: Callable[[Task, str], object] = lambda _task, _reason: None
    """Called with a task that failed for good, and the reason."""
    trace: str | None = None
    """The `traceparent` of the request."""
    pauses: Callable[[], Iterable[float]] = lambda: islice(growing(0.25, 5.0), 4)
    """The pauses between the attempts of one call over HTTP."""

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Run a function now (POST) and return its answer.

        Raises:
            AnalystError: it failed; the class shows how, and whether a retry makes sense.
        """
        data = json.dumps(body).encode()
        status, answer = self._run_here(path, data) or self._remote(path, data)
        return _read(path, status, answer)

    def enqueue(self, path: str, body: Mapping[str, Any], *, name: str | None = None, delay: float = 0.0) -> None:
        """Run a function (POST) after this answer, at least once, and at least `delay` seconds later.

        While a task of the same `name` waits, nothing is added; while one runs, it will run once more.

        Raises:
            UnavailableError: the ledger, or in a cloud its queue, does not respond. The task may still run.
        """
        ledger = self.ledger()
        added = ledger.add(path, body, name=name, delay=delay, request_id=self.request_id, trace=self.trace)
        if added is not None:
            self.delivery().deliver(added, self.send)

    def redeliver(self) -> int:
        """Deliver all due tasks that nobody runs; return their number.

        Raises:
            UnavailableError: the ledger, or in a cloud its queue, does not respond.
        """
        ledger, count = self.ledger(), 0
        for task in ledger.due():
            if ledger.now() - task.created_at > LONGEST_WAIT:
                expire(ledger, task, self.gave_up)
            else:
                self.delivery().redeliver(task, self.send)
                count += 1
        return count

    def retry(self, task_id: str) -> Task | None:
        """Run a task that failed for good once more; see `TaskLedger.retry`.

        Raises:
            NotFoundError: no task with this id has failed.
        """
        added = self.ledger().retry(task_id)
        if added is not None:
            self.delivery().deliver(added, self.send)
        return added

    def send(self, task: Task) -> None:
        """Run a task of the ledger in the process that serves its function, and wait for its end.

        Raises:
            AnalystError: nobody ran it; it stays in the ledger.
        """
        settings = self.settings
        runner = self.runner()
        if settings.tasks_url is not None:
            self._send(task)
            return
        is_last = settings.base_url is None or settings.service_token is None
        if runner.run(task.id, task.path, is_last=is_last) == "not_served":
            try:
                self._send(task)
            except AnalystError as error:  # nobody serves it: unlike a process that restarts, that is no reason to wait
                runner.fail(task.id, task.path, str(error))
                raise

    def _send(self, task: Task) -> None:
        status, answer = self._post(
            task.path, b"{}", {TASK_ID: task.id, REQUEST_ID: task.request_id, **_traced(task.trace)}
        )
        if status >= HTTPStatus.MULTIPLE_CHOICES and status != HTTPStatus.CONFLICT:  # 409: another process runs it
            raise UnavailableError(document_of(answer).get("detail") or f"{task.path} answered {status}")

    def runner(self) -> Runner:
        """Return the runner of tasks in this process."""
        return Runner(self.ledger(), self.local, lambda task: self.delivery().deliver(task, self.send), self.gave_up)

    @property
    def run_elsewhere(self) -> bool:
        """Whether calls of functions are answered by other processes, so that many of them at once share the work."""
        return self.settings.tasks_url is not None

    def _run_here(self, path: str, data: bytes) -> tuple[int, bytes] | None:
        return self.local(path, data, self.request_id) if self.settings.tasks_url is None else None

    def _remote(self, path: str, data: bytes) -> tuple[int, bytes]:
        """Post to a function of another process; repeat that while it is busy or does not respond."""

        def post() -> tuple[int, bytes]:
            status, answer = self._post(path, data, {REQUEST_ID: self.request_id})
            if status in _BUSY:
                raise UnavailableError(f"{path} answered {status}")
            return status, answer

        return repeat(post, on=UnavailableError, pauses=self.pauses(), failed=_log_retry)

    def _post(self, path: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        url = self.settings.tasks_url or self.settings.base_url
        if url is None or self.settings.service_token is None:
            raise SettingsError(
                f"{path} can't be called: another process serves it; set SERVICE_TOKEN, and TASKS_URL or BASE_URL"
            )
        sent = {
            "Authorization": f"Bearer {self.settings.service_token.get_secret_value()}",
            "Content-Type": "application/json",
            **_traced(self.trace),
            **headers,
        }
        answer = self.http.request("POST", url.rstrip("/") + path, headers=sent, body=data, read=_LONGEST_CALL)
        return answer.status, answer.data


def _traced(trace: str | None) -> dict[str, str]:
    return {} if trace is None else {TRACE: trace}


def _log_retry(error: Exception, pause: float) -> None:
    log.warning(
        "retrying a call to another function", extra={"fields": {"reason": str(error), "after_s": round(pause, 1)}}
    )


def _read(path: str, status: int, answer: bytes) -> dict[str, Any]:
    document = document_of(answer)
    if status < 300:  # noqa: PLR2004
        return document
    if status == UnavailableError.status:
        raise UnavailableError(document.get("detail") or f"{path} answered {status}")
    kind = _KINDS.get(status, AnalystError)
    message = document.get("detail") or document.get("error")  # of a problem document, or of a run that failed
    raise kind(message or f"{path} answered {status}", answer=document)
