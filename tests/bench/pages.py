"""Pages of an installation with 10,000 tables, 100 sources, 1,000 runs and 500 people: processor time, and bytes of a first visit."""

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection
from werkzeug.test import Client

from analyst import runs
from analyst.access import Role
from analyst.auth import sessions
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
from analyst.pages import script
from analyst.scheduling import ledger
from analyst.scheduling.ledger import Attempt
from analyst.state import Actor, State
from analyst.state.grants import NewPermission, create_permission
from analyst.state.registry import NewTable, register_discovered
from analyst.state.sources import NewSource, create_source
from analyst.state.users import NewUser, create_user
from analyst.store.folder.store import FileStore
from tests.bench.buckets import NOW, extract, file_store, rebuild, tables
from tests.bench.measurement import Row, at_most

SOURCES, TABLES, RUNS, PEOPLE, TIMES = 100, 100, 1000, 500, 7
CATALOG, OTHERS, FIRST_LOAD = 100.0, 50.0, 120.0
EXAMPLES = {
    "/": ("/",),
    "/admin/access": ("/admin/access", "/admin/access?table=source_07.source_07_05"),
    "/admin/people/{id}": ("/admin/people/{person}",),
    "/admin/runs/{id}": ("/admin/runs/{run}",),
    "/admin/schedule": ("/admin/schedule", "/admin/schedule?q=source_07&state=due"),
    "/admin/sources/{name}": ("/admin/sources/source_07",),
    "/admin/tables": ("/admin/tables", "/admin/tables?q=source_07", "/admin/tables?page=90"),
    "/admin/tables/{source}/{name}": ("/admin/tables/source_07/source_07_05",),
    "/catalog": (
        "/catalog",
        "/catalog?q=source_07",
        "/catalog?q=note&source=source_07",
        "/catalog?page=150",
    ),
    "/glossary/{name}": (),  # no term, metric, shared query or link is there
    "/metrics/{name}": (),
    "/query": ("/query", "/query?table=source_07.source_07_05"),
    "/query/shared/{id}": (),
    "/tables/{source}/{name}": (
        "/tables/source_05/source_05_05",
        "/tables/source_07/source_07_05",
        "/tables/source_07/none",
    ),
    "/auth/desktop": (),
    "/auth/email/confirm": (),
    "/auth/password/set": (),
    "/auth/google": (),
    "/auth/google/callback": (),
    "/oauth/authorize": (),
}
"""Addresses of pages whose route has parts or a query; the others are their own. Those of signing in depend on no table."""


def addresses() -> list[str]:
    """Return the addresses of all pages that answer GET, from the routes."""
    functions = discover(["functions"])
    found = sorted(spec.path.text for each in functions if (spec := each.function).method == "GET" and spec.is_page)
    return [address for path in found for address in EXAMPLES.get(path, (path,))]


def measure() -> list[Row]:
    """Open the pages as an administrator, who sees all tables, and those of analysts as one who may read half of them."""
    with tempfile.TemporaryDirectory() as folder:
        process = _filled(Path(folder))
        client = Client(app(process, discover(["functions"])))
        people = {user.email: id_ for id_, user in process.access.refresh().users.items()}
        (newest,) = runs.newest(process.store, today=process.clock().date(), limit=1)
        rows = []
        for email in ("admin@example.com", "analyst@example.com"):
            _sign_in(client, process, email)
            for address in addresses():
                if email.startswith("admin") or not address.startswith("/admin"):
                    path = address.format(person=people["person-007@example.com"], run=newest.run_id)
                    rows += _page(client, path, email.partition("@")[0])
        process.close()
    return rows


def _page(client: Client, path: str, who: str) -> list[Row]:
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
    times, sent = [], 0
    for _ in range(TIMES):
        began = time.thread_time()
        answer = client.get(path, headers=headers, buffered=True)
        times.append(time.thread_time() - began)
        sent = len(answer.data)
    bound = CATALOG if path.startswith("/catalog") else OTHERS
    loaded = (sent + len(script().gzipped)) / 1e3
    what = f"page {path} of 10,000 tables, {who}"
    return [
        at_most(
            f"{what}: processor time", statistics.median(times) * 1000, "ms", bound, f"first {times[0] * 1000:.0f} ms"
        ),
        at_most(f"{what}: first load", loaded, "kB", FIRST_LOAD),
    ]


def _filled(home: Path) -> Process:
    store = file_store(home / "bucket")
    by_source = {name: tables(name, TABLES) for name in (f"source_{number:02}" for number in range(SOURCES))}
    for source, names in by_source.items():
        extract(store, source, names)
    rebuild(store)
    _registered(store, by_source)
    environ = {"DATA_URL": f"file://{home / 'bucket'}", "BASE_URL": "http://localhost", "SECRET_KEY": "s" * 40}
    process = Process({**environ, "BOOTSTRAP_SECRET": "b" * 40}, store=store)
    person = {"email": "admin@example.com", "secret": "b" * 40}
    made = Client(app(process, discover(["functions"]))).post("/auth/bootstrap", json=person)
    if made.status_code >= 300:
        raise RuntimeError(made.text)
    _ran(process, by_source)
    return process


def _ran(process: Process, by_source: dict[str, list[str]]) -> None:
    """Record runs of all tables in the last days, and their attempts in the ledger of the scheduler; some have failed."""
    now, store = process.clock(), process.store
    for number in range(RUNS):
        at = now - timedelta(minutes=5 * number)
        source = f"source_{number % SOURCES:02}"
        read = tuple(
            runs.TableResult(table=name, status="failed" if name.endswith("_99") else "ok", error=None)
            for name in by_source[source]
        )
        record = runs.RunRecord(
            run_id=runs.new_run_id(at),
            kind="extract",
            source=source,
            status="partial",
            started_at=at,
            finished_at=at + timedelta(seconds=20),
            tables=read,
        )
        runs.write(store, record)
    tables = {
        each.uuid: Attempt(at=now, failures=3, error="it can't be read") if id_.endswith("_99") else Attempt(at=now)
        for id_, each in process.access.refresh().tables.items()
    }
    sources = {name: Attempt(at=now) for name in by_source}
    ledger.edit(store, lambda before: (before.model_copy(update={"tables": tables, "sources": sources}), None))


def _registered(store: FileStore, by_source: dict[str, list[str]]) -> None:
    """Register the tables, and make an analyst who is granted every fourth source; as many are public."""
    actor = Actor("benchmark", NOW, "benchmark")

    def change(db: DuckDBPyConnection) -> None:
        user = create_user(db, actor, NewUser(email="analyst@example.com", role=Role.ANALYST))
        for number in range(PEOPLE):
            create_user(db, actor, NewUser(email=f"person-{number:03}@example.com", role=Role.ANALYST))
        for number, (source, names) in enumerate(by_source.items()):
            create_source(db, actor, NewSource(name=source, type="csv", config={"path": "/nowhere"}), SOURCE_TYPES)
            found = [NewTable(id=f"{source}.{name}") for name in names]
            register_discovered(db, actor, source, found, public=number % 4 == 0)
            if number % 4 == 1:
                create_permission(db, actor, NewPermission(user=user.id, source=source))

    State(store, lambda: datetime.now(UTC)).edit(change)


def _sign_in(client: Client, process: Process, email: str) -> None:
    user = next(id_ for id_, user in process.access.refresh().users.items() if user.email == email)
    now = process.clock()
    token = sessions.for_browser(process.keys, sessions.begin(user, now), now)
    client.set_cookie("da_session", token)


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:<90} {row.value:>9.1f} {row.unit} {'' if row.ok else 'MISSED'}  {row.peer}")
