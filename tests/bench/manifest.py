"""The manifest of an analyst, asked for over one connection of one worker."""

import http.client
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from analyst.access import AccessList, Caller, Role
from analyst.catalog import Table
from analyst.descriptions import Texts
from analyst.manifest import Manifests
from analyst.snapshots import Snapshot, Snapshots
from tests.bench.buckets import analyst_with_half_granted, extract, file_store, rebuild, tables
from tests.bench.measurement import ROOT, Row, at_most
from tests.processes import host

SOURCES, TABLES = 50, 20
TIMES = 300


def measure() -> list[Row]:
    """Ask for a manifest of 1,000 tables, half of which are granted one by one."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        token = _fill(home / "bucket")
        with host(home, FUNCTION_SOURCE=str(ROOT / "functions/api/manifest.py"), FUNCTION_TARGET="manifest") as server:
            whole, size = _ask(server.url, token, etag=False)
            unchanged, _ = _ask(server.url, token, etag=True)
    return [
        *_one_source(),
        at_most("manifest of 1,000 tables, p50", whole, "ms", 8, f"{size / 1e3:.0f} kB, gzipped"),
        at_most("manifest of 1,000 tables, nothing changed (304), p50", unchanged, "ms", 4),
    ]


def _one_source() -> list[Row]:
    """Make the manifest of one changed source of 100 with 100 tables each, and the list that names it."""
    with tempfile.TemporaryDirectory() as folder:
        store = file_store(Path(folder))
        extract(store, "shop", tables("shop", 100))
        rebuild(store)
        shop = Snapshots(store).current()
    copies = [table.model_copy(update={"source": f"s{n:02}"}) for n in range(100) for table in shop.catalog.tables]
    changed = [table.model_copy(update={"hash": "x"}) if table.source == "s50" else table for table in copies]
    first, second = (_snapshot(shop, number, made) for number, made in enumerate((copies, changed), 1))
    manifests, admin = Manifests(), Caller("admin", "admin@example.com", Role.ADMIN, frozenset())
    manifests.manifest(first, AccessList(), admin, Texts())
    began = time.process_time()
    made = manifests.manifest(second, AccessList(), admin, Texts())
    sent = len(made.listed.gzipped) + len(made.of(["s50"]).gzipped)
    taken = time.process_time() - began
    what = "manifest of 10,000 tables, one source of 100 changed"
    return [
        at_most(f"{what}: sent", sent / 1e3, "kB", 100, f"all: {len(made.whole.gzipped) / 1e3:.0f} kB"),
        at_most(f"{what}: processor time", taken * 1000, "ms", 100),
    ]


def _snapshot(like: Snapshot, number: int, listed: list[Table]) -> Snapshot:
    catalog = like.catalog.model_copy(update={"snapshot": number, "tables": tuple(listed)})
    return replace(like, number=number, catalog=catalog, by_id={table.id: table for table in listed})


def _fill(bucket: Path) -> str:
    store = file_store(bucket)
    by_source = {name: tables(name, TABLES) for name in (f"source_{number:02}" for number in range(SOURCES))}
    for source, names in by_source.items():
        extract(store, source, names)
    rebuild(store)
    return analyst_with_half_granted(store, by_source)


def _ask(url: str, token: str, *, etag: bool) -> tuple[float, int]:
    """Return the median in ms, and the bytes of an answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"}
    _, first, found = _once(connection, headers)
    _check(connection, token)
    if etag:
        headers["If-None-Match"] = found
    taken, sizes, _ = zip(*(_once(connection, headers) for _ in range(TIMES)), strict=True)
    return statistics.median(taken) * 1000, first if etag else sizes[0]


def _once(connection: http.client.HTTPConnection, headers: dict[str, str]) -> tuple[float, int, str]:
    began = time.perf_counter()
    connection.request("GET", "/api/sync/manifest", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    taken = time.perf_counter() - began
    if answer.status != (304 if "If-None-Match" in headers else 200):
        raise RuntimeError(f"{answer.status}: {body[:200]!r}")
    return taken, len(body), answer.headers["ETag"]


def _check(connection: http.client.HTTPConnection, token: str) -> None:
    connection.request("GET", "/api/sync/manifest", headers={"Authorization": f"Bearer {token}"})
    found = len(json.load(connection.getresponse())["tables"])
    if found != SOURCES * TABLES:
        raise RuntimeError(f"the manifest has {found} tables")
