"""Requests to a Jira instance: with its credential, repeated while it is busy, up to a deadline.

A 429 names the limit that was exceeded: requests of that kind then wait together, at least for `Retry-After`.
Source: Jira Cloud's "Rate limiting", developer.atlassian.com.
"""

import base64
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import SecretStr

from analyst.backoff import growing
from analyst.connectors.jira.issue import documents
from analyst.errors import AnalystError, NotFoundError, RateLimitedError, SourceError, UnavailableError
from analyst.http_client import HttpClient, origin

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
    """The credential is wrong, revoked or expired, or Jira treated the request as anonymous."""

    code = "jira_credential"


class RefusedError(SourceError):
    """Jira accepts the credential, but denies the request."""

    code = "jira_refused"


class QueryError(SourceError):
    """Jira rejects the query."""

    code = "jira_query"


class RemovedError(SourceError):
    """Jira removed this part of its API."""

    code = "jira_removed"


class MissingError(NotFoundError):
    """It does not exist, or the account may not see it."""


class BusyError(RateLimitedError):
    """Jira asks to wait beyond the deadline."""


def accept(answer: "BaseHTTPResponse", path: str, setting: str) -> None:
    """Accept a successful answer; each kind of failure raises its own error.

    Args:
        answer: the response.
        path: of the request.
        setting: the name of the setting with the credential.

    Raises:
        AnalystError: the response is a failure.
    """
    status, where = answer.status, shown(path)
    if status == HTTPStatus.OK:
        return
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise _refused(answer, where, setting)
    if status == HTTPStatus.NOT_FOUND:
        raise MissingError(f"Jira has no {where} that the account of {setting} can see ({status})")
    if status == HTTPStatus.GONE:
        raise RemovedError(
            f"Jira no longer offers {where} (410): Atlassian removed this part of the API; "
            "install a newer version of AI Data Analyst"
        )
    details = {"retry_after": after, "limited": _limited(answer)} if (after := _after(answer)) is not None else {}
    if status in _BUSY:
        raise BusyError(f"Jira limits the rate of requests for {where} ({status})", **details)
    if status >= _SERVER_ERRORS:
        raise UnavailableError(f"Jira can't serve {where} at the moment ({status})", **details)
    if status == HTTPStatus.BAD_REQUEST:
        raise QueryError(f"Jira rejects {where} as invalid (400): {_reason(answer)}")
    if target := answer.headers.get("Location"):
        check_redirect(target, path, setting)
        raise SourceError(f"Jira redirects {where} to {origin(target)} ({status}): set JIRA_DOMAIN to that address")
    raise SourceError(f"Jira answers {where} with {status}; check that JIRA_DOMAIN is the address of the instance")


def _refused(answer: "BaseHTTPResponse", where: str, setting: str) -> SourceError:
    """Return the error of a denied request."""
    if answer.status == HTTPStatus.FORBIDDEN:
        return RefusedError(f"Jira denies the account of {setting} access to {where} (403): grant it access")
    if b"scope does not match" in answer.data:
        return RefusedError(
            f"the token of {setting} does not have the scope for {where} (401): create one with the scopes "
            "read:jira-work and read:jira-user"
        )
    return CredentialError(f"Jira rejects the credential (401): set {setting} to a new token")


def check_login(answer: "BaseHTTPResponse", setting: str) -> None:
    """Reject an answer to an anonymous request, whatever its status: what is missing from it may exist.

    Jira Cloud answers a request with an expired token like an anonymous one, and shows that only in headers. Source:
    Seraph's `X-Seraph-LoginReason` and `X-Authentication-Denied-Reason`, Data Center's `X-AUSERNAME`.

    Raises:
        CredentialError: the headers say that the credential was not accepted.
    """
    headers = answer.headers
    denied = headers.get("X-Authentication-Denied-Reason") or ""
    if "CAPTCHA" in denied.upper():
        raise CredentialError(
            f"Jira demands a CAPTCHA from the account of {setting} after too many failed logins: sign in to Jira in a "
            f"browser as that account, solve it, and set {setting} to a new token"
        )
    reason = (headers.get("X-Seraph-LoginReason") or "").upper()
    if any(failed in reason for failed in _FAILED_LOGINS) or denied:
        raise CredentialError(
            f"Jira rejects the credential and answers as to an anonymous visitor ({reason or denied}): create a new "
            f"token and set {setting} to it; nothing was deleted"
        )
    if (headers.get("X-AUSERNAME") or "").casefold() == "anonymous":
        raise CredentialError(
            f"Jira treats the account of {setting} as an anonymous visitor (X-AUSERNAME): create a new token and set "
            f"{setting} to it; nothing was deleted"
        )


