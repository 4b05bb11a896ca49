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
_SERVER_ERRORS = 500
_FAILED_LOGINS = ("AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED")
_LOGIN_PAGE = re.compile(
    r"^https?://id\.atlassian\.com/|/login(?:\.jsp|\.action)?(?:[/?]|$)|saml|/oauth2?/|permissionviolation",
    re.IGNORECASE,
)
_SECRET_LOOKING = re.compile(r"[?#].*")


class CredentialError(SourceError):
    """Jira does not accept the credential: it is wrong, revoked or expired, or Jira answered as it answers anybody."""

    code = "jira_credential"


class RefusedError(SourceError):
    """Jira knows who asks, and refuses it."""

    code = "jira_refused"


class QueryError(SourceError):
    """Jira does not understand what it is asked."""

    code = "jira_query"


class RemovedError(SourceError):
    """Jira no longer has this part of its API."""

    code = "jira_removed"


class MissingError(NotFoundError):
    """Jira has no such thing, or none that this credential may see."""


class BusyError(RateLimitedError):
    """Jira wants to be asked later than we may wait."""


def accept(answer: "BaseHTTPResponse", path: str, setting: str) -> None:
    """Accept an answer that is a success; each kind of failure raises an error of its own.

    Args:
        answer: what came.
        path: what was asked for.
        setting: the one that holds the credential.

    Raises:
        AnalystError: the answer is a failure.
    """
    status, where = answer.status, shown(path)
    if status == HTTPStatus.OK:
        return
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise _refused(answer, where, setting)
    if status == HTTPStatus.NOT_FOUND:
        raise MissingError(f"Jira has no {where} for the account of {setting} ({status})")
    if status == HTTPStatus.GONE:
        raise RemovedError(
            f"Jira no longer offers {where} (410): Atlassian removed this part of the API; "
            "install a newer version of AI Data Analyst"
        )
    told = {"retry_after": after, "limited": _limited(answer)} if (after := _after(answer)) is not None else {}
    if status in _BUSY:
        raise BusyError(f"Jira is asked too often for {where} ({status})", **told)
    if status >= _SERVER_ERRORS:
        raise UnavailableError(f"Jira can't answer {where} now ({status})", **told)
    if status == HTTPStatus.BAD_REQUEST:
        raise QueryError(f"Jira does not understand {where} (400): {_reason(answer)}")
    if target := answer.headers.get("Location"):
        check_redirect(target, path, setting)
        raise SourceError(f"Jira redirects {where} to {origin(target)} ({status}): set JIRA_DOMAIN to that address")
    raise SourceError(f"Jira answers {where} with {status}: is JIRA_DOMAIN the address of the instance?")


def _refused(answer: "BaseHTTPResponse", where: str, setting: str) -> SourceError:
    """Tell why Jira refuses what was asked for."""
    if answer.status == HTTPStatus.FORBIDDEN:
        return RefusedError(f"Jira refuses {where} to the account of {setting} (403): give it access")
    if b"scope does not match" in answer.data:
        return RefusedError(
            f"the token of {setting} lacks a scope for {where} (401): "
            "create one with the scopes read:jira-work and read:jira-user"
        )
    return CredentialError(f"Jira does not know the credential that it was shown (401): set {setting} anew")


def check_login(answer: "BaseHTTPResponse", setting: str) -> None:
    """Refuse an answer that Jira gave to nobody in particular, whatever its status: then what is missing in it may exist.

    Jira Cloud answers a request whose token has expired like an anonymous one, and says so in headers only. Source:
    Seraph's `X-Seraph-LoginReason` and `X-Authentication-Denied-Reason`, Data Center's `X-AUSERNAME`.

    Raises:
        CredentialError: the headers say that the credential was not accepted.
    """
    headers = answer.headers
    denied = headers.get("X-Authentication-Denied-Reason") or ""
    if "CAPTCHA" in denied.upper():
        raise CredentialError(
            f"Jira asks the account of {setting} for a CAPTCHA, after too many failed logins: "
            f"sign in to Jira in a browser as that account, solve it, and set {setting} anew"
        )
    reason = (headers.get("X-Seraph-LoginReason") or "").upper()
    if any(failed in reason for failed in _FAILED_LOGINS) or denied:
        raise CredentialError(
            f"Jira does not accept the credential and answers as it does anybody ({reason or denied}): "
            f"create a new token and set {setting} anew; nothing was deleted"
        )
    if (headers.get("X-AUSERNAME") or "").casefold() == "anonymous":
        raise CredentialError(
            f"Jira takes the account of {setting} for an anonymous visitor (X-AUSERNAME): "
            f"create a new token and set {setting} anew; nothing was deleted"
        )


def check_redirect(target: str, path: str, setting: str) -> None:
    """Refuse a redirect to a page where people sign in.

    Raises:
        CredentialError: it leads to such a page.
    """
    if _LOGIN_PAGE.search(target):
        raise CredentialError(
            f"Jira redirects {shown(path)} to a login page at {origin(target)}: set {setting} anew, and have the proxy "
            "or single sign-on in front of Jira let the REST API through"
        )


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


def parsed(answer: "BaseHTTPResponse", path: str, setting: str) -> Any:
    """Read the JSON of an answer.

    Raises:
        CredentialError: it is a web page, such as the one where people sign in.
        UnavailableError: it is no JSON.
    """
    try:
        return documents.parse(answer.data)
    except ValueError as error:
        is_page = "html" in (answer.headers.get("Content-Type") or "").lower() or answer.data.lstrip()[:1] == b"<"
        if is_page:
            raise CredentialError(
                f"Jira answers {shown(path)} with a web page instead of JSON, probably the one where people sign in: "
                f"check that JIRA_DOMAIN is the address of Jira itself, and set {setting} anew"
            ) from error
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
