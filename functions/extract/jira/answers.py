"""What Jira's answers over HTTP mean: each kind of failure is an error of its own. No message holds a secret."""

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from analyst.errors import NotFoundError, RateLimitedError, SourceError, UnavailableError
from functions.extract.jira import documents

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SERVER_ERRORS = 500
_SECRET_LOOKING = re.compile(r"[?#].*")


class CredentialError(SourceError):
    """Jira does not know the credential: it is wrong, revoked or has expired."""

    code = "jira_credential"


class RefusedError(SourceError):
    """Jira knows who asks, and refuses it."""

    code = "jira_refused"


class QueryError(SourceError):
    """Jira does not understand what it is asked."""

    code = "jira_query"


class MissingError(NotFoundError):
    """Jira has no such thing, or none that this credential may see."""


class BusyError(RateLimitedError):
    """Jira wants to be asked later than we may wait."""


def accept(answer: "BaseHTTPResponse", path: str, setting: str) -> None:
    """Take an answer that is a success. `setting` names the one that holds the credential, `path` what was asked for.

    Raises:
        AnalystError: it is none; each kind of failure has an error of its own.
    """
    status, where = answer.status, shown(path)
    if status == HTTPStatus.OK:
        return
    told = {"retry_after": after, "limited": _limited(answer)} if (after := _after(answer)) is not None else {}
    if status == HTTPStatus.UNAUTHORIZED:
        raise CredentialError(f"Jira does not know the credential that it was shown (401): set {setting} anew")
    if status == HTTPStatus.FORBIDDEN:
        raise RefusedError(f"Jira refuses {where} to the account of {setting} (403): give it access")
    if status in _GONE:
        raise MissingError(f"Jira has no {where} for the account of {setting} ({status})")
    if status in _BUSY:
        raise BusyError(f"Jira is asked too often for {where} ({status})", **told)
    if status >= _SERVER_ERRORS:
        raise UnavailableError(f"Jira can't answer {where} now ({status})", **told)
    if status == HTTPStatus.BAD_REQUEST:
        raise QueryError(f"Jira does not understand {where} (400): {_reason(answer)}")
    raise SourceError(f"Jira answers {where} with {status}: is JIRA_DOMAIN the address of the instance?")


def _reason(answer: "BaseHTTPResponse") -> str:
    try:
        told = documents.parse(answer.data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return "it does not say why"
    general, named = told.get("errorMessages"), told.get("errors")
    messages = [*(general if isinstance(general, list) else ()), *(named.values() if isinstance(named, dict) else ())]
    return "; ".join(map(str, messages))[:1000] or "it does not say why"


def _after(answer: "BaseHTTPResponse") -> float | None:
    """Read for how many seconds nothing is to be asked, by the server's own clock where it tells a time."""
    told = answer.headers.get("Retry-After")
    if told is None:
        return None
    try:
        return max(float(told), 0.0)
    except ValueError:
        pass
    try:
        until, now = (parsedate_to_datetime(text) for text in (told, answer.headers.get("Date") or told))
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _limited(answer: "BaseHTTPResponse") -> str | None:
    """Tell what waits: all, where a quota of the whole tenant is used up or the instance is down."""
    is_quota = "quota" in (answer.headers.get("RateLimit-Reason") or "")
    return "*" if is_quota or answer.status == HTTPStatus.SERVICE_UNAVAILABLE else None


def parsed(data: bytes, path: str) -> Any:
    """Read the JSON of an answer.

    Raises:
        UnavailableError: it is none.
    """
    try:
        return documents.parse(data)
    except ValueError as error:
        raise UnavailableError(f"the answer to {shown(path)} is no JSON") from error


def shown(path: str) -> str:
    """Leave out of an address what may be a secret."""
    return _SECRET_LOOKING.sub("", path)


def origin(url: str) -> str:
    """Tell the server of an address, as it may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def errors() -> tuple[type[Exception], ...]:
    """Tell what the HTTP client raises; it is imported only where there is a Jira to ask."""
    from urllib3.exceptions import HTTPError

    return HTTPError, OSError
