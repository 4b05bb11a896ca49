"""Slow clients, and those that never finish, keep nobody else waiting, and are disconnected in time."""

import http.client
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from analyst.http.server.connections import Loop, Patience, Server, Threads
from tests.clouds import Cloud, FileCloud
from tests.processes import Host, host

POST = b"POST /auth/bootstrap HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
QUICK = 0.2
"""Seconds within which everybody else is answered, at the median of twenty."""


def port(server: Host) -> int:
    return int(server.url.rpartition(":")[2])


def connect(number: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", number), timeout=30)
    connection.sendall(data)
    return connection


def is_quick(number: int) -> bool:
    """Return whether others are answered quickly in one of five rounds: something else may slow the machine down in the others."""
    return any(quickness(number) < QUICK for _ in range(5))


def quickness(number: int) -> float:
    """Return the median of seconds that a health check takes, over a connection of its own."""
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", number, timeout=30)
        connection.request("GET", "/api/health")
        assert connection.getresponse().read().startswith(b'{"status":"ok"')
        connection.close()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


Held = Callable[[int], list[socket.socket]]


def bodies_of_one_byte(number: int) -> list[socket.socket]:
    return [connect(number, POST + b"Content-Length: 100\r\n\r\n{") for _ in range(40)]


def half_sent_headers(number: int) -> list[socket.socket]:
    return [connect(number, b"GET /api/health HTTP/1.1\r\nHost: a\r\nX-Half: ") for _ in range(300)]


def idle_connections(number: int) -> list[socket.socket]:
    return [connect(number) for _ in range(1000)]


def chunks_without_an_end(number: int) -> list[socket.socket]:
    return [connect(number, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1") for _ in range(40)]


def requests_in_a_row_whose_answers_nobody_reads(number: int) -> list[socket.socket]:
    return [connect(number, b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 50) for _ in range(20)]


def bodies_that_are_announced_and_awaited(number: int) -> list[socket.socket]:
    return [connect(number, POST + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n") for _ in range(40)]


@pytest.fixture(scope="module")
def server(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("host"), shared_cloud, THREADS="8", fork=True) as running:
        yield running


@pytest.mark.parametrize(
    "attack",
    [
        bodies_of_one_byte,
        half_sent_headers,
        idle_connections,
        chunks_without_an_end,
        requests_in_a_row_whose_answers_nobody_reads,
        bodies_that_are_announced_and_awaited,
    ],
)
def test_other_clients_are_answered_while_one_is_slow(server: Host, attack: Held) -> None:
    with ExitStack() as stack:
        for held in attack(port(server)):
            stack.enter_context(held)
        assert is_quick(port(server))


def test_other_clients_are_answered_while_large_files_wait_to_be_read(
    server: Host, shared_cloud: Cloud, tmp_path: Path
) -> None:
    if not isinstance(shared_cloud, FileCloud):
        pytest.skip("a cloud hands its files out itself")
    store = shared_cloud.open()
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * 64)
    store.upload("extracts/shop/data/large.parquet", tmp_path / "large")
    url = store.sign("extracts/shop/data/large.parquet", expires=60, filename="large").encode()
    wanted = b"GET " + url + b" HTTP/1.1\r\nHost: a\r\n"
    with ExitStack() as stack:
        for part in (b"", b"Range: bytes=1000-60000000\r\n"):
            for _ in range(20):
                stack.enter_context(connect(port(server), (wanted + part + b"\r\n") * 2))
        assert is_quick(port(server))


# ---- the deadlines, on a clock of the test's


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answering(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with as many bytes as the path says, after the body was read."""
    size = len(environ["wsgi.input"].read()) + int(environ["PATH_INFO"].strip("/") or 0)
    start_response("200 OK", [("Content-Length", str(size))])
    return [b"x" * size]


class Served:
    """A server in this process, whose loop a thread turns."""

    def __init__(self, clock: Clock, **more: Any) -> None:
        self.clock = clock
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.number = self.socket.getsockname()[1]
        self.loop = Loop()
        self.server = Server(answering, self.socket, self.loop, Threads(2), lambda *_: 1000, clock=clock, **more)
        self.is_over = False
        self.thread = threading.Thread(target=self._turn)
        self.thread.start()

    def _turn(self) -> None:
        while not self.is_over:
            self.loop.turn(0.01)

    def close(self) -> None:
        self.is_over = True
        self.thread.join()
        for waiting in list(self.loop.values()):
            waiting.close()

    def after(self, seconds: float) -> None:
        """Advance the clock, a second at a time, which the server sees."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            seen = self.clock.now
            while self.server._next_look <= seen:
                assert self.thread.is_alive()


@contextmanager
def served(**more: Any) -> Iterator[Served]:
    running = Served(Clock(), **more)
    try:
        yield running
    finally:
        running.close()


def read(connection: socket.socket) -> bytes:
    """Read until the server hangs up."""
    found = b""
    with suppress(ConnectionResetError):
        while block := connection.recv(1 << 16):
            found += block
    return found


ASKED = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "patient", "expected"),
    [
        (b"", 14, b""),
        (b"GET / HT", 14, b"HTTP/1.0 408 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 14, b"HTTP/1.0 408 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", 29, b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 29, b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 29, b"HTTP/1.1 100 "),
    ],
)
def test_an_unfinished_request_is_dropped(sent: bytes, patient: int, expected: bytes) -> None:
    with served() as running, connect(running.number, sent) as slow, connect(running.number, ASKED) as other:
        assert other.recv(9) == b"HTTP/1.1 "
        running.after(patient)
        slow.setblocking(False)
        with suppress(BlockingIOError):
            assert slow.recv(100).startswith(b"HTTP/1.1 100")  # no more than the invitation to go on
        slow.settimeout(30)
        running.after(5)
        answer = read(slow)
        assert answer.startswith(expected) or b"HTTP/1.1 408 " in answer
        assert not answer or (b"application/problem+json" in answer and b"X-Request-Id: " in answer)


def test_a_connection_that_was_used_is_kept_for_a_while() -> None:
    with served() as running, connect(running.number, ASKED) as kept:
        assert kept.recv(1 << 16).endswith(b"x")
        running.after(70)
        kept.sendall(ASKED)
        assert kept.recv(1 << 16).endswith(b"x")
        running.after(80)
        assert kept.recv(1) == b""


def test_a_slow_upload_that_makes_progress_is_accepted() -> None:
    patience = Patience(grace=5, rate=10)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 600\r\n\r\n"
    with served(patience=patience) as running, connect(running.number, head) as slow:
        for _ in range(30):
            slow.sendall(b"x" * 20)
            while running.server.buffered % 20 and running.thread.is_alive():
                pass
            running.after(1)
        assert read(slow).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_stops_reading_is_dropped_and_its_thread_is_free_at_once() -> None:
    with served() as running, ExitStack() as stack:
        stuck = [stack.enter_context(connect(running.number, b"GET /30000000 HTTP/1.1\r\n\r\n")) for _ in range(8)]
        with connect(running.number, ASKED) as other:
            assert other.recv(9) == b"HTTP/1.1 "
        assert all(each.recv(1, socket.MSG_PEEK) for each in stuck)  # each has begun to be answered
        running.after(70)
        assert all(len(read(each)) < 30_000_000 for each in stuck)
        assert running.server.active_channels == {}


def test_a_full_server_drops_the_longest_idle_connections() -> None:
    with served(connections=20) as running, ExitStack() as stack:
        idle = [stack.enter_context(connect(running.number)) for _ in range(19)]
        for _ in range(3):
            with connect(running.number, ASKED) as other:
                assert other.recv(1 << 16).endswith(b"x")
        assert idle[0].recv(1) == b""


def test_a_stopping_server_answers_pending_requests_and_refuses_incomplete_ones() -> None:
    begun = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{"
    with (
        served() as running,
        connect(running.number) as idle,
        connect(running.number, begun) as quick,
        connect(running.number, begun) as slow,
        connect(running.number, ASKED) as other,
    ):
        assert other.recv(9) == b"HTTP/1.1 "
        while len([each for each in running.server.active_channels.values() if each.request]) < 2:
            assert running.thread.is_alive()
        running.is_over = True
        running.thread.join()
        running.server.stop()
        quick.sendall(b"}")
        for _ in range(200):
            running.clock.now += 0.1
            running.server.look_after()
            running.loop.turn(0.01)
        assert b"Connection: close" in (answer := read(quick))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert read(slow).startswith(b"HTTP/1.1 503 ")
        assert read(idle) == b""
