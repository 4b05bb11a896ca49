"""HTTP over a pool of persistent connections, usable from several threads.

The standard library's client is used because it loads in 20 ms and, reading into one buffer, has five times the
throughput of httpx, so that a mirror is limited by the network, not by Python.
"""

import email.utils
import http.client
import io
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from da import __version__, refusals
from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.output import say


@cache
def proxy_for(scheme: str, host: str) -> SplitResult | None:
    """Return the address of the proxy for a host; `None` for a direct connection."""
    asked = any(name.lower() in {f"{scheme}_proxy", "all_proxy"} for name in os.environ)
    if not asked and sys.platform not in {"darwin", "win32"}:
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass(host):
        return None
    return urlsplit(address if "//" in address else f"//{address}")


def proof(proxy: SplitResult) -> dict[str, str]:
    """Return the authorization header for a proxy with a user name in its address."""
    if not proxy.username:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}


TIMEOUT = 30.0
"""Seconds without data after which a connection counts as broken."""

_BLOCK = 1 << 16
_LARGEST = 64 << 20
_LARGEST_ERROR = 1 << 20
"""Maximum bytes of an answer of the API, and of an error. The manifest of 100,000 files has 30 MB."""

_GRACE, _SLOWEST = 30.0, 1000
"""Seconds after which an answer must have arrived with at least so many bytes per second."""

_LONGEST_DETAIL = 4000

_PROXY_SIGN_IN, _NETWORK_SIGN_IN = 407, 511  # RFC 9110, section 15.5.8; RFC 6585, section 6

_Origin = tuple[str, str, int]


class Exchange:
    """One answer, whose body has not been read yet."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self.status = response.status
        self._response = response
        self._url = url
        self._where = _where(url)
        named = self.header("content-encoding").lower().split(",")
        self._encodings = [each.strip() for each in named if each.strip() not in {"", "identity"}]
        self._unpacked: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def header(self, name: str) -> str:
        """Return the value of a header; empty if it is missing."""
        return self._response.headers.get(name, "")

    def readinto(self, buffer: memoryview) -> int:
        """Read into a buffer; 0 at the end of the body, which may come too early.

        Content encodings are decoded: some proxies add them unrequested.
        """
        with self._broken():
            if not self._encodings:
                return self._response.readinto(buffer)
            if not self._rest:
                self._unpacked = self._unpacked or self._unpack()
                self._rest = memoryview(next(self._unpacked, b""))
            size = min(len(buffer), len(self._rest))
            buffer[:size], self._rest = self._rest[:size], self._rest[size:]
            return size

    def read(self) -> bytes:
        """Read the whole body, decoded.

        Raises:
            BrokenError: the connection broke.
            DaError: the body is larger than any answer of the API or arrives too slowly; a retry would not help.
        """
        most = _LARGEST_ERROR if self.status >= 400 else _LARGEST  # noqa: PLR2004
        with self._broken():
            blocks, size = [], 0
            for block in self._unpack() if self._encodings else self._arriving():
                blocks.append(block)
                size += len(block)
                if size > most:
                    raise DaError(
                        f"the answer of '{self._where}' is larger than {most >> 20} MB; check the address of the server"
                    )
            return b"".join(blocks)

    def _arriving(self) -> Iterator[bytes]:
        """Read the body as it arrives; fail if it drips.

        The timeout of the socket does not notice a server that sends a byte now and then: each byte restarts it.
        """
        began, size, length = time.monotonic(), 0, self._response.length
        while block := self._response.read1(_BLOCK):
            size += len(block)
            seconds = time.monotonic() - began
            if seconds > _GRACE and size < seconds * _SLOWEST:
                raise DaError(
                    f"the answer of '{self._where}' is too slow: {size:,} bytes in {seconds:.0f} seconds; check your network and try again"
                )
            yield block
        if length is not None and size < length:  # which `read1` does not report
            raise EOFError("the answer ended too early")
        self._response.read()  # marks the connection as reusable

    def _unpack(self) -> Iterator[bytes]:
        blocks: Iterable[bytes] = self._arriving()
        for encoding in reversed(self._encodings):
            if encoding not in {"gzip", "x-gzip", "deflate"}:
                raise BrokenError(
                    f"the answer of '{self._where}' has the unsupported encoding {encoding!r}; a proxy probably added it"
                )
            blocks = _inflated(blocks)
        yield from blocks

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            BrokenError: it is not JSON.
        """
        body = self.read()
        try:
            return json.loads(body) if body else None
        except (ValueError, RecursionError):
            if self.is_web_page or body.lstrip()[:1] == b"<":
                raise BrokenError(refusals.of_web_page(self._where)) from None
            raise BrokenError(f"the answer of '{self._where}' is not JSON; check the address of the server") from None

    @property
    def is_web_page(self) -> bool:
        """Whether the answer is an HTML page, which neither the API nor a store sends."""
        return self.header("content-type").lower().startswith(("text/html", "application/xhtml"))

    def refusal(self) -> RefusedError:
        """Return the error for an error answer."""
        try:
            body = self.read()
            problem = json.loads(body)
        except DaError:
            body, problem = b"", None
        except (ValueError, RecursionError):
            problem = None
        problem = problem if isinstance(problem, dict) else {}
        detail = problem.get("detail") or problem.get("title") or self._reason(body)
        wait = _seconds(self.header("retry-after"))
        detail = " ".join(str(detail)[:_LONGEST_DETAIL].split())  # one line, so that it can't imitate lines of ours
        return RefusedError(detail, status=self.status, code=str(problem.get("code", "")), wait=wait)

    def _reason(self, body: bytes) -> str:
        parts = urlsplit(self._url)
        proxy = proxy_for(parts.scheme, parts.hostname or "")
        if self.status == _PROXY_SIGN_IN and proxy:
            return refusals.of_proxy(proxy, self.status)
        if self.status == _NETWORK_SIGN_IN:
            return refusals.of_web_page(self._where)
        if self.status in range(300, 400):
            return refusals.of_redirect(self._where, self.header("location"))
        return refusals.of_store(
            self._url, body, self.header("date")
        ) or f"'{self._where}' answered with status {self.status}" + (
            "; it may not be an AI Data Analyst server: check its address" if self.status in {404, 405} else ""
        )

    def web_page(self) -> str:
        """Explain an unexpected HTML page."""
        return refusals.of_web_page(self._where)

    @contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
            raise BrokenError(f"the connection to '{self._where}' broke: {_reason(error)}") from None


