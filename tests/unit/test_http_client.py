from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from analyst.errors import UnavailableError
from analyst.http_client import HttpClient, origin
from tests.doubles.loopback import listening


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peers: set[tuple[str, int]]

    def do_GET(self) -> None:
        self.server.peers.add(self.client_address)  # type: ignore[attr-defined]
        if self.path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
            return
        body = self.headers.get("X-Say", "").encode()
        self.send_response(302 if self.path == "/elsewhere" else 200)
        if self.path == "/elsewhere":
            self.send_header("Location", "/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.peers = set()  # type: ignore[attr-defined]
    with listening(running):
        yield running


def url(server: ThreadingHTTPServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_connections_are_reused(server: ThreadingHTTPServer) -> None:
    client = HttpClient()
    server.peers.clear()  # type: ignore[attr-defined]
    bodies = [client.request("GET", url(server), headers={"X-Say": word}).data for word in ("a", "b", "c")]
    assert bodies == [b"a", b"b", b"c"]
    assert len(server.peers) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("redirects", "status"), [(0, 302), (1, 200)])
def test_redirects_are_followed_only_where_allowed(server: ThreadingHTTPServer, redirects: int, status: int) -> None:
    assert HttpClient().request("GET", url(server, "/elsewhere"), redirects=redirects).status == status


def test_a_truncated_response_is_a_temporary_error(server: ThreadingHTTPServer) -> None:
    with pytest.raises(UnavailableError, match=r"^http://127\.0\.0\.1:\d+ does not answer: \w+$"):
        HttpClient().request("GET", url(server, "/broken"))


def test_an_error_shows_neither_credentials_nor_the_query() -> None:
    with pytest.raises(UnavailableError) as raised:
        HttpClient().request("GET", "http://ann:secret@127.0.0.1:9/path?token=secret")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://Example.com/a?b", "https://example.com"),
        ("http://ann:pw@host:80/", "http://host:80"),
        ("https://a@b@c/", "https://c"),
    ],
)
def test_an_origin_is_a_scheme_and_a_server(address: str, shown: str) -> None:
    assert origin(address) == shown
