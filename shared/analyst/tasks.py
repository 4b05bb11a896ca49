"""Functions call each other: in this process when it serves the function, else over HTTP with the service token.

If `TASKS_URL` is set, every call runs there, so that webhooks, pages and signed URLs do not share an interpreter and a
processor with extracts, folds and rebuilds.

Every function that is called this way is idempotent: it may run twice if a response is lost.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

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

log = logging.getLogger(__name__)

_KINDS: Final = {
    kind.status: kind
    for kind in (InvalidInputError, NotFoundError, UnauthenticatedError, ForbiddenError, ConflictError)
}
_BUSY: Final = frozenset({429, 502, 503, 504})
_LONGEST_CALL: Final = 3600.0
"""Seconds: extracts and rebuilds respond only when they have ended."""


class LocalCall(Protocol):
    """Runs a function of this process; returns status and body, or `None` if this process does not serve it."""

    def __call__(self, path: str, body: bytes, request_id: str) -> tuple[int, bytes] | None:
        """Run the function with this JSON body."""


class Background:
    """Runs tasks after the response, a few at a time. `room` limits how many may run or wait."""

    def __init__(
        self,
        workers: int = 2,
        room: int = 100,
        *,
        clock: Callable[[], float] = time.monotonic,
        after: Callable[[float, Callable[[], None]], object] = lambda seconds, task: _daemon(seconds, task).start(),
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._room = threading.BoundedSemaphore(room)
        self._clock = clock
        self._after = after
        self._turn = threading.Lock()
        self._again: dict[str, bool] = {}
        self._began: dict[str, float] = {}

    def run(self, task: Callable[[], object]) -> None:
        """Run a task in the background.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        if not self._room.acquire(blocking=False):
            raise UnavailableError("the server is busy: too many tasks are waiting; try again in a moment")
        self._pool.submit(task).add_done_callback(lambda _: self._room.release())

    def run_alone(self, name: str, task: Callable[[], object], apart: float = 0.0) -> None:
        """Run a task in the background, but only one of a name at a time; while it runs, at most one more waits.

        Its runs begin at least `apart` seconds after each other; one that was requested in between follows then.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        with self._turn:
            if name in self._again:
                self._again[name] = True
                return
            self._again[name] = True
        self._submit(name, task, apart)

    def _submit(self, name: str, task: Callable[[], object], apart: float) -> None:
        try:
            self.run(lambda: self._repeat(name, task, apart))
        except (UnavailableError, RuntimeError):  # RuntimeError: closed
            self._again.pop(name)
            raise

    def _repeat(self, name: str, task: Callable[[], object], apart: float) -> None:
        """Run a task again for as long as it was requested while it ran."""
        try:
            while (pause := self._pause(name, apart)) is not None:
                if pause > 0:
                    self._after(pause, lambda: self._submit(name, task, apart))
                    return
                task()
        except BaseException:
            self._again.pop(name, None)
            raise

    def _pause(self, name: str, apart: float) -> float | None:
        """Return the seconds until a requested run may begin, `None` if none is requested; if it may now, note that."""
        with self._turn:
            if not self._again[name]:
                del self._again[name]
                return None
            now = self._clock()
            pause = self._began.get(name, float("-inf")) + apart - now
            if pause <= 0:
                self._again[name], self._began[name] = False, now
            return max(pause, 0.0)

    def close(self) -> None:
        """Wait for all tasks, and accept no more."""
        self._pool.shutdown()


def _daemon(seconds: float, task: Callable[[], None]) -> threading.Timer:
    """Make a timer that does not keep the process alive."""

    def run() -> None:
        with suppress(UnavailableError, RuntimeError):  # the next request tries again
            task()

    timer = threading.Timer(seconds, run)
    timer.daemon = True
    return timer


@dataclass(frozen=True, slots=True)
class Tasks:
    """Calls functions on behalf of one request, and passes on its id."""

    settings: Settings
    local: LocalCall
    background: Callable[[], Background]
    request_id: str
    http: HttpClient
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

    def enqueue(
        self, path: str, body: Mapping[str, Any], failed: Callable[[Exception], object] = lambda _: None
    ) -> None:
        """Run a function (POST) in the background; a failure is logged and passed to `failed`.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        self.background().run(lambda: self._call_logged(path, body, failed))

    def enqueue_alone(self, path: str, body: Mapping[str, Any], apart: float = 0.0) -> None:
        """Run a function (POST) in the background, with only one call with this body at a time and one waiting.

        Calls begin at least `apart` seconds after each other.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        name = f"{path} {json.dumps(body, sort_keys=True)}"
        self.background().run_alone(name, lambda: self._call_logged(path, body, lambda _: None), apart)

    def _call_logged(self, path: str, body: Mapping[str, Any], failed: Callable[[Exception], object]) -> None:
        fields = {"path": path, "request_id": self.request_id}
        try:
            try:
                self.call(path, body)
            except Exception as error:
                failed(error)
                raise
        except (
            AnalystError
        ) as error:  # a broken source is not a fault of ours: its reason is enough, without a traceback
            log.error("a task failed", extra={"fields": {**fields, "reason": str(error)}})  # noqa: TRY400
        except Exception:
            log.exception("a task failed", extra={"fields": fields})

    def _run_here(self, path: str, data: bytes) -> tuple[int, bytes] | None:
        return self.local(path, data, self.request_id) if self.settings.tasks_url is None else None

    def _remote(self, path: str, data: bytes) -> tuple[int, bytes]:
        """Post to a function of another process; repeat that while it is busy or does not respond."""
        url = self.settings.tasks_url or self.settings.base_url
        if url is None or self.settings.service_token is None:
            raise SettingsError(
                f"{path} can't be called: another process serves it; set SERVICE_TOKEN, and TASKS_URL or BASE_URL"
            )
        headers = {
            "Authorization": f"Bearer {self.settings.service_token.get_secret_value()}",
            "Content-Type": "application/json",
            "X-Request-Id": self.request_id,
        }

        def post() -> tuple[int, bytes]:
            answer = self.http.request("POST", url.rstrip("/") + path, headers=headers, body=data, read=_LONGEST_CALL)
            if answer.status in _BUSY:
                raise UnavailableError(f"{path} answered {answer.status}")
            return answer.status, answer.data

        return repeat(post, on=UnavailableError, pauses=self.pauses(), failed=_log_retry)


def _log_retry(error: Exception, pause: float) -> None:
    log.warning(
        "retrying a call to another function", extra={"fields": {"reason": str(error), "after_s": round(pause, 1)}}
    )


def _read(path: str, status: int, answer: bytes) -> dict[str, Any]:
    document = _document(answer)
    if status < 300:  # noqa: PLR2004
        return document
    if status == UnavailableError.status:
        raise UnavailableError(document.get("detail") or f"{path} answered {status}")
    kind = _KINDS.get(status, AnalystError)
    told = document.get("detail") or document.get("error")  # of a problem document, or of a run that failed
    raise kind(told or f"{path} answered {status}", answer=document)


def _document(answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer) if answer else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