class Web:
    """A pool of connections. `close` breaks them all, which also ends reads in other threads."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._is_verbose = bool(os.environ.get("DA_VERBOSE"))
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
        """Send a request; the answer is read inside the block.

        Raises:
            UnreachableError: the server can't be reached.
            BrokenError: the connection broke before the answer.
            DaError: the URL is not one of http or https.
        """
        parts, began = urlsplit(url), time.monotonic()
        connection, response = self._send(method, parts, {"User-Agent": f"da/{__version__}", **(headers or {})}, body)
        if self._is_verbose:  # without the query: that of a signed URL is a secret
            place, ms = (
                urlunsplit(parts._replace(netloc=_where(url), query="", fragment="")),
                (time.monotonic() - began) * 1000,
            )
            request_id = response.headers.get("x-request-id")
            say(
                f"{method} {place}: {response.status} in {ms:.0f} ms{f', request {request_id}' if request_id else ''}",
                err=True,
            )
        try:
            yield Exchange(response, url)
        finally:
            self._give_back(connection, response, _origin(parts))

    def close(self) -> None:
        """Break every connection; those in use are closed by their users."""
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
            proxy = proxy_for(parts.scheme, parts.hostname or "")
            return connection, self._answer(connection, method, target, {**headers, **more}, body, proxy=proxy)
        except BrokenError:
            if reused:  # the server may have closed the idle connection
                return self._send(method, parts, headers, body)
            raise

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        proxy: SplitResult | None,
    ) -> http.client.HTTPResponse:
        where = f"{connection.host}:{connection.port}"
        try:
            if connection.sock is None:
                _connect(connection, proxy)
            if body is None:
                connection.request(method, target, headers=headers)
            else:  # a stream is sent in blocks, so that the timeout applies to each of them
                length = {"Content-Length": str(len(body))}
                connection.request(method, target, body=io.BytesIO(body), headers={**headers, **length})
            return connection.getresponse()
        except UnreachableError:
            self._drop(connection)
            raise
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            if type(error) is http.client.BadStatusLine:
                raise UnreachableError(
                    f"'{where}' is not a web server: it answered {str(error).strip()[:100]!r}; check the address and its port"
                ) from None
            raise BrokenError(f"the connection to '{where}' broke: {_reason(error)}") from None

    def _take(self, origin: _Origin, *, fresh: bool) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection, and whether it is reused; requests that can't be retried need a `fresh` one."""
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
        raise DaError(f"'{parts.scheme}:' is not a supported URL scheme (expected http or https)")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _request(parts: SplitResult) -> tuple[str, dict[str, str]]:
    """Return the request target and proxy headers; a proxy gets the whole URL for plain http."""
    proxy = proxy_for("http", parts.hostname or "") if parts.scheme == "http" else None
    if proxy:
        return urlunsplit(parts._replace(fragment="")), proof(proxy)
    return urlunsplit(("", "", parts.path or "/", parts.query, "")), {}


def _connect(connection: http.client.HTTPConnection, proxy: SplitResult | None) -> None:
    where = f"{'the proxy ' if proxy else ''}'{connection.host}:{connection.port}'"
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        advice = (
            "if your company uses its own certificate authority, set SSL_CERT_FILE to its certificate;"
            " if this network requires a sign-in, sign in with a browser first"
        )
        message = f"the certificate of {where} is not trusted ({error.verify_message}); {advice}"
        raise UnreachableError(message) from None
    except ssl.SSLError as error:
        why = (error.reason or str(error)).lower().replace("_", " ")
        raise UnreachableError(
            f"can't reach {where} over https://: TLS failed ({why}); if the server has no TLS, use http://, otherwise check"
            " the port"
        ) from None
    except OSError as error:
        refused = re.match(r"Tunnel connection failed: (\d{3})", str(error))
        if proxy and refused:
            raise UnreachableError(refusals.of_proxy(proxy, int(refused[1]))) from None
        raise UnreachableError(f"can't reach {where}: {_reason(error)}; check the address and your network") from None


def _inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress gzip or deflate with one or more members; some servers send deflate without the zlib header."""
    unpacking, begun = zlib.decompressobj(wbits=47), False
    for block in blocks:
        packed, more = block, True
        while more:
            try:
                unpacked = unpacking.decompress(packed, _BLOCK)
            except zlib.error:
                if begun:
                    raise
                unpacking = zlib.decompressobj(wbits=-15)
                unpacked = unpacking.decompress(packed, _BLOCK)
            begun, packed = True, unpacking.unconsumed_tail
            if unpacked:
                yield unpacked
            if unpacking.eof:
                packed, unpacking, begun = unpacking.unused_data, zlib.decompressobj(wbits=47), False
                more = bool(packed)
            else:  # what it holds back comes without further input
                more = bool(packed) or len(unpacked) == _BLOCK
    if begun:
        raise EOFError("the data ended too early")


def _where(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200].lower()


def _seconds(retry_after: str) -> float | None:
    """Parse a Retry-After header (RFC 9110, section 10.2.3): seconds or a date."""
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
