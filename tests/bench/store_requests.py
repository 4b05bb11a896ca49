"""How many requests of a cloud's object store things take, and how long that is at 20 ms each."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from werkzeug.test import Client

from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
from analyst.store.gcs.store import GsStore
from tests.background_work import settle
from tests.bench.measurement import Row, at_most
from tests.doubles.gcs import Gcs, running

LATENCY = 0.02
KINDS = ("insert", "list", "get", "media", "delete")
SOURCES = 20
SECRET = "secret-" + "0" * 32


def measure() -> list[Row]:
    """Count the requests of a double of Google Cloud Storage."""
    with running(Gcs()) as gcs, gcs.client() as client, tempfile.TemporaryDirectory() as folder:
        bucket = Bucket(gcs, GsStore("bucket", "", client), Path(folder))
        bucket.fill()
        gcs.latency = dict.fromkeys(KINDS, LATENCY)
        return [
            bucket.row("manifest when nothing has changed, in a process that runs", bucket.unchanged_manifest(), 3),
            bucket.row("list of tables, first request of a process", bucket.first("/api/catalog/tables"), 3),
            bucket.row("manifest, first request of a process", bucket.first("/api/sync/manifest"), 4),
            bucket.row("extract of an unchanged source", bucket.unchanged_extract(), 3),
            bucket.row(f"rebuild of {SOURCES} sources, nothing changed", bucket.unchanged_rebuild(), 3),
            bucket.row(f"rebuild of {SOURCES} sources of which one has changed", bucket.rebuild(), SOURCES + 8),
        ]


class Bucket:
    """All functions on a bucket in the cloud, with sources of one table each."""

    def __init__(self, gcs: Gcs, store: GsStore, folder: Path) -> None:
        self._gcs, self._store, self._folder = gcs, store, folder
        self._token = SECRET
        self._client = self._open()

    def fill(self) -> None:
        """Make an administrator, sources, and a snapshot."""
        person = {"email": "admin@example.com", "secret": SECRET}
        self._token = self._ask("POST", "/auth/bootstrap", person)["token"]
        for number in range(SOURCES):
            self._write(number, "a\n1\n")
            config = {"path": str(self._folder / f"s{number}")}
            self._ask("POST", f"/api/admin/sources/s{number}", {"type": "csv", "config": config})
            self._ask("POST", "/extract/csv", {"source": f"s{number}"})

    def unchanged_manifest(self) -> Callable[[], object]:
        """Ask for the manifest as `da sync` does when nothing has changed."""
        etag = self._send("GET", "/api/sync/manifest").headers["ETag"]
        return lambda: self._send("GET", "/api/sync/manifest", headers={"If-None-Match": etag})

    def first(self, path: str) -> Callable[[], object]:
        """Ask a process that knows nothing yet."""
        self._client = self._open()
        return lambda: self._ask("GET", path)

    def unchanged_extract(self) -> Callable[[], object]:
        """Extract a source whose files are as they were; the audit has the first such extract of each hour."""
        self._ask("POST", "/extract/csv", {"source": "s0"})
        return lambda: self._ask("POST", "/extract/csv", {"source": "s0"})

    def unchanged_rebuild(self) -> Callable[[], object]:
        """Rebuild when no source has published anything."""
        self._ask("POST", "/rebuild", {})
        return lambda: self._ask("POST", "/rebuild", {})

    def rebuild(self) -> Callable[[], object]:
        """Rebuild when one source has published by itself."""
        from analyst.contract.extraction import Extraction
        from analyst.runs import new_run_id
        from tests.doubles.toy_source import Toy, ToyTable

        toy = Toy({"a": ToyTable("select 2 as a", "2")})
        clock = Process().clock
        Extraction(self._store, "s1", new_run_id(), clock, "300MB", self._folder / "scratch").run(lambda: toy)
        return lambda: self._ask("POST", "/rebuild", {})

    def row(self, what: str, work: Callable[[], object], bound: int) -> Row:
        """Do something, and tell how many requests it took, without those of what earlier answers left to do."""
        settle(self._process)
        self._process.last_uses.write()
        self._gcs.counts.clear()
        began = time.perf_counter()
        work()
        taken = time.perf_counter() - began
        counted = dict(sorted(self._gcs.counts.items()))
        kinds = ", ".join(f"{count} {kind}" for kind, count in counted.items())
        return at_most(f"store requests: {what}", sum(counted.values()), "requests", bound, f"{kinds}; {taken:.2f} s")

    def _open(self) -> Client:
        environ = {"DATA_URL": "gs://bucket", "SOURCE_ROOTS": str(self._folder), "BOOTSTRAP_SECRET": SECRET}
        self._process = Process(environ, store=self._store)
        return Client(app(self._process, discover(["functions"])))

    def _write(self, number: int, text: str) -> None:
        home = self._folder / f"s{number}"
        home.mkdir(exist_ok=True)
        (home / "a.csv").write_text(text)

    def _send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        sent = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        return self._client.open(path, method=method, json=body, headers=sent)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._send(method, path, body)
        if answer.status_code >= 300:
            raise RuntimeError(f"{path}: {answer.text}")
        return answer.get_json()
