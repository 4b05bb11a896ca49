"""Who may do what, at 10,000 users and 50,000 grants: what an authorized request, a cold start and a change cost."""

import http.client
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from duckdb import DuckDBPyConnection

from analyst.access import Caller, Role, Scope
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.state import Actor, State
from analyst.state.registry import NewTable as Registration
from analyst.state.registry import register
from analyst.state.sources import NewSource, create_source
from analyst.state.tokens import NewToken, create_token
from analyst.state.users import NewUser, create_user
from tests.bench.buckets import NOW, file_store
from tests.bench.measurement import ROOT, Row, at_most, cost, python
from tests.processes import Host, host

USERS, TABLES, GRANTS_EACH = 10_000, 1_000, 5
TIMES, CHANGES, STARTS = 500, 15, 5

_LOAD = """
import sys, time
from pathlib import Path
from analyst.access import AccessReader
from analyst.store.folder.store import FileStore
store = FileStore(Path(sys.argv[1]), lambda: b"benchmark" * 4)
began = time.perf_counter()
access = AccessReader(store, 5.0, time.monotonic).current()
taken = time.perf_counter() - began
assert len(access.users) > 10_000
print(taken, file=open(sys.argv[2], "a"))
"""


def measure() -> list[Row]:
    """Ask, load and change, with as many users and grants as a large company has."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        admin, analyst = _fill(home / "bucket")
        loaded = _load(home)
        with host(home) as server:
            first = _timed(server, "/api/me", analyst)
            anonymous, authorised = _beside_each_other(server, analyst)
            changed = statistics.median(_change(server, admin, number) for number in range(CHANGES))
    what = f"{USERS:,} users, {USERS * GRANTS_EACH:,} grants: "
    return [
        at_most(
            f"{what}authorized request beyond an anonymous one, p50",
            (authorised - anonymous) * 1000,
            "ms",
            2,
            f"anonymous: {anonymous * 1000:.2f} ms; the first of a process: {first * 1000:.0f} ms",
        ),
        at_most(f"{what}cold load of the access list, p50", loaded * 1000, "ms", 150),
        at_most(f"{what}an administrator's change, p50", changed * 1000, "ms", 150),
    ]


def _fill(bucket: Path) -> tuple[str, str]:
    """Make users with a grant on five tables each; give tokens of an administrator and of the last analyst."""
    actor = Actor("benchmark", NOW, "benchmark")
    users = f"select format('user-{{:05}}', i) as id, i from range({USERS}) t(i)"

    def change(db: DuckDBPyConnection) -> tuple[str, str]:
        admin = create_user(db, actor, NewUser(email="admin@example.com", role=Role.ADMIN))
        create_source(db, actor, NewSource(name="shop", type="csv", config={"path": "/nowhere"}), SOURCE_TYPES)
        register(db, actor, Registration(id="shop.first"), SOURCE_TYPES, public=False)
        db.execute(
            f"""
            insert into users by name select id, id || '@example.com' as email, 'analyst' as role from ({users});
            insert into table_registry by name
            select r.* replace (format('shop.table_{{:04}}', i) as id, format('table_{{:04}}', i) as name, uuid() as uuid)
            from table_registry r, range(1, {TABLES}) t(i);
            insert into grants by name
            select uuid() as id, u.id as user_id, r.uuid as table_uuid, {_literal(NOW)} as created_at
            from ({users}) u, (select uuid, row_number() over (order by id) - 1 as number from table_registry) r,
                range({GRANTS_EACH}) g(i)
            where r.number = (u.i * 7 + g.i * 191) % {TABLES};
            insert into tokens by name
            select uuid() as id, id as user_id, 'laptop' as name, sha256(id) as sha256, 'da_' as prefix,
                {_literal(NOW)} as created_at, timestamp '2099-01-01' as expires_at, '["read", "sync"]' as scopes
            from ({users})
            """
        )
        last = Caller(f"user-{USERS - 1:05}", f"user-{USERS - 1:05}@example.com", Role.ANALYST, frozenset())
        of_admin = Caller(admin.id, admin.email, Role.ADMIN, frozenset())
        of_both = (
            create_token(db, actor, caller, NewToken(name="benchmark", expires_in_days=3650, scopes=scopes)).token
            for caller, scopes in ((of_admin, (Scope.READ, Scope.ADMIN)), (last, (Scope.READ,)))
        )
        return next(of_both), next(of_both)

    return State(file_store(bucket), lambda: datetime.now(UTC)).edit(change)


def _literal(at: datetime) -> str:
    return f"timestamp '{at:%Y-%m-%d %H:%M:%S}'"


def _load(home: Path) -> float:
    """Return the median in seconds of loading the access list in a new process, its imports apart."""
    output = home / "loaded"
    for _ in range(STARTS):
        cost(python(_LOAD, home / "bucket", output), {"PYTHONPATH": f"{ROOT}/shared:{ROOT}"})
    return statistics.median(map(float, output.read_text().split()))


def _beside_each_other(server: Host, token: str) -> tuple[float, float]:
    """Return the medians in seconds of requests of nobody and of an analyst, made in turns over one connection."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    both = [(_ask(connection, "/auth/providers"), _ask(connection, "/api/me", token)) for _ in range(TIMES)]
    anonymous, authorised = zip(*both, strict=True)
    return statistics.median(anonymous), statistics.median(authorised)


def _timed(server: Host, path: str, token: str) -> float:
    return _ask(http.client.HTTPConnection(urlsplit(server.url).netloc), path, token)


def _ask(connection: http.client.HTTPConnection, path: str, token: str | None = None) -> float:
    began = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {body[:200]!r}")
    return time.perf_counter() - began


def _change(server: Host, admin: str, number: int) -> float:
    """Return the seconds that an administrator waits for a grant."""
    grant = {"user": f"user-{number:05}@example.com", "source": "shop"}
    began = time.perf_counter()
    status, answer = server.ask("POST", "/api/admin/permissions", grant, token=admin)
    if status != 201:
        raise RuntimeError(f"{status}: {answer}")
    return time.perf_counter() - began
