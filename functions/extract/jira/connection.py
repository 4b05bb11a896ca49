"""Requests to a Jira instance: with its credential, again while it is busy, and never longer than a deadline.

A 429 names what is too much: requests of one kind then wait together, and no request comes earlier than `Retry-After`.
Source: Jira Cloud's "Rate limiting", developer.atlassian.com.
"""

import base64
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import SecretStr

from analyst.errors import AnalystError, SourceError, UnavailableError
from functions.extract.jira import documents
from functions.extract.jira.answers import (
    BusyError,
    accept,
    check_login,
    check_redirect,
    errors,
    origin,
    parsed,
    shown,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CONNECT, _READ = 10.0, 60.0
_KEPT: Final = 32
_FIRST, _LONGEST = 0.5, 20.0
_REDIRECTS: Final = 5


@dataclass(frozen=True, slots=True)
class Credential:
    """An API token of a user, or a token that says by itself whose it is. `name` is the setting that holds it."""

    token: SecretStr
    email: str | None = None
    name: str = "JIRA_API_TOKEN"

    def header(self) -> str:
        """Write it as a request shows it."""
        secret = self.token.get_secret_value()
        if self.email is None:
            return f"Bearer {secret}"
        return f"Basic {base64.b64encode(f'{self.email}:{secret}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds one request is tried, and how that is timed. A pause is longer by up to `spread()` of itself."""

    most: float = 120.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    spread: Callable[[], float] = random.random

    def pause(self, attempt: int, asked: float | None) -> float:
        """Tell how long to wait after so many attempts, when that long was asked for."""
        longest = min(_LONGEST, _FIRST * 2.0**attempt)
        return (asked or 0.0) + longest * (0.5 + self.spread() / 2)


@dataclass
class Connection:
    """A Jira instance at its address, such as `https://example.atlassian.net`. Safe to use from many threads."""

    url: str
    credential: Credential
    patience: Patience = field(default_factory=Patience)
    is_proven: bool = False
    """Whether the credential was seen to work after all that was answered so far. See `JiraClient.settle`."""
    _until: dict[str, float] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _pools: "dict[str | None, PoolManager]" = field(default_factory=dict)

    def get(self, kind: str, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Get a JSON value. `kind` is what is limited together, such as `search`.

        Raises:
            CredentialError: the credential is not known.
            RefusedError: it may not do this.
            MissingError: there is no such thing.
            QueryError: this is not understood.
            BusyError: Jira has no time before the deadline.
            UnavailableError: Jira does not answer, or not as it should.
        """
        return self._asked(kind, "GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, kind: str, path: str, body: Any) -> Any:
        """Ask a question that has a body, which changes nothing; otherwise as `get`."""
        return self._asked(kind, "POST", path, documents.canonical(body))

    @contextmanager
    def opened(self, kind: str, path: str) -> "Iterator[BaseHTTPResponse]":
        """Open a file. Where the answer leads elsewhere that is followed, and another host is not shown the credential.

        What goes wrong while it is read is an UnavailableError.

        Raises:
            AnalystError: it can't be had; see `get`.
        """
        from urllib3.exceptions import HTTPError

        answer = self._patiently(kind, lambda: self._followed(path), path)
        try:
            yield answer
        except HTTPError as error:
            raise UnavailableError(f"{shown(path)} of Jira broke off: {type(error).__name__}") from None
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
        patience = self.patience
        deadline, attempt = patience.monotonic() + patience.most, 0
        while True:
            self._wait(kind, deadline, path)
            try:
                return once()
            except (BusyError, UnavailableError) as error:
                asked = error.details.get("retry_after")
                pause = patience.pause(attempt, asked)
                if asked is not None:
                    self._hold(error.details.get("limited") or kind, pause)
                if patience.monotonic() + pause > deadline:
                    raise
                attempt += 1
                patience.sleep(pause)

    def _hold(self, kind: str, pause: float) -> None:
        """Let no request of a kind begin before."""
        with self._turn:
            self._until[kind] = max(self._until.get(kind, 0.0), self.patience.monotonic() + pause)

    def _wait(self, kind: str, deadline: float, path: str) -> None:
        with self._turn:
            until = max(self._until.get(kind, 0.0), self._until.get("*", 0.0))
        left = until - self.patience.monotonic()
        if until > deadline:
            raise BusyError(f"Jira takes no requests such as {shown(path)} for {left:.0f} s", retry_after=left)
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
        try:
            return self._manager(url).request(
                method, url, body=body, headers=headers, redirect=False, retries=False, preload_content=not is_file
            )
        except errors() as error:
            raise UnavailableError(f"{origin(url)} does not answer: {type(error).__name__}") from None

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
                raise SourceError(f"{shown(path)} leads to {origin(url)}, which is no safe place")
        raise SourceError(f"{shown(path)} leads from place to place and nowhere")

    def _manager(self, url: str) -> "PoolManager":
        """Give the connections that are kept: to servers themselves, or to the proxy that the environment names."""
        from urllib3 import PoolManager, ProxyManager, Timeout

        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._turn:
            if proxy not in self._pools:
                timeout = Timeout(connect=_CONNECT, read=_READ)
                self._pools[proxy] = (
                    PoolManager(maxsize=_KEPT, timeout=timeout)
                    if proxy is None
                    else ProxyManager(proxy, maxsize=_KEPT, timeout=timeout)
                )
            return self._pools[proxy]
