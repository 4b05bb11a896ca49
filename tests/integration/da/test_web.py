"""Connections: kept while they work, replaced when they do not; and proxies, certificates and sign-in pages on the way."""

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from da.config import Login
from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.server import Backoff, Server
from da.web import Web, proxy_for
from tests.doubles.functions_api import Fault, FunctionsApi
from tests.doubles.loopback import http_server


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(timeout=60) as web:
        yield web


def ask(web: Web, api: FunctionsApi, method: str = "GET") -> int:
    with web.exchange(method, f"{api.address}/api/me") as answer:
        answer.read()
        return answer.status


def test_a_connection_is_reused(api: FunctionsApi, web: Web) -> None:
    assert [ask(web, api) for _ in range(3)] == [401] * 3
    assert len(api.peers) == 1


def test_a_connection_that_the_server_closed_is_replaced(api: FunctionsApi, web: Web) -> None:
    ask(web, api)
    api.api_faults.append(Fault(cut=0))
    assert ask(web, api) == 401
    assert len(api.peers) == 2


def test_requests_that_cannot_be_repeated_use_a_new_connection(api: FunctionsApi, web: Web) -> None:
    ask(web, api)
    api.api_faults.append(Fault(cut=0))
    with pytest.raises(BrokenError):
        ask(web, api, "POST")
    assert api.counts() == {"GET /api/me": 1, "POST /api/me": 1}


def test_an_answer_that_is_not_read_completely_closes_its_connection(api: FunctionsApi, web: Web) -> None:
    with web.exchange("GET", f"{api.address}/api/me"):
        pass
    ask(web, api)
    assert len(api.peers) == 2


