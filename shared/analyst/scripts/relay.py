"""The relay: a Unix socket through which one run of a script reaches the API, and nothing else.

The relay adds the token, so the script never has it, and ends with the run.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Final
from urllib.parse import unquote

from analyst.errors import UnavailableError
from analyst.http_client import HttpClient

SOCKET: Final = "api.sock"
_LARGEST_BODY: Final = 1 << 20
_LARGEST_ANSWER: Final = 64 << 20
_MOST_REQUESTS: Final = 1000
_AT_ONCE: Final = 4
_CONNECTIONS: Final = 16
"""Connections that are read at the same time, so that a script can't fill the memory of the server."""
_BLOCK: Final = 1 << 18
_IDLE: Final = 30.0
_LOOK_EVERY: Final = 0.05
_LONGEST_PATH: Final = 8000
_LONGEST_LENGTH: Final = 10
_KEPT: Final = ("Content-Type", "Content-Length", "X-Query", "Retry-After")
"""Headers of answers that are passed on; with its length, a script notices that an answer broke off."""
_UNAVAILABLE: Final = (
    b'{"title":"Service Unavailable","status":503,"detail":"the server does not answer; try again later"}'
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go, and with which token."""

    http: HttpClient
    url: str
    token: str
    read: float


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, upstream: Upstream) -> None:
        super().__init__(path, _Handler)
        self.upstream = upstream
        self.places = threading.BoundedSemaphore(_AT_ONCE)
        self.connections = threading.BoundedSemaphore(_CONNECTIONS)
        self.ended = threading.Event()
        self.left = _MOST_REQUESTS
        self.counting = threading.Lock()

    def take(self) -> bool:
        """Count a request; return whether it is allowed."""
        with self.counting:
            self.left -= 1
            return self.left >= 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread as soon as there is a place; until then, the kernel keeps the others waiting."""
        while not self.connections.acquire(timeout=_LOOK_EVERY):
            if self.ended.is_set():
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that break off: the script has ended."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _IDLE
    protocol_version = "HTTP/1.0"
    server_version, sys_version = "da", ""

    def do_GET(self) -> None:
        """Forward a request."""
        self._forward()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the API says what it refuses

    def _forward(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if len(length) > _LONGEST_LENGTH or not length.isdecimal() or int(length) > _LARGEST_BODY:
            self._refuse(413, f"the body is larger than {_LARGEST_BODY} bytes, or its length is not known")
            return
        body = self.rfile.read(int(length)) if int(length) else None
        if not is_of_api(self.path):
            self._refuse(403, "scripts can only send requests to paths below /api/")
        elif not self.server.take():
            self._refuse(429, f"a run of a script can send {_MOST_REQUESTS} requests")
        else:
            with self.server.places:
                if not self.server.ended.is_set():  # what has waited is not asked for a script that has ended
                    self._ask(body)

    def _ask(self, body: bytes | None) -> None:
        upstream = self.server.upstream
        headers = {
            "Authorization": f"Bearer {upstream.token}",
            "User-Agent": "da-script",
            "Accept-Encoding": "identity",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = upstream.http.request(
                self.command,
                upstream.url.rstrip("/") + self.path,
                headers=headers,
                body=body,
                read=upstream.read,
                streamed=True,
            )
        except UnavailableError:
            self._answer(503, _UNAVAILABLE)
            return
        try:
            if int(answer.headers.get("Content-Length") or 0) > _LARGEST_ANSWER:
                self._refuse(413, f"the answer is larger than {_LARGEST_ANSWER} bytes; ask for less")
                return
            self.send_response(answer.status)
            for name in _KEPT:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            left = _LARGEST_ANSWER
            while left > 0 and (block := answer.read(min(_BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)
        finally:
            answer.close()

    def _refuse(self, status: int, detail: str) -> None:
        self._answer(status, f'{{"status":{status},"detail":"{detail}"}}'.encode())

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Write no log: the API has one."""


def is_of_api(target: str) -> bool:
    """Return whether a request target is a path of the API, even if a program on the way resolves its dots or decodes it."""
    path = unquote(unquote(target.partition("?")[0]))
    parts = path.split("/")
    is_plain = (
        target.isascii() and target.isprintable() and " " not in target and "#" not in target and "\\" not in path
    )
    return (
        is_plain and len(target) <= _LONGEST_PATH and parts[:2] == ["", "api"] and not {"", ".", ".."} & set(parts[2:])
    )


@contextmanager
def relayed(folder: Path, upstream: Upstream) -> Iterator[None]:
    """Serve a socket in a folder until the block ends."""
    path = folder / SOCKET
    server = _Server(str(path), upstream)
    os.chmod(path, 0o666)  # noqa: PTH101, S103 - only the script sees the folder
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _LOOK_EVERY}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
