"""A file on a web server: only within an address that SOURCE_ROOTS lists, and never at a private IP address."""

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

from analyst.addresses import parts_of
from analyst.connectors.files.places.local import SourceFile, is_under, refused
from analyst.errors import SourceError, UnavailableError
from analyst.public_addresses import is_public

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_HINTS = {
    401: "it requires a login, which web sources don't support; download the file into a folder instead",
    403: "it denies access; check that the address is public",
    404: "there is no such file; check the address",
}
_RETRYABLE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class WebPlace:
    """One file on a web server. Its versions are distinguished by its ETag or Last-Modified.

    `allowed` decides which IP addresses may be connected to; the address that was checked is the one that is used.
    """

    url: str
    allowed: Callable[[str], bool] = is_public

    def files(self) -> list[SourceFile]:
        """Request the file's headers."""
        name = unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])
        return [SourceFile(name, self.url, self._mark(self.url))]

    def local(self, file: SourceFile, scratch: Path) -> Path:
        """Copy the file to the scratch folder in pieces."""
        copy = scratch / "copied"
        with self._answer("GET", file.path) as answer, copy.open("wb") as target:
            shutil.copyfileobj(answer, target, _CHUNK)
            # a response without a length ends with its connection, but the headers requested before may state it
            if missing := answer.length or max(0, _length(file) - target.tell()):
                raise UnavailableError(
                    f"'{self.url}' can't be read now: the response ended {missing} bytes too early; try again"
                )
        return copy

    def read(self, most: int) -> bytes:
        """Read a small file.

        Raises:
            SourceError: it has more than `most` bytes.
        """
        with self._answer("GET", self.url) as answer:
            data = answer.read(most + 1)
        if len(data) > most:
            raise SourceError(f"'{self.url}' can't be read: it has more than {most} bytes")
        return data

    def mark(self, file: SourceFile) -> str:
        """Request the file's headers again."""
        return self._mark(file.path)

    def _mark(self, url: str) -> str:
        with self._answer("HEAD", url) as answer:
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if version is None:
                raise SourceError(
                    f"'{self.url}' can't be a source: the server sends neither an ETag nor a Last-Modified header, so a "
                    "new version would go unnoticed; download the file into a folder instead"
                )
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
            raise UnavailableError(
                f"'{self.url}' can't be read now: {error}; check the address, or try again"
            ) from error

    def _accept(self, answer: http.client.HTTPResponse) -> None:
        if answer.status == HTTPStatus.OK:
            return
        if answer.status in _RETRYABLE:
            raise UnavailableError(
                f"'{self.url}' can't be read now: the server answered {answer.status}; try again later"
            )
        where = answer.headers.get("Location")
        hint = f"it redirects to '{where}': set that as the path" if where else _HINTS.get(answer.status, "check it")
        raise SourceError(f"'{self.url}' can't be read: the server answered {answer.status}; {hint}")

    def _address(self, parts: SplitResult) -> tuple[str, int]:
        """Resolve the host and return one of its addresses; all of them must be allowed."""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found]
        if not all(self.allowed(address) for address in addresses):
            raise SourceError(
                f"'{self.url}' can't be read: '{parts.hostname}' has a private address; use a public server, or put the "
                "file into a folder"
            )
        return addresses[0], port


def _length(file: SourceFile) -> int:
    """Return the length in the mark of a file; 0 without one."""
    length = file.mark.rpartition(":")[2]
    return int(length) if length.isdecimal() else 0


class _PinnedConnection(http.client.HTTPConnection):
    """Connects to the address that was checked: by now, the name may resolve to another one (DNS rebinding)."""

    def __init__(self, host: str, address: tuple[str, int], **kwargs: Any) -> None:
        super().__init__(host, address[1], timeout=_TIMEOUT, **kwargs)
        self._create_connection = lambda _address, *rest: socket.create_connection(address, *rest)


class _PinnedTlsConnection(_PinnedConnection, http.client.HTTPSConnection):
    """The same with TLS; the certificate is that of the name."""


def _connection(parts: SplitResult, address: tuple[str, int]) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        return _PinnedTlsConnection(host, address, context=ssl.create_default_context())
    return _PinnedConnection(host, address)


def web_place(url: str, roots: Sequence[str]) -> WebPlace:
    """Open a place by its URL.

    Raises:
        SourceError: it is outside of all roots, or not the address of a file.
    """
    parts = parts_of(url)
    if ".." in unquote(parts.path).split("/") or "\\" in url or not any(is_under(url, root) for root in roots):
        raise refused(url, roots)
    if not parts.hostname or parts.username or parts.password:
        raise SourceError(f"'{url}' is not the address of a file: it needs a host, and must not contain a password")
    return WebPlace(url)
