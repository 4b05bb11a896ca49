"""Requests to the Storage API of a Keboola stack: with its token, repeated while it is busy or under maintenance.

A request that creates a job is repeated only after an answer that says that nothing was done, because a lost answer may
mean that the job exists. Source: the Storage API, 'Errors' and 'Maintenance mode'.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson
from pydantic import SecretStr

from analyst.backoff import growing
from analyst.errors import AnalystError, NotFoundError, RateLimitedError, SourceError, UnavailableError
from analyst.http_client import HttpClient, origin

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

TOKEN: Final = "KEBOOLA_STORAGE_TOKEN"  # noqa: S105 - the name of a setting
_QUERY: Final = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")
_LONGEST_MESSAGE: Final = 1000
_SPREAD: Final = 0.5
"""The maximum number of seconds added to a pause that Keboola requests, so that not all clients return at once."""
_PROGRAMMATIC: Final = ("kbc_at_", "kbc_pat_")


class TokenError(SourceError):
    """Keboola does not accept the token: it is wrong, expired or deleted."""

    code = "keboola_token"


class RefusedError(SourceError):
    """Keboola accepts the token, but denies the request."""

    code = "keboola_refused"


class InvalidRequestError(SourceError):
    """Keboola rejects a request as invalid; `reason` is its own code."""

    code = "keboola_request"


class MissingError(NotFoundError):
    """It does not exist, or the token may not see it."""


class BusyError(RateLimitedError):
    """Keboola asks to wait, and did nothing."""


class MaintenanceError(UnavailableError):
    """The project is under maintenance."""

    code = "keboola_maintenance"


def _polls() -> Iterator[float]:
    """Yield the pauses of Keboola's own clients, after a few short ones: most exports of small tables take a second."""
    yield from (0.3, 0.7, 1.0)
    pause = 2.0
    while True:
        yield pause
        pause = min(pause * 2, 20.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """The seconds for which a request is repeated and the end of a maintenance or a job is awaited, and the pauses."""

    most: float = 300.0
    maintenance: float = 1800.0
    job: float = 1800.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pauses: Callable[[], Iterable[float]] = lambda: growing(0.2, 20.0)
    polls: Callable[[], Iterable[float]] = _polls
    """The pauses between two looks at a job."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The Storage API at a stack's address, such as `https://connection.keboola.com`. Safe to use from many threads.

    `setting` is the name of the setting with the token, for messages; `project` the id of its project, if that is known.
    """

    url: str
    token: SecretStr
    setting: str = TOKEN
    project: str | None = None
    patience: Patience = field(default_factory=Patience)
    client: HttpClient = field(default_factory=HttpClient)

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Get a JSON value.

        Raises:
            TokenError: the token is not accepted.
            RefusedError: the token may not do this.
            MissingError: it does not exist.
            InvalidRequestError: Keboola rejects the request as invalid.
            UnavailableError: Keboola does not respond, or with something unexpected.
        """
        return self._patiently("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post a JSON object that creates something; otherwise as `get`."""
        return self._patiently("POST", path, orjson.dumps(body))

    def hidden(self, text: str) -> str:
        """Remove the token, and the queries of addresses, which may be signed, from a text."""
        return _QUERY.sub(r"\1", text.replace(self.token.get_secret_value(), "…"))[:_LONGEST_MESSAGE]

    def _patiently(self, method: str, path: str, body: bytes | None) -> Any:
        """Repeat a request until its deadline. The loop is not `backoff.repeat`, because Keboola names the pause itself."""
        patience, began = self.patience, self.patience.monotonic()
        for pause in patience.pauses():
            try:
                return self._once(method, path, body)
            except (BusyError, UnavailableError) as error:
                if body is not None and "did_nothing" not in error.details:
                    raise
                asked = error.details.get("retry_after")
                seconds = pause if asked is None else asked + min(pause, _SPREAD)
                most = patience.maintenance if isinstance(error, MaintenanceError) else patience.most
                if patience.monotonic() + seconds > began + most:
                    raise
                patience.sleep(seconds)
        raise UnavailableError(f"Keboola does not answer {shown(path)}: all attempts failed; try again later")

    def _once(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"User-Agent": "ai-data-analyst", "Accept-Encoding": "gzip", **self._credential()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = self.client.request(method, self.url + path, headers=headers, body=body)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return self._parsed(answer, path)
        raise self._failure(answer, path)

    def _credential(self) -> dict[str, str]:
        """Return the headers of the token; a personal access token also names its project."""
        token = self.token.get_secret_value()
        if not token.startswith(_PROGRAMMATIC):
            return {"X-StorageApi-Token": token}
        if self.project is None:
            raise SourceError(
                f"{self.setting} is a personal access token, which needs the project; set KEBOOLA_PROJECT_ID to its id"
            )
        return {"Authorization": f"Bearer {token}", "X-KBC-ProjectId": self.project}

    def _parsed(self, answer: "BaseHTTPResponse", path: str) -> Any:
        try:
            return orjson.loads(answer.data)
        except ValueError as error:
            kind = answer.headers.get("Content-Type") or "no type"
            raise UnavailableError(
                f"Keboola's response to {shown(path)} is not valid JSON ({kind}): check that KEBOOLA_STACK_URL is the "
                "address of a Keboola stack"
            ) from error

    def _failure(self, answer: "BaseHTTPResponse", path: str) -> AnalystError:
        """Return the error of an unsuccessful response. `did_nothing` marks those after which a job can't exist."""
        status, where, document = answer.status, shown(path), _document(answer)
        reason = self.hidden(
            str(document.get("error") or document.get("message") or document.get("reason") or "no reason given")
        )
        message = f"{reason} (exception {document['exceptionId']})" if document.get("exceptionId") else reason
        details: dict[str, Any] = {} if (after := _after(answer)) is None else {"retry_after": after}
        if (busy := _busy(status, document, where, message, details)) is not None:
            return busy
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return UnavailableError(f"Keboola can't serve {where} at the moment ({status}): {message}", **details)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            return self._refused(status, where, message)
        if status < HTTPStatus.BAD_REQUEST:
            target = origin(answer.headers.get("Location") or "")
            return SourceError(
                f"Keboola redirects {where} to {target} ({status}): set KEBOOLA_STACK_URL to that address"
            )
        return InvalidRequestError(
            f"Keboola rejects {where} ({status}): {message}", reason=str(document.get("code") or "")
        )

    def _refused(self, status: int, where: str, message: str) -> AnalystError:
        if status == HTTPStatus.UNAUTHORIZED:
            return TokenError(
                f"Keboola rejects the token at {origin(self.url)} (401): {message}; set {self.setting} to a valid token "
                "of this stack"
            )
        if status == HTTPStatus.FORBIDDEN:
            return RefusedError(
                f"Keboola denies the token of {self.setting} access to {where} (403): {message}; give it access, or use "
                "another one"
            )
        return MissingError(f"Keboola has no {where} that the token of {self.setting} can see (404): {message}")


def _busy(
    status: int, document: Mapping[str, Any], where: str, message: str, details: Mapping[str, Any]
) -> AnalystError | None:
    """Return the error of a response that says that nothing was done and that the request may be repeated."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and document.get("status") == "maintenance":
        until = f", until about {document['estimatedEndTime']}" if document.get("estimatedEndTime") else ""
        return MaintenanceError(
            f"Keboola is under maintenance{until}: {message}; try again later", did_nothing=True, **details
        )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return BusyError(f"Keboola is busy and rejects {where} ({status}): {message}", did_nothing=True, **details)
    if status == HTTPStatus.CONFLICT and "versionConflict" in str(document.get("code")):
        return BusyError(f"Keboola rejects {where} because of a conflict: {message}", did_nothing=True, **details)
    return None


def shown(path: str) -> str:
    """Return the part of a path that a message shows."""
    return path.partition("?")[0].partition("/v2/storage")[2].lstrip("/") or path.partition("?")[0]


def _document(answer: "BaseHTTPResponse") -> dict[str, Any]:
    try:
        document = orjson.loads(answer.data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _after(answer: "BaseHTTPResponse") -> float | None:
    """Return the seconds of `Retry-After`; a time is compared with the server's own clock."""
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, answer.headers.get("Date") or value))
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
