"""The functions as they are deployed: a process of the functions framework, spoken to in bytes."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from analyst.store.folder.store import FileStore
from tests.clouds import Cloud, FileCloud
from tests.processes import Host, host

JSON = b"Host: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
CHUNKED = JSON + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"


@pytest.fixture(scope="module")
def server(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("host"), shared_cloud) as running:
        yield running


@pytest.fixture
def folder(shared_cloud: Cloud) -> FileCloud:
    if not isinstance(shared_cloud, FileCloud):
        pytest.skip("a cloud signs its own URLs and reads them itself")
    return shared_cloud


def tell(server: Host, data: bytes, *, and_stop: bool = False) -> bytes:
    """Send bytes and read until the server hangs up."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered, and wants no more
            connection.sendall(data)
        if and_stop:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def status(answer: bytes) -> int:
    """Read the status of the last answer."""
    return int(answer[answer.rindex(b"HTTP/1.") :].split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"GET /api/health", 200),
        (b"HEAD /api/health", 200),
        (b"GET //api/health", 200),
        (b"GET /api/%68ealth", 200),
        (b"GET http://elsewhere/api/health", 200),
        (b"GET /api//health", 404),
        (b"GET /api/health/", 404),
        (b"GET /api/health%00", 404),
        (b"GET /api/health%zz", 404),
        (b"GET /api/../api/health", 404),
        (b"GET /" + b"a" * 100_000, 404),
        (b"GET /api/health?a=%ff", 400),
        (b"GET /api/health?%", 422),
        (b"GET /files/%00", 404),
        (b"GET /files/..%2f..%2fetc%2fpasswd", 403),
        (b"GET /files//etc/passwd", 403),
        (b"GET /files/a?expires=99999999999999999999&signature=x", 403),
        (b"OPTIONS /api/health", 405),
        (b"TRACE /api/health", 405),
        (b"CONNECT /api/health", 405),
        (b"BREW /api/health", 405),
    ],
)
def test_odd_requests_are_answered(server: Host, store_kind: str, request_line: bytes, expected: int) -> None:
    if expected == 403 and store_kind != "file":
        expected = 404  # files of a cloud are not served here, whatever the signature
    answer = tell(server, request_line + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert status(answer) == expected
    assert expected == 200 or b"application/problem+json" in answer


@pytest.mark.parametrize("value", [b"a b", b"[::1", b"elsewhere/x", b"a:99999", b"\xff", b""])
def test_odd_hosts_are_answered(server: Host, value: bytes) -> None:
    assert status(tell(server, b"GET /api/health HTTP/1.1\r\nHost: " + value + b"\r\nConnection: close\r\n\r\n")) == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Authorization: Bearer \xff", 401),
        (b"Authorization: Bearer " + b"x" * 7000, 401),
        (b"Accept-Encoding: \xff;q=zz", 401),
        (b"X-Request-Id: a\tb", 401),
        (b"Function-Execution-Id: \xff", 401),
    ],
)
def test_odd_headers_are_answered(server: Host, header: bytes, expected: int) -> None:
    assert status(tell(server, b"GET /api/me HTTP/1.1\r\n" + JSON + header + b"\r\n\r\n")) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (CHUNKED + b"ZZ\r\nabc\r\n0\r\n\r\n", 400),
        (CHUNKED + b"FF\r\nabc", 400),
        (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 422),
        (CHUNKED + MEGABYTE * 4 + b"0\r\n\r\n", 413),
        (JSON + b"Content-Length: 100\r\n\r\n{}", 400),
        (JSON + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, 413),
        (JSON + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (JSON + b"Content-Length: -1\r\n\r\n", 400),
        (JSON + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 422),
    ],
)
def test_odd_bodies_are_answered(server: Host, body: bytes, expected: int) -> None:
    answer = tell(server, b"POST /auth/bootstrap HTTP/1.1\r\n" + body, and_stop=True)
    assert status(answer) == expected


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [(b"POST /rebuild", 401), (b"POST /nowhere", 404), (b"DELETE /api/health", 405), (b"GET /api/health", 200)],
)
def test_an_answer_arrives_although_the_body_was_not_read(server: Host, request_line: bytes, expected: int) -> None:
    body = b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000
    assert status(tell(server, request_line + b" HTTP/1.1\r\n" + JSON + body)) == expected