def test_a_port_without_a_server_is_reported(web: Web) -> None:
    with pytest.raises(UnreachableError, match=r"can't reach '127.0.0.1:1': connection refused"):
        web.exchange("GET", "http://127.0.0.1:1/").__enter__()


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("", None)],
)
def test_a_refusal_has_the_wait_that_the_server_requests(
    api: FunctionsApi, web: Web, retry_after: str, wait: float | None
) -> None:
    api.api_faults.append(Fault(status=429, headers={"Retry-After": retry_after}))
    with web.exchange("GET", f"{api.address}/api/me") as answer:
        refusal: RefusedError = answer.refusal()
    assert (refusal.status, refusal.wait, str(refusal)) == (429, wait, "told to fail")


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(answer: Answer | Callable[[str], Answer]) -> Iterator[str]:
    """Serve one answer to every request, also to the CONNECT of a proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            status, headers, body = answer(self.path) if callable(answer) else answer
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_CONNECT = do_POST = do_GET  # noqa: N815

    with http_server(Handler) as address:
        yield address


def me(address: str) -> Any:
    with Web(timeout=60) as web:
        return Server(Login(address, "t" * 20), web, Backoff(attempts=1)).get("/api/me")


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


LONG = b'{"name": "' + b"x" * 300_000 + b'"}'


@pytest.mark.parametrize("document", [b'{"name": "x"}', LONG])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    ],
)
def test_encodings_added_by_intermediaries_are_decoded(
    encoding: str, pack: Callable[[bytes], bytes], document: bytes
) -> None:
    with answering((200, {"Content-Encoding": encoding}, pack(document))) as address:
        assert me(address)["name"].startswith("x")


def test_an_unrequested_encoding_is_named() -> None:
    message = "has the unsupported encoding 'br'; a proxy"
    with answering((200, {"Content-Encoding": "br"}, b"...")) as address, pytest.raises(BrokenError, match=message):
        me(address)


@pytest.mark.parametrize("damage", [lambda body: body[:-9], lambda body: body[:20] + b"????" + body[24:]])
def test_an_encoded_answer_that_is_damaged_is_a_broken_connection(damage: Callable[[bytes], bytes]) -> None:
    answer = 200, {"Content-Encoding": "gzip"}, damage(gzip.compress(LONG))
    with answering(answer) as address, pytest.raises(BrokenError, match="broke"):
        me(address)


@pytest.mark.parametrize("arrived", [0, 20])
def test_an_answer_that_ends_too_early_is_a_broken_connection(arrived: int) -> None:
    answer = 200, {"Content-Length": str(len(LONG)), "Connection": "close"}, LONG[:arrived]
    with answering(answer) as address, pytest.raises(BrokenError, match="the answer ended too early"):
        me(address)


PORTAL = b"<!DOCTYPE html><html><body>Welcome to the hotel. Room number?</body></html>"
SIGN_IN = r"If this network requires a sign-in .* sign in with a browser and try again"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"Content-Type": "text/html; charset=utf-8"}, PORTAL), SIGN_IN),
        ((200, {}, PORTAL), SIGN_IN),
        ((511, {"Content-Type": "text/html"}, PORTAL), SIGN_IN),
        ((302, {"Location": "http://portal.hotel.example/?to=x"}, b""), "portal.hotel.example.*sign-in.*browser first"),
        ((307, {"Location": "https://data.example.com/api/me"}, b""), "da login --server https://data.example.com"),
        ((302, {}, b""), "sent a redirect without a target"),
        ((200, {}, b"hello"), "not JSON; check the address of the server"),
    ],
)
def test_a_network_that_requires_a_sign_in_is_recognized(answer: Answer, message: str) -> None:
    with answering(answer) as address, pytest.raises((BrokenError, RefusedError), match=message):
        me(address)


def xml(code: str, message: str = "", more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


NOW = {"Date": "Sat, 28 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("status", "body", "query", "message"),
    [
        (400, xml("ExpiredToken", "The provided token has expired."), "", "the URL has expired"),
        (403, xml("AccessDenied", "Request has expired"), "", "the URL has expired"),
        (
            403,
            xml("AccessDenied", "Request has expired"),
            "X-Amz-Date=20261128T113000Z&X-Amz-Expires=900",
            "signed 30 min 0 s ago by the store's clock, and valid for 15 min 0 s.*server's clock is slow",
        ),
        (
            403,
            xml("AccessDenied", "Request is not valid yet"),
            "X-Amz-Date=20261128T130000Z&X-Amz-Expires=900",
            "60 min 0 s in the future by the store's clock: the server's clock is wrong",
        ),
        (
            403,
            xml("RequestTimeTooSkewed", "The difference is too large."),
            "",
            "clocks of the server and the store differ",
        ),
        (403, xml("SignatureDoesNotMatch", "The request signature &amp; more"), "", "the signature is invalid"),
        (403, xml("InvalidAccessKeyId"), "", "signs with a key that the store does not accept"),
        (
            403,
            xml(
                "AuthenticationFailed",
                "x",
                "<AuthenticationErrorDetail>Signature not valid in the specified time frame</AuthenticationErrorDetail>",
            ),
            "",
            "not valid at this time",
        ),
        (404, xml("NoSuchKey", "The specified key does not exist."), "", "the file does not exist"),
        (403, xml("AccessDenied", "Access Denied"), "", "can't read the bucket; contact your administrator"),
        (403, xml("SomethingNew", "Its own words"), "", "SomethingNew: Its own words"),
        (503, b"<html>bad gateway</html>", "", "answered with status 503"),
        (403, b"<Code>" + b"x" * 100_000, "", "answered with status 403"),
    ],
)
def test_errors_of_a_store_are_explained(web: Web, status: int, body: bytes, query: str, message: str) -> None:
    with (
        answering((status, {**NOW, "Content-Type": "application/xml"}, body)) as address,
        web.exchange("GET", f"{address}/file?{query}") as answer,
    ):
        refusal = answer.refusal()
    assert refusal.status == status
    with pytest.raises(RefusedError, match=message):
        raise refusal


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def set_proxy(address: str) -> None:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        proxy_for.cache_clear()

    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield set_proxy
    monkeypatch.undo()
    proxy_for.cache_clear()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("user", "status", "message"),
    [
        ("", 407, r"the proxy '127.0.0.1:\d+' requires a user name and password \(407\); set HTTPS_PROXY"),
        ("ann:s3cret@", 407, r"the proxy '127.0.0.1:\d+' rejected the user name and password"),
    ],
)
def test_a_proxy_that_requires_a_sign_in_is_named(
    proxied: Callable[[str], None], scheme: str, user: str, status: int, message: str
) -> None:
    with answering((status, {"Proxy-Authenticate": "Basic"}, PORTAL)) as address:
        proxied(address.replace("//", f"//{user}"))
        with pytest.raises((UnreachableError, RefusedError), match=message) as raised:
            me(f"{scheme}://data.example.com")
    assert "s3cret" not in str(raised.value)


def test_a_proxy_that_refuses_or_does_not_answer_is_named(proxied: Callable[[str], None]) -> None:
    with answering((403, {}, b"")) as address:
        proxied(address)
        with pytest.raises(UnreachableError, match=r"the proxy '127.0.0.1:\d+' rejected the connection \(403\)"):
            me("https://data.example.com")
    proxied("http://127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"can't reach the proxy '127.0.0.1:1'"):
        me("https://data.example.com")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_an_encoded_download_is_decoded(web: Web, pack: Callable[[bytes], bytes]) -> None:
    content = bytes(range(256)) * 5000
    encoding = "gzip" if pack is gzip.compress else "deflate"
    with (
        answering((200, {"Content-Encoding": encoding}, pack(content))) as address,
        web.exchange("GET", f"{address}/file") as answer,
    ):
        buffer, read = memoryview(bytearray(70_001)), b""
        while size := answer.readinto(buffer):
            read += buffer[:size]
    assert read == content


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_an_answer_larger_than_any_of_the_api_is_refused(
    status: int, pack: Callable[[bytes], bytes] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("da.web._LARGEST", 1 << 20)
    asked: list[str] = []
    body = b" " * (3 << 20)

    def answer(path: str) -> Answer:
        asked.append(path)
        return status, {"Content-Encoding": "gzip"} if pack else {}, pack(body) if pack else body

    message = "is larger than 1 MB; check the address" if status == 200 else "answered with status 500"
    with answering(answer) as address, pytest.raises(DaError, match=message):
        me(address)
    assert len(asked) == 1


def test_an_endless_answer_is_refused() -> None:
    with chunks_without_end() as address, pytest.raises(DaError, match="is larger than 64 MB"):
        me(address)


def test_an_answer_that_arrives_too_slowly_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("da.web._GRACE", 0.05)
    with (
        chunks_without_end(pause=0.02, size=1) as address,
        pytest.raises(DaError, match=r"is too slow: [0-9]+ bytes in [0-9]+ seconds"),
    ):
        me(address)


@contextmanager
def chunks_without_end(*, pause: float = 0.0, size: int = 65_536) -> Iterator[str]:
    """Serve an answer that goes on until the client hangs up."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(pause):
                    self.wfile.write(f"{size:x}\r\n".encode() + b" " * size + b"\r\n")
            self.close_connection = True

    with http_server(Handler) as address:
        yield address
        ended.set()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((302, {"Location": "http://[2J/"}, b""), "sent a redirect to an invalid address"),
        ((400, {}, b'{"detail": "one\\r\\nfake: ok"}'), "^one fake: ok$"),
    ],
)
def test_the_error_of_a_server_is_one_line(answer: Answer, message: str) -> None:
    with answering(answer) as address, pytest.raises(RefusedError, match=message):
        me(address)
