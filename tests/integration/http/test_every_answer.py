"""Every answer has the same headers, a request id and a line in the log, whoever made it: function, framework or server."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clouds import Cloud
from tests.integration.http.test_framework import tell
from tests.processes import ROOT, Host, host

END = b"Host: a\r\nConnection: close\r\nX-Request-Id: %s\r\n\r\n"
CHUNKED = b"POST /auth/bootstrap HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Request-Id: %s\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """What is sent, `%s` is the request id if the server can read one, and the status it is answered with."""

    status: int
    data: bytes


CASES = {
    "a function": Case(200, b"GET /api/health HTTP/1.1\r\n" + END),
    "a head": Case(200, b"HEAD /api/health HTTP/1.1\r\n" + END),
    "a page": Case(200, b"GET /login HTTP/1.1\r\n" + END),
    "a redirect": Case(303, b"GET /account HTTP/1.1\r\n" + END),
    "the docs": Case(200, b"GET /docs HTTP/1.1\r\n" + END),
    "the description": Case(200, b"GET /openapi.json HTTP/1.1\r\n" + END),
    "nothing there": Case(404, b"GET /nowhere HTTP/1.1\r\n" + END),
    "the root": Case(303, b"GET / HTTP/1.1\r\n" + END),
    "robots": Case(404, b"GET /robots.txt HTTP/1.1\r\n" + END),
    "an icon": Case(404, b"GET /favicon.ico HTTP/1.1\r\n" + END),
    "an icon that is posted": Case(404, b"POST /favicon.ico HTTP/1.1\r\n" + END),
    "no path": Case(303, b"GET ? HTTP/1.1\r\n" + END),
    "options": Case(405, b"OPTIONS /api/health HTTP/1.1\r\n" + END),
    "options of the server": Case(404, b"OPTIONS * HTTP/1.1\r\n" + END),
    "an unknown method": Case(405, b"BREW /api/health HTTP/1.1\r\n" + END),
    "nobody": Case(401, b"GET /api/me HTTP/1.1\r\n" + END),
    "another type": Case(415, b"POST /auth/bootstrap HTTP/1.1\r\nContent-Length: 2\r\n" + END + b"{}"),
    "a large body": Case(413, b"POST /auth/bootstrap HTTP/1.1\r\nContent-Length: 99999999\r\n" + END),
    "a large chunk": Case(413, CHUNKED + b"200000\r\n" + b"x" * 0x200000 + b"\r\n0\r\n\r\n"),
    "a broken chunk": Case(400, CHUNKED + b"ZZ\r\n"),
    "an endless chunk line": Case(400, CHUNKED + b"0" * 5000),
    "a broken request line": Case(400, b"nonsense\r\n\r\n"),
    "an invalid address": Case(400, b"GET http://[::1/ HTTP/1.1\r\n" + END),
    "two spaces": Case(400, b"GET  /  HTTP/1.1\r\n\r\n"),
    "a lower-case method": Case(400, b"get /api/health HTTP/1.1\r\n\r\n"),
    "TLS": Case(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "a header without a name": Case(400, b"GET /api/health HTTP/1.1\r\n: x\r\n\r\n"),
    "a header of two lines": Case(400, b"GET /api/health HTTP/1.1\r\nA: b\rC: d\r\n\r\n"),
    "a length that is no number": Case(400, b"POST /auth/bootstrap HTTP/1.1\r\nContent-Length: two\r\n" + END),
    "two lengths": Case(400, b"POST /x HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n" + END + b"{} "),
    "another encoding": Case(501, b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + END),
    "large headers": Case(431, b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000 + b"\r\n\r\n"),
    "a long path": Case(431, b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n"),
    "a body that breaks off": Case(400, b"POST /auth/bootstrap HTTP/1.1\r\nContent-Length: 50\r\n" + END + b"{"),
    "a header that breaks off": Case(400, b"GET /api/health HTTP/1.1\r\nHost: a\r\n"),
}


@pytest.fixture(scope="module")
def server(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path]]:
    home = tmp_path_factory.mktemp("host")
    with host(home, shared_cloud, fork=True) as running:
        yield running, home / "host.log"


@pytest.mark.parametrize("name", CASES)
def test_every_answer_has_the_headers_and_a_line_in_the_log(server: tuple[Host, Path], name: str) -> None:
    running, log = server
    case = CASES[name]
    request_id = b"case-" + name.replace(" ", "-").encode()
    data = case.data.replace(b"%s", request_id)
    head, _, body = tell(running, data, and_stop=True).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:])}
    assert int(lines[0].split()[1]) == case.status
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert headers["cache-control"]
    assert "server" not in headers
    found = headers["x-request-id"]
    assert found == request_id.decode() or b"%s" not in case.data or case.status in {400, 501}
    if case.status >= 400 and not name.startswith("a page"):
        assert headers["content-type"] in {"application/problem+json", "text/html; charset=utf-8"}
        assert json.loads(body)["status"] == case.status
    logged = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    is_hidden = name in {"the docs", "the description"}
    assert [line["status"] for line in logged if line.get("request_id") == found] == (
        [] if is_hidden else [case.status]
    )


def test_the_docs_show_their_own_style_and_nothing_else(server: tuple[Host, Path]) -> None:
    head, _, page = tell(server[0], CASES["the docs"].data).partition(b"\r\n\r\n")
    [style] = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest())
    assert b"style-src 'sha256-" + digest + b"'" in head
    page = re.sub(rb'<(?:img|link)[^>]*"data:image/[^"]+"[^>]*>', b"", page)  # the logo, which is in the page itself
    assert not re.search(rb"<script|<img|<link|<iframe|\son\w+=|\sstyle=|javascript:", page)


def test_a_function_deployed_alone_answers_in_the_same_way(tmp_path: Path, cloud: Cloud) -> None:
    source = str(ROOT / "functions/api/catalog.py")
    with host(tmp_path, cloud, FUNCTION_SOURCE=source, FUNCTION_TARGET="list_tables") as running:
        for path in (b"/robots.txt", b"/favicon.ico", b"/nowhere", b"/api/health"):
            answer = tell(running, b"GET " + path + b" HTTP/1.1\r\n" + END)
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"application/problem+json" in answer
        assert tell(running, b"GET /api/catalog/tables HTTP/1.1\r\n" + END).startswith(b"HTTP/1.1 401 ")
