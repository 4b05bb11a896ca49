"""The API of the functions, as far as `da` uses it: a real HTTP server on loopback that can be told to misbehave.

It stands on the standard library and DuckDB alone, so that `da` is tested where only its own dependencies are.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb

TOKEN = "da_" + "t" * 43
_OPEN = {"/auth/bootstrap", "/api/health"}
ADMIN = {"user_id": "u1", "email": "ann@example.com", "name": "Ann", "role": "admin", "groups": ["finance"]}


@dataclass
class Fault:
    """What happens to the next requests of files: each is used up by one request.

    `status` answers with that status; `cut` sends so many bytes and breaks the connection; `flip` damages a byte.
    `before` is called before the answer, `midway` between the bytes of `cut` and the break.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: bool = False
    before: Callable[[], object] | None = None
    midway: Callable[[], object] | None = None


@dataclass
class FunctionsApi:
    """A bucket with tables, and the server in front of it."""

    folder: Path
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshot: int = 0
    tokens: dict[str, dict[str, Any]] = field(default_factory=lambda: {TOKEN: dict(ADMIN)})
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    peers: set[int] = field(default_factory=set)
    faults: deque[Fault] = field(default_factory=deque)
    api_faults: deque[Fault] = field(default_factory=deque)
    withheld: set[str] = field(default_factory=set)
    ranged: bool = True
    signature: int = 0
    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, table_id: str, *selects: str, **more: Any) -> dict[str, Any]:
        """Publish a table whose files hold the rows of these SELECTs; every call is a new snapshot."""
        files = [self._file(table_id, select) for select in selects]
        described = duckdb.execute(f"describe {selects[0]}").fetchall() if selects else []
        return self.declare(
            table_id,
            files=files,
            columns=[{"name": name, "type": kind, "description": None} for name, kind, *_ in described],
            rows=sum(file["rows"] for file in files),
            **more,
        )

    def put_bytes(self, table_id: str, *contents: bytes) -> dict[str, Any]:
        """Publish a table of files that are no parquet at all."""
        return self.declare(table_id, files=[self._store(table_id, content, rows=1) for content in contents])

    def declare(self, table_id: str, **entry: Any) -> dict[str, Any]:
        """Publish a table as the manifest is to have it."""
        files = entry.setdefault("files", [])
        defaults = {
            "view": table_id.partition(".")[2],
            "description": None,
            "query_mode": "local",
            "server_only": False,
            "hash": hashlib.sha256("".join(file["sha256"] for file in files).encode()).hexdigest(),
            "rows": None,
            "size_bytes": sum(file["size_bytes"] for file in files),
            "updated": "2026-01-02T03:04:05Z",
            "columns": [],
        }
        self.tables[table_id] = {**defaults, **entry}
        self.snapshot += 1
        return self.tables[table_id]

    def withdraw(self, table_id: str) -> None:
        """Take a table away."""
        del self.tables[table_id]
        self.snapshot += 1

    def count(self, prefix: str) -> int:
        """Count the requests whose path starts with this."""
        return sum(path.startswith(prefix) for _, path in self.requests)

    def counts(self) -> Counter[str]:
        """Count all requests by method and path."""
        return Counter(f"{method} {path.partition('?')[0]}" for method, path in self.requests)

    def forget(self) -> None:
        """Begin to count anew."""
        self.requests.clear()
        self.bodies.clear()
        self.ranges.clear()

    def _file(self, table_id: str, select: str) -> dict[str, Any]:
        scratch = self.folder / "scratch.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"copy ({select}) to '{scratch}' (format parquet)")
            (rows,) = connection.execute(f"select count(*) from ({select})").fetchone() or (0,)
        return self._store(table_id, scratch.read_bytes(), rows=rows)

    def _store(self, table_id: str, content: bytes, *, rows: int) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"extracts/{table_id.replace('.', '/data/')}/{sha256[:32]}.parquet"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return {"path": path, "sha256": sha256, "size_bytes": len(content), "rows": rows, "partition": None}

    def manifest(self) -> bytes:
        return json.dumps({"snapshot": self.snapshot, "tables": self.tables}, sort_keys=True).encode()

    def sign(self, wanted: dict[str, list[str] | None]) -> tuple[dict[str, str], list[str]]:
        urls: dict[str, str] = {}
        missing: list[str] = []
        for table_id, paths in wanted.items():
            if table_id not in self.tables or table_id in self.withheld:
                missing.append(table_id)
                continue
            for path in paths or [file["path"] for file in self.tables[table_id]["files"]]:
                if (self.folder / path).exists():
                    urls[path] = f"{self.address}/files/{path}?signature={self.signature}"
                else:
                    missing.append(path)
        return urls, missing


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FunctionsApi

    def log_message(self, *_: object) -> None:
        """Say nothing."""

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
        elif path == "/api/sync/manifest":
            self._manifest()
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

    def _manifest(self) -> None:
        body = self.api.manifest()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
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
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[FunctionsApi]:
    """Serve a bucket in `folder` while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    api = FunctionsApi(folder)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    api.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    import sys

    with running(Path(sys.argv[1])) as demo:
        demo.put("shop.orders", "select i as id, i * 1.5 as total from range(100000) t(i)", description="Orders")
        demo.put("shop.customers", "select i as id, 'name ' || i as name from range(1000) t(i)")
        demo.declare("events.clicks", query_mode="remote", rows=10**9, columns=[{"name": "at", "type": "TIMESTAMP"}])
        print(demo.address, TOKEN, os.getpid(), flush=True)
        threading.Event().wait()
