"""A file on a web server: never one of a private address, and only of an address that SOURCE_ROOTS lists."""

import http.client
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from analyst.addresses import is_public
from analyst.connectors.files.places.local import SourceFile, is_under, refused
from analyst.errors import SourceError, UnavailableError

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_RETRYABLE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class WebPlace:
    """One file on a web server, told apart from its next version by its ETag or Last-Modified.

    `allowed` tells which IP addresses may be connected to; the one that was looked at is the one that is used.
    """

    url: str
    allowed: Callable[[str], bool] = is_public

    def files(self) -> list[SourceFile]:
        """Ask for the file's headers."""
        name = unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])
        return [SourceFile(name, self.url, self._mark(self.url))]

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Copy the file to the scratch folder, a piece at a time."""
        copy = scratch / "copied"
        with self._answer("GET", file.path) as answer, copy.open("wb") as target:
            shutil.copyfileobj(answer, target, _CHUNK)
            if answer.length:
                raise UnavailableError(
                    f"{self.url!r} can't be read now: the answer ended {answer.length} bytes too early"
                )
        return copy

    def mark(self, file: SourceFile) -> str:
        """Ask for the file's headers again."""
        return self._mark(file.path)

    def _mark(self, url: str) -> str:
        with self._answer("HEAD", url) as answer:
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if version is None:
                raise SourceError(f"{self.url!r} can't be a source: its server tells neither ETag nor Last-Modified")
            return f"{version}:{answer.headers.get('Content-Length')}"

    @contextmanager
    def _answer(self, method: str, url: str) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(url)
        try:
            connection = _connection(parts, self._address(parts))
            try:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, headers={"Accept-Encoding": "identity"})
                answer = connection.getresponse()
                self._accept(answer)
                yield answer
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{self.url!r} can't be read now: {error}") from error

    def _accept(self, answer: http.client.HTTPResponse) -> None:
        if answer.status == HTTPStatus.OK:
            return
        if answer.status in _RETRYABLE:
            raise UnavailableError(f"{self.url!r} can't be read now: the server answered {answer.status}")
        where = answer.headers.get("Location")
        hint = f" and leads to {where!r}: set that as the path" if where else ""
        raise SourceError(f"{self.url!r} can't be read: the server answered {answer.status}{hint}")

    def _address(self, parts: SplitResult) -> tuple[str, int]:
        """Look the host up, and give an address of it; every address of it must be allowed."""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found]
        if not all(self.allowed(address) for address in addresses):
            raise SourceError(f"{self.url!r} may not be read: {parts.hostname!r} has a private address")
        return addresses[0], port


class _PinnedConnection(http.client.HTTPConnection):
    """Connects to an address that was looked at, whatever the name stands for by now."""

    def __init__(self, host: str, address: tuple[str, int], **kwargs: Any) -> None:
        super().__init__(host, address[1], timeout=_TIMEOUT, **kwargs)
        self._create_connection = lambda _address, *rest: socket.create_connection(address, *rest)


class _PinnedTlsConnection(_PinnedConnection, http.client.HTTPSConnection):
    """The same with TLS, the certificate being that of the name."""


def _connection(parts: SplitResult, address: tuple[str, int]) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        return _PinnedTlsConnection(host, address, context=ssl.create_default_context())
    return _PinnedConnection(host, address)


def web_place(url: str, roots: Sequence[str]) -> WebPlace:
    """Open a place by its URL.

    Raises:
        SourceError: it is not under any of the roots, or is no address of a file.
    """
    parts = urlsplit(url)
    if ".." in unquote(parts.path).split("/") or "\\" in url or not any(is_under(url, root) for root in roots):
        raise refused(url)
    if not parts.hostname or parts.username or parts.password:
        raise SourceError(f"{url!r} is no address of a file: it needs a host, and must not hold a password")
    return WebPlace(url)
