"""HTTP over connections that are kept open, for several threads at once.

The standard library's client is used because it is there in 20 ms and, read into one buffer, moves five times the
bytes per second that httpx does; a mirror is limited by the network, not by Python.
"""

import email.utils
import http.client
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

from da import __version__
from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.proxies import proof, proxy_for

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

_BLOCK = 1 << 16

_Origin = tuple[str, str, int]


class Exchange:
    """One answer, whose body is still to be read."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self.status = response.status
        self._response = response
        self._where = _where(url)

    def header(self, name: str) -> str:
        """Return a header's value, an empty text if there is none."""
        return self._response.headers.get(name, "")

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer as far as there is a body; 0 at its end, which may come too early."""
        with self._broken():
            return self._response.readinto(buffer)

    def read(self) -> bytes:
        """Read the body whole, unpacked."""
        with self._broken():
            body = self._response.read()
            if self.header("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            return body

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            BrokenError: it is something else.
        """
        body = self.read()
        try:
            return json.loads(body) if body else None
        except (ValueError, RecursionError):
            raise BrokenError(f"{self._where} answered something that is not JSON; is it the right server?") from None

    def refusal(self) -> RefusedError:
        """Make an error of an answer that is one."""
        try:
            problem = json.loads(self.read())
        except (ValueError, RecursionError, BrokenError):
            problem = None
        problem = problem if isinstance(problem, dict) else {}
        detail = problem.get("detail") or problem.get("title") or f"{self._where} answered {self.status}"
        if self.status in range(300, 400):
            detail = f"{self._where} is elsewhere: {self.header('location') or 'it does not say where'}; log in there"
        wait = _seconds(self.header("retry-after"))
        return RefusedError(str(detail), status=self.status, code=str(problem.get("code", "")), wait=wait)

    @contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, http.client.HTTPException) as error:
            raise BrokenError(f"the connection to {self._where} broke: {_reason(error)}") from None


class Web:
    """A pool of connections. `close` breaks them all, which also ends the reads of other threads."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._idle: dict[_Origin, list[http.client.HTTPConnection]] = {}
        self._live: set[http.client.HTTPConnection] = set()
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Exchange]:
        """Send a request; within the block its answer is read.

        Raises:
            UnreachableError: no connection could be made.
            BrokenError: the connection broke before an answer came.
        """
        parts = urlsplit(url)
        connection, response = self._send(method, parts, {"User-Agent": f"da/{__version__}", **(headers or {})}, body)
        try:
            yield Exchange(response, url)
        finally:
            self._give_back(connection, response, _origin(parts))

    def close(self) -> None:
        """Break every connection; those that are in use are closed by their users, who notice."""
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            busy = self._live.difference(idle)
            self._idle.clear()
            self._live.difference_update(idle)
        for connection in idle:
            connection.close()
        for connection in busy:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _send(
        self, method: str, parts: SplitResult, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection, reused = self._take(_origin(parts), fresh=method != "GET")
        target, more = _request(parts)
        try:
            return connection, self._answer(connection, method, target, {**headers, **more}, body)
        except BrokenError:
            if reused:  # the server may have closed it while nobody looked
                return self._send(method, parts, headers, body)
            raise

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        where = f"{connection.host}:{connection.port}"
        try:
            if connection.sock is None:
                _connect(connection)
            connection.request(method, target, body=_flowing(body), headers=_with_length(headers, body))
            return connection.getresponse()
        except UnreachableError:
            self._drop(connection)
            raise
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise BrokenError(f"the connection to {where} broke: {_reason(error)}") from None

    def _take(self, origin: _Origin, *, fresh: bool) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection, and whether it was used before; what can't be sent twice goes over a `fresh` one."""
        with self._lock:
            if not fresh and (idle := self._idle.get(origin)):
                return idle.pop(), True
            connection = self._connection(*origin)
            self._live.add(connection)
            return connection, False

    def _connection(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        proxy = proxy_for(scheme, host)
        at = (proxy.hostname or "", proxy.port or 8080) if proxy else (host, port)
        if scheme == "http":
            return http.client.HTTPConnection(*at, timeout=self._timeout)
        self._tls = self._tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(*at, timeout=self._timeout, context=self._tls)
        if proxy:
            connection.set_tunnel(host, port, proof(proxy))
        return connection

    def _give_back(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, origin: _Origin
    ) -> None:
        if response.isclosed() and not response.will_close:
            with self._lock:
                self._idle.setdefault(origin, []).append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._live.discard(connection)
        connection.close()


def _origin(parts: SplitResult) -> _Origin:
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DaError(f"{parts.scheme or 'no'}: is not a way to fetch anything; an http(s) address is needed")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _request(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """Return what is asked for, and what a proxy on the way wants to know: without TLS it is given the whole URL."""
    proxy = proxy_for("http", parts.hostname or "") if parts.scheme == "http" else None
    if proxy:
        return urlunsplit(parts._replace(fragment="")), proof(proxy)
    return urlunsplit(("", "", parts.path or "/", parts.query, "")), {}


def _connect(connection: http.client.HTTPConnection) -> None:
    where = f"{connection.host}:{connection.port}"
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        advice = "if your company signs its own certificates, set SSL_CERT_FILE to their file"
        message = f"{where} shows a certificate that is not trusted ({error.verify_message}); {advice}"
        raise UnreachableError(message) from None
    except OSError as error:
        raise UnreachableError(f"{where} can't be reached: {_reason(error)}; check the address and network") from None


def _flowing(body: bytes | None) -> bytes | io.BytesIO | None:
    """Let a long body go out block by block: the timeout is for each then, and not for all of it."""
    return io.BytesIO(body) if body is not None and len(body) > _BLOCK else body


def _with_length(headers: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    return dict(headers) if body is None else {**headers, "Content-Length": str(len(body))}


def _where(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came for too long"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _seconds(retry_after: str) -> float | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
