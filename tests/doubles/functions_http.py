"""The HTTP side of the double of the functions."""

import contextlib
import gzip
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles.functions_api import ADMIN, TOKEN, Fault, FunctionsApi

_OPEN = {"/auth/bootstrap", "/api/health"}


def handler(api: FunctionsApi) -> type[BaseHTTPRequestHandler]:
    """Make the class that answers for a bucket."""
    return type("Handler", (_Handler,), {"api": api})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FunctionsApi

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        api, parts = self.api, urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        with api.lock:
            api.requests.append((self.command, self.path))
            api.peers.add(self.client_address[1])
            if body is not None:
                api.bodies.append(body)
            faults = api.faults if parts.path.startswith("/files/") else api.api_faults
            fault = faults.popleft() if faults else None
        if fault and fault.before:
            fault.before()
        if fault and fault.status:
            self._problem(fault.status, "told to fail", headers=fault.headers)
        elif parts.path.startswith("/files/"):
            self._file(unquote(parts.path.removeprefix("/files/")), parse_qs(parts.query), fault or Fault())
        elif fault and fault.cut is not None:
            self._break()
        else:
            self._api(parts.path, body)

    def _api(self, path: str, body: Any) -> None:
        caller = self.api.tokens.get(self.headers.get("authorization", "").removeprefix("Bearer "))
        prepared = self.api.answers.get((self.command, path))
        if path in _OPEN and prepared:
            self._json(*prepared[0])
        elif path == "/auth/bootstrap":
            self._bootstrap(body)
        elif path == "/api/health":
            self._json(200, {"status": "ok", "version": "0", "snapshot": None})
        elif caller is None:
            self._problem(401, "the token is not known, or has expired")
        elif prepared:
            self._json(*(prepared.pop(0) if len(prepared) > 1 else prepared[0]))
        elif path == "/api/me":
            self._json(
                200,
                {**caller, "service": False, "token": {"id": "t1", "name": "x", "expires_at": "2027-01-01T00:00:00Z"}},
            )
        elif path == "/api/sync/manifest" or (path == "/api/sync/sources" and self.api.lists_sources):
            sources = parse_qs(urlsplit(self.path).query).get("sources", [""])[0]
            body = self.api.manifest(sources) if path.endswith("manifest") else self.api.listed()
            # A list of sources has the ETag of the whole manifest.
            listed = {**json.loads(body), "tables": None} if self.api.lists_sources else body.decode()
            self._encoded(body, hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16])
        elif path == "/api/data/urls":
            urls, missing = self.api.sign(body["files"])
            if urls:
                self._json(200, {"snapshot": self.api.snapshot, "expires_in": 900, "urls": urls, "missing": missing})
            else:
                self._problem(404, "nothing of this is to be had")
        else:
            self._problem(404, f"no such path: {path}")

    def _bootstrap(self, body: Any) -> None:
        if body["secret"] != "s" * 32:
            self._problem(403, "the bootstrap secret is wrong")
        else:
            self._json(201, {"token": TOKEN, "token_id": "t1", "user": dict(ADMIN)})

    def _encoded(self, body: bytes, digest: str) -> None:
        etag = f'"{digest}"'
        if self.headers.get("if-none-match") == etag:
            self._send(304, b"", {"ETag": etag})
        elif "gzip" in self.headers.get("accept-encoding", ""):
            self._send(200, gzip.compress(body), {"ETag": etag, "Content-Encoding": "gzip"})
        else:
            self._send(200, body, {"ETag": etag})

    def _file(self, path: str, query: dict[str, list[str]], fault: Fault) -> None:
        if "authorization" in self.headers:
            self._problem(400, "a signed URL wants no token")
            return
        if query.get("signature") != [str(self.api.signature)]:
            self._problem(403, "the signature has expired")
            return
        content = (self.api.folder / path).read_bytes()
        asked = self.headers.get("range", "")
        with self.api.lock:
            self.api.ranges.append(asked)
        status, headers, start = 200, {"Accept-Ranges": "bytes"}, 0
        if self.api.ranged and (match := re.fullmatch(r"bytes=(\d+)-(\d+)", asked)):
            start, end = int(match[1]), int(match[2])
            if start >= len(content):
                self._problem(416, "beyond the end")
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{min(end, len(content) - 1)}/{len(content)}"
            content = content[start : end + 1]
        if fault.flip:
            content = bytes([content[0] ^ 1]) + content[1:]
        self._send(status, content, headers, fault)

    def _json(self, status: int, document: Any) -> None:
        self._send(
            status, b"" if document is None else json.dumps(document).encode(), {"Content-Type": "application/json"}
        )

    def _problem(self, status: int, detail: str, *, headers: dict[str, str] | None = None) -> None:
        problem = json.dumps({"title": "Problem", "status": status, "detail": detail, "code": "told"}).encode()
        self._send(status, problem, {"Content-Type": "application/problem+json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        self.send_response(status)
        version = {"X-Server-Version": self.api.version} if self.api.version else {}
        for name, value in {**version, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault is None or fault.cut is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.cut])
        self.wfile.flush()
        if fault.midway:
            fault.midway()
        self._break()

    def _break(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)
        self.close_connection = True