def check_redirect(target: str, path: str, setting: str) -> None:
    """Reject a redirect to a login page.

    Raises:
        CredentialError: the target is such a page.
    """
    if _LOGIN_PAGE.search(target):
        raise CredentialError(
            f"Jira redirects {shown(path)} to a login page at {origin(target)}: set {setting} to a new token, and "
            "exempt the REST API from the proxy or single sign-on in front of Jira"
        )


def _reason(answer: "BaseHTTPResponse") -> str:
    try:
        document = documents.parse(answer.data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "no reason given"
    general, named = document.get("errorMessages"), document.get("errors")
    messages = [*(general if isinstance(general, list) else ()), *(named.values() if isinstance(named, dict) else ())]
    return "; ".join(map(str, messages))[:1000] or "no reason given"


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


def _limited(answer: "BaseHTTPResponse") -> str | None:
    """Return which requests wait: all if a quota of the whole tenant is used up or the instance is down."""
    is_quota = "quota" in (answer.headers.get("RateLimit-Reason") or "")
    return "*" if is_quota or answer.status == HTTPStatus.SERVICE_UNAVAILABLE else None


def parsed(answer: "BaseHTTPResponse", path: str, setting: str) -> Any:
    """Parse the JSON of a response.

    Raises:
        CredentialError: it is a web page, such as a login page.
        UnavailableError: it is not JSON.
    """
    try:
        return documents.parse(answer.data)
    except ValueError as error:
        is_page = "html" in (answer.headers.get("Content-Type") or "").lower() or answer.data.lstrip()[:1] == b"<"
        if is_page:
            raise CredentialError(
                f"Jira answers {shown(path)} with a web page instead of JSON, probably a login page: check that "
                f"JIRA_DOMAIN is the address of Jira itself, and set {setting} to a new token"
            ) from error
        raise UnavailableError(f"Jira's response to {shown(path)} is not valid JSON") from error


def shown(path: str) -> str:
    """Return a path without parts that may be secret."""
    return _SECRET_LOOKING.sub("", path)


_SHORTEST, _LONGEST = 0.25, 20.0
_REDIRECTS: Final = 5


@dataclass(frozen=True, slots=True)
class Credential:
    """An API token of a user, or a bearer token. `name` is the setting that contains it."""

    token: SecretStr
    email: str | None = None
    name: str = "JIRA_API_TOKEN"

    def header(self) -> str:
        """Return the Authorization header."""
        secret = self.token.get_secret_value()
        if self.email is None:
            return f"Bearer {secret}"
        return f"Basic {base64.b64encode(f'{self.email}:{secret}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Patience:
    """The seconds for which a request is repeated, and the pauses between attempts."""

    most: float = 120.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pauses: Callable[[], Iterable[float]] = lambda: growing(_SHORTEST, _LONGEST)


@dataclass
class Connection:
    """A Jira instance at its address, such as `https://example.atlassian.net`. Safe to use from many threads."""

    url: str
    credential: Credential
    patience: Patience = field(default_factory=Patience)
    is_proven: bool = False
    """Whether the credential was checked after the last answer. See `JiraClient.settle`."""
    _until: dict[str, float] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _client: HttpClient = field(default_factory=HttpClient)

    def get(self, kind: str, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Get a JSON value. `kind` is the group of requests with a common rate limit, such as `search`.

        Raises:
            CredentialError: the credential is not accepted.
            RefusedError: the account may not do this.
            MissingError: it does not exist.
            QueryError: the query is invalid.
            BusyError: Jira asks to wait beyond the deadline.
            UnavailableError: Jira does not respond, or with something unexpected.
        """
        return self._asked(kind, "GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, kind: str, path: str, body: Any) -> Any:
        """Send a query with a body, which changes nothing; otherwise as `get`."""
        return self._asked(kind, "POST", path, documents.canonical(body))

    @contextmanager
    def opened(self, kind: str, path: str) -> "Iterator[BaseHTTPResponse]":
        """Open a file. Redirects are followed, and other hosts do not get the credential.

        A failure while it is read is an UnavailableError.

        Raises:
            AnalystError: it can't be fetched; see `get`.
        """
        from urllib3.exceptions import HTTPError

        answer = self._patiently(kind, lambda: self._followed(path), path)
        try:
            yield answer
        except HTTPError as error:
            raise UnavailableError(
                f"the download of {shown(path)} from Jira was interrupted: {type(error).__name__}"
            ) from None
        finally:
            answer.close()

    def _asked(self, kind: str, method: str, path: str, body: bytes | None) -> Any:
        def once() -> Any:
            answer = self._send(method, self.url + path, body)
            self.is_proven = False
            check_login(answer, self.credential.name)
            accept(answer, path, self.credential.name)
            return parsed(answer, path, self.credential.name)

        return self._patiently(kind, once, path)

    def _patiently(self, kind: str, once: Callable[[], Any], path: str) -> Any:
        """Repeat a request until its deadline. The loop is not `backoff.repeat`, because Jira names the pause itself.

        A pause named by a 429 or 503 applies to all requests of the kind. A random pause is added, so that they do not
        all resume at the same moment.
        """
        patience = self.patience
        deadline = patience.monotonic() + patience.most
        for pause in patience.pauses():
            self._wait(kind, deadline, path)
            try:
                return once()
            except (BusyError, UnavailableError) as error:
                asked = error.details.get("retry_after")
                seconds = (asked or 0.0) + pause
                if asked is not None:
                    self._hold(error.details.get("limited") or kind, seconds)
                if patience.monotonic() + seconds > deadline:
                    raise
                patience.sleep(seconds)
        raise UnavailableError(f"Jira does not answer {shown(path)}: all attempts failed; try again later")

    def _hold(self, kind: str, pause: float) -> None:
        """Hold back all requests of a kind for some seconds."""
        with self._turn:
            self._until[kind] = max(self._until.get(kind, 0.0), self.patience.monotonic() + pause)

    def _wait(self, kind: str, deadline: float, path: str) -> None:
        with self._turn:
            until = max(self._until.get(kind, 0.0), self._until.get("*", 0.0))
        left = until - self.patience.monotonic()
        if until > deadline:
            raise BusyError(f"Jira accepts no requests such as {shown(path)} for {left:.0f} s", retry_after=left)
        if left > 0:
            self.patience.sleep(left)

    def _send(self, method: str, url: str, body: bytes | None, *, is_file: bool = False) -> "BaseHTTPResponse":
        headers = {"User-Agent": "ai-data-analyst"} | (
            {} if is_file else {"Accept": "application/json", "Accept-Encoding": "gzip"}
        )
        if body is not None:
            headers["Content-Type"] = "application/json"
        if origin(url) == origin(self.url):
            headers["Authorization"] = self.credential.header()
        return self._client.request(method, url, headers=headers, body=body, streamed=is_file)

    def _followed(self, path: str) -> "BaseHTTPResponse":
        url = self.url + path
        for _ in range(_REDIRECTS):
            answer = self._send("GET", url, None, is_file=True)
            where = answer.headers.get("Location") if answer.get_redirect_location() else None
            try:
                if origin(url) == origin(self.url):
                    check_login(answer, self.credential.name)
                if where is not None:
                    check_redirect(where, path, self.credential.name)
                else:
                    accept(answer, f"{shown(path)} at {origin(url)}", self.credential.name)
                    return answer
            except AnalystError:
                answer.close()
                raise
            answer.close()
            url = urljoin(url, where)
            if urlsplit(url).scheme not in {"https", urlsplit(self.url).scheme}:
                raise SourceError(f"Jira redirects {shown(path)} to {origin(url)}, which has no TLS; check JIRA_DOMAIN")
        raise SourceError(f"{shown(path)} can't be fetched: too many redirects; check JIRA_DOMAIN")