def test_a_connection_survives_an_unread_body(server: Host) -> None:
    first = b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nxxxxx"
    answer = tell(server, first + b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.endswith(b'{"status":"ok"}')


def test_a_signed_url_returns_the_file_whole_and_in_ranges(server: Host, folder: FileCloud, tmp_path: Path) -> None:
    store = folder.open()
    content = bytes(range(256)) * 5000
    (tmp_path / "a.parquet").write_bytes(content)
    key = "extracts/shop/data/orders/a.parquet"
    store.upload(key, tmp_path / "a.parquet")
    url = store.sign(key, expires=60, filename="orders.parquet").encode()

    def read(method: bytes, *headers: bytes) -> tuple[bytes, bytes]:
        lines = [method + b" " + url + b" HTTP/1.1", b"Host: a", b"Connection: close", *headers]
        head, _, body = tell(server, b"\r\n".join(lines) + b"\r\n\r\n").partition(b"\r\n\r\n")
        return head, body

    assert read(b"GET")[1] == content
    assert read(b"GET", b"Range: bytes=1000000-1000009")[1] == content[1_000_000:1_000_010]
    assert read(b"GET", b"Range: bytes=-3")[1] == content[-3:]
    head, body = read(b"HEAD")
    assert (b"Content-Length: 1280000" in head, body) == (True, b"")
    assert b" 416 " in read(b"GET", b"Range: bytes=1280000-")[0]


@pytest.mark.parametrize("change", ["&expires=9999999999", "&signature=00", "&more=1"])
def test_a_signed_url_works_only_unchanged(server: Host, folder: FileCloud, change: str) -> None:
    store = FileStore(folder.folder, lambda: b"another secret" * 3)
    url = store.sign("extracts/a.parquet", expires=60, filename="a")
    assert server.ask("GET", url)[0] == 403
    assert server.ask("GET", url + change)[0] == 422


def test_simultaneous_first_requests_share_one_process(tmp_path: Path, cloud: Cloud) -> None:
    with host(tmp_path, cloud, fork=True) as running, ThreadPoolExecutor(16) as pool:
        start = threading.Barrier(16)

        def ask(_: int) -> int:
            start.wait()
            return running.ask("GET", "/api/me", token="da_nobody")[0]

        assert set(pool.map(ask, range(16))) == {401}


def test_each_request_is_one_json_line_on_standard_output(tmp_path: Path, cloud: Cloud) -> None:
    with host(tmp_path, cloud, fork=True) as running:
        running.ask("GET", "/api/health", headers={"X-Request-Id": "the-one"})
        running.ask("GET", "/files/a?signature=hunter2")
    lines = [json.loads(line) for line in (tmp_path / "host.log").read_text().splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line["request_id"] == "the-one"]
    assert {"function": "health", "status": 200, "severity": "INFO"}.items() <= line.items()
    assert "hunter2" not in (tmp_path / "host.log").read_text()


def test_a_host_may_serve_only_some_functions(tmp_path: Path, cloud: Cloud) -> None:
    with host(tmp_path, cloud, FUNCTIONS="functions.api.health, functions.api.files", fork=True) as running:
        assert running.ask("GET", "/api/health")[0] == 200
        assert running.ask("POST", "/auth/bootstrap", {})[0] == 404
        assert sorted(running.ask("GET", "/openapi.json")[1]["paths"]) == [
            "/api/admin/health",
            "/api/health",
            "/files/{path}",
        ]
