"""Functions call each other: in this process when it serves the function, else over HTTP with the service token.

Every function that is called so is idempotent: it may run twice when an answer is lost.
"""

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Protocol

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
from analyst.settings import Settings

log = logging.getLogger(__name__)

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_KINDS: Final = {
    kind.status: kind
    for kind in (InvalidInputError, NotFoundError, UnauthenticatedError, ForbiddenError, ConflictError)
}
_TIMEOUT: Final = 3600.0
_ATTEMPTS: Final = 5


class LocalCall(Protocol):
    """Runs a function that this process serves: the status and body of its answer, `None` if it is not served."""

    def __call__(self, path: str, body: bytes, request_id: str) -> tuple[int, bytes] | None:
        """Run the function with this JSON body."""


class Background:
    """Runs things after the answer, a few at once. `room` is how many may run or wait."""

    def __init__(self, workers: int = 2, room: int = 100) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._room = threading.BoundedSemaphore(room)

    def run(self, task: Callable[[], object]) -> None:
        """Run a task soon.

        Raises:
            UnavailableError: too many are waiting.
        """
        if not self._room.acquire(blocking=False):
            raise UnavailableError("too many tasks are waiting; try again in a moment")
        self._pool.submit(task).add_done_callback(lambda _: self._room.release())

    def close(self) -> None:
        """Wait for what runs and waits, and take no more."""
        self._pool.shutdown()


@dataclass(frozen=True, slots=True)
class Tasks:
    """Calls functions on behalf of one request, whose id goes along."""

    settings: Settings
    local: LocalCall
    background: Callable[[], Background]
    request_id: str

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Run a function now (POST) and give its answer.

        Raises:
            AnalystError: it failed; the kind tells how, and whether it is worth trying again.
        """
        data = json.dumps(body).encode()
        status, answer = self.local(path, data, self.request_id) or self._remote(path, data)
        return _read(path, status, answer)

    def enqueue(self, path: str, body: Mapping[str, Any]) -> None:
        """Run a function (POST) after this; that it failed is only logged.

        Raises:
            UnavailableError: too many are waiting.
        """
        self.background().run(lambda: self._call_logged(path, body))

    def _call_logged(self, path: str, body: Mapping[str, Any]) -> None:
        try:
            self.call(path, body)
        except Exception:
            log.exception("a task failed", extra={"fields": {"path": path, "request_id": self.request_id}})

    def _remote(self, path: str, data: bytes) -> tuple[int, bytes]:
        import stamina

        request = self._request(path, data)
        for attempt in stamina.retry_context(on=UnavailableError, attempts=_ATTEMPTS, timeout=None):
            with attempt:
                return _post(request)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def _request(self, path: str, data: bytes) -> urllib.request.Request:
        if self.settings.base_url is None or self.settings.service_token is None:
            raise SettingsError(f"{path} is served by another process: set BASE_URL and SERVICE_TOKEN to call it")
        headers = {
            "Authorization": f"Bearer {self.settings.service_token.get_secret_value()}",
            "Content-Type": "application/json",
            "X-Request-Id": self.request_id,
        }
        url = self.settings.base_url.rstrip("/") + path
        return urllib.request.Request(url, data, headers, method="POST")  # noqa: S310 - BASE_URL is the operator's


def _post(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _RETRYABLE:
                raise UnavailableError(f"{request.selector} answered {error.code}") from error
            return error.code, error.read()
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{request.selector} does not answer: {error}") from error


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the service token is for our own address only."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_StayHere)


def _read(path: str, status: int, answer: bytes) -> dict[str, Any]:
    document = _document(answer)
    if status < 300:  # noqa: PLR2004
        return document
    if status in _RETRYABLE:
        raise UnavailableError(document.get("detail") or f"{path} answered {status}")
    kind = _KINDS.get(status, AnalystError)
    raise kind(document.get("detail") or f"{path} answered {status}", answer=document)


def _document(answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer) if answer else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
