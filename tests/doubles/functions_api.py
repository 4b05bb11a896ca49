"""The API of the functions, as far as `da` uses it: a real HTTP server on loopback that can be told to misbehave.

It stands on the standard library and DuckDB alone, so that `da` is tested where only its own dependencies are. What it
holds stands here; what it says, in `functions_http`. `python -m tests.doubles.functions_api <folder>` serves three tables.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from tests.doubles.loopback import http_server

TOKEN = "da_" + "t" * 43
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
    version: str = ""
    lists_sources: bool = False
    """Whether the server gives the manifest of each source an ETag; older ones don't."""
    after_list: Callable[[], object] = lambda: None
    before_changes: Callable[[], object] = lambda: None
    """Called before the manifest of some sources is sent."""
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
        """Begin to count again."""
        self.requests.clear()
        self.bodies.clear()
        self.ranges.clear()

    def _file(self, table_id: str, select: str) -> dict[str, Any]:
        scratch = self.folder / "scratch.parquet"
        duckdb.execute(f"copy ({select}) to '{scratch}' (format parquet)")  # another instance takes 13 ms to start
        (rows,) = duckdb.execute(f"select count(*) from ({select})").fetchone() or (0,)
        return self._store(table_id, scratch.read_bytes(), rows=rows)

    def _store(self, table_id: str, content: bytes, *, rows: int) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"extracts/{table_id.replace('.', '/data/')}/{sha256[:32]}.parquet"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return {"path": path, "sha256": sha256, "size_bytes": len(content), "rows": rows, "partition": None}

    def manifest(self, sources: str = "") -> bytes:
        """The manifest, of all tables or of those of some sources."""
        if sources:
            self.before_changes()
        chosen = {
            name: table for name, table in self.tables.items() if not sources or _source(name) in sources.split(",")
        }
        document: dict[str, Any] = {"snapshot": self.snapshot, "tables": chosen}
        if self.lists_sources:
            document["sources"] = self._etags(chosen)
        return json.dumps(document, sort_keys=True).encode()

    def listed(self) -> bytes:
        """The list of sources with their ETags; the requests for their manifests come later."""
        listed = json.dumps({"snapshot": self.snapshot, "sources": self._etags(self.tables)}, sort_keys=True).encode()
        self.after_list()
        return listed

    def _etags(self, tables: dict[str, dict[str, Any]]) -> dict[str, str]:
        by_source: dict[str, dict[str, Any]] = {}
        for name, table in tables.items():
            by_source.setdefault(_source(name), {})[name] = table
        return {
            source: hashlib.sha256(json.dumps(theirs, sort_keys=True).encode()).hexdigest()[:32]
            for source, theirs in by_source.items()
        }

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


def _source(table_id: str) -> str:
    return table_id.partition(".")[0]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[FunctionsApi]:
    """Serve a bucket in `folder` while the block runs."""
    from tests.doubles.functions_http import handler

    folder.mkdir(parents=True, exist_ok=True)
    api = FunctionsApi(folder)
    with http_server(handler(api)) as api.address:
        yield api


if __name__ == "__main__":
    import sys

    with running(Path(sys.argv[1])) as demo:
        demo.put("shop.orders", "select i as id, i * 1.5 as total from range(100000) t(i)", description="Orders")
        demo.put("shop.customers", "select i as id, 'name ' || i as name from range(1000) t(i)")
        demo.declare("events.clicks", query_mode="remote", rows=10**9, columns=[{"name": "at", "type": "TIMESTAMP"}])
        print(demo.address, TOKEN, os.getpid(), flush=True)
        threading.Event().wait()
