"""What a script may send through its socket, and how much of the server it can take."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from analyst.http_client import HttpClient
from analyst.scripts.relay import SOCKET, Upstream, is_of_api, relayed
from tests.doubles.loopback import http_server

CONNECTIONS = 16
AT_ONCE = 4


class Api:
    """A server that answers `/api/held` when it is told to, and breaks off the answer of `/api/broken`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self.all_places = threading.Barrier(AT_ONCE + 1, timeout=60)


@contextmanager
def served() -> Iterator[tuple[Api, Upstream]]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            if self.path == "/api/held":
                api.all_places.wait()
                api.go.wait(60)
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"12345" if self.path == "/api/broken" else b"1234567890")

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as address:
        yield api, Upstream(HttpClient(), address, "t", 60)
        api.go.set()


def connect(folder: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(60)
    made.connect(str(folder / SOCKET))
    return made


def test_a_script_takes_few_threads_and_little_memory(tmp_path: Path) -> None:
    with served() as (_, upstream), relayed(tmp_path, upstream):
        before = threading.active_count()
        opened = [connect(tmp_path) for _ in range(CONNECTIONS + 10)]
        for each in opened:
            each.sendall(b"POST /api/query HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        opened[0].sendall(b"x" * 1_000_000)  # one ends, so that one more is served
        assert opened[0].recv(100)
        assert threading.active_count() - before <= CONNECTIONS + 2  # one of the server behind it
        for each in opened:
            each.close()


def test_requests_that_wait_when_the_script_ends_are_not_sent(tmp_path: Path) -> None:
    with served() as (api, upstream):
        with relayed(tmp_path, upstream):
            opened = [connect(tmp_path) for _ in range(CONNECTIONS + 10)]
            for each in opened:
                each.sendall(b"GET /api/held HTTP/1.1\r\n\r\n")
            api.all_places.wait()
        api.go.set()
        for each in opened:
            with each:
                each.settimeout(60)
                try:
                    while each.recv(1000):
                        pass
                except ConnectionResetError:
                    pass
        assert api.asked == ["/api/held"] * AT_ONCE


def test_a_truncated_answer_is_noticed(tmp_path: Path) -> None:
    with served() as (_, upstream), relayed(tmp_path, upstream), connect(tmp_path) as made:
        made.sendall(b"GET /api/broken HTTP/1.1\r\n\r\n")
        answer = http.client.HTTPResponse(made)
        answer.begin()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


@pytest.mark.parametrize(
    "target",
    [
        "/auth/tokens",
        "/run-script",
        "http://a/api/x",
        "//a/api/x",
        "/api/../auth/tokens",
        "/api/%2e%2e/auth/tokens",
        "/api/%252e%252e/auth",
        "/api//auth",
        "/api/./x",
        "/api%2fx/../../auth",
        "/api\\..\\auth",
        "/api/%5c..%5cauth",
        "/api/x%00\r\nX: y",
        "/api/x#y",
        "/api/x y",
        "/API/x",
        "/apis",
        "api/x",
        "*",
        "",
        "?/api/x",
        "/api/" + "x" * 8000,
        "/api/\u017e",
    ],
)
def test_a_target_outside_the_api_is_refused(target: str) -> None:
    assert not is_of_api(target)


def test_targets_of_the_api_are_allowed() -> None:
    assert is_of_api("/api/metrics/orders%20net/sql?by=a/../b&at=%2e%2e//x")
