"""Buckets full of tables, made without their parquet where nobody reads it."""

import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from analyst import duckdb_files
from analyst.access import Caller, Role
from analyst.catalog import Column
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.contract import publishing
from analyst.contract.model import FileRow, TableState, extract_key
from analyst.contract.publishing import NewTable, Uploads
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.state import Actor, State
from analyst.state.grants import NewPermission, create_permission
from analyst.state.registry import NewTable as Registration
from analyst.state.registry import register
from analyst.state.sources import NewSource, create_source
from analyst.state.tokens import NewToken, create_token
from analyst.state.users import NewUser, create_user
from analyst.store import ANY, Store
from analyst.store.folder.store import FileStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = tuple(
    Column(name=name, type=kind, description="as the source has it")
    for name, kind in {
        "id": "BIGINT",
        "customer_id": "VARCHAR",
        "created_at": "TIMESTAMP",
        "status": "VARCHAR",
        "total": "DECIMAL(12,2)",
        "note": "VARCHAR",
    }.items()
)
_STATS = json.dumps({"columns": {column.name: {"type": column.type, "nulls": 0} for column in COLUMNS}})


def file_store(bucket: Path) -> FileStore:
    """Open a bucket in a folder."""
    return FileStore(bucket, lambda: b"benchmark" * 4)


def rebuild(store: Store) -> RebuildAnswer:
    """Publish a snapshot of what the sources have."""
    return Rebuild(store, lambda: NOW, tuple).run()


def tables(source: str, count: int) -> list[str]:
    """Name the tables of a source; no two sources have one of the same name."""
    return [f"{source}_{number:02}" for number in range(count)]


def extract(store: Store, source: str, names: list[str], content: bytes | None = None) -> bytes:
    """Publish tables of a source, of one parquet file of this `content` each or without it; return the extract.duckdb."""
    with tempfile.TemporaryDirectory() as folder:
        uploads = Uploads(store, source, lambda: "none")
        new = [_table(source, name, content) for name in names]
        for table in new if content else ():
            store.put(str(table.files[0].path), content or b"", if_version=ANY)
        publishing.publish(
            store, source, new, [], run_id=source, uploads=uploads, now=lambda: NOW, folder=Path(folder), check=None
        )
    found = store.read(extract_key(source))
    assert found is not None
    return found.data


def with_other_content(extract: bytes) -> bytes:
    """Change an extract.duckdb as if each of its tables had other rows."""
    with tempfile.TemporaryDirectory() as folder, duckdb_files.connect(threads=1) as con:
        path = Path(folder) / "extract.duckdb"
        path.write_bytes(extract)
        duckdb_files.attach(con, path, "extract", what="extract", writable=True)
        con.execute("update extract._files set rows = rows + 1, sha256 = sha256(sha256)")
        con.execute("update extract._meta set rows = rows + 1")
        con.execute("update extract._state set version = version + 1")
        duckdb_files.detach(con, "extract")
        return path.read_bytes()


def put_extract(store: Store, source: str, content: bytes) -> None:
    """Replace a source's extract.duckdb."""
    store.put(extract_key(source), content, if_version=ANY)


def _table(source: str, name: str, content: bytes | None) -> NewTable:
    sha256 = hashlib.sha256(content or f"{source}.{name}".encode()).hexdigest()
    size = len(content) if content else 90_000
    file = FileRow(f"extracts/{source}/data/{name}/{sha256[:32]}.parquet", None, 1000, size, sha256, _STATS)
    return NewTable(name, f"Table {name} of {source}", COLUMNS, (file,), "1", None, TableState(), NOW)


def analyst_with_half_granted(store: Store, by_source: dict[str, list[str]]) -> str:
    """Register the tables; make an analyst who is granted every second one by itself, the rest being public.

    Returns a token of theirs.
    """
    actor = Actor("benchmark", NOW, "benchmark")

    def change(db: DuckDBPyConnection) -> str:
        user = create_user(db, actor, NewUser(email="analyst@example.com", role=Role.ANALYST))
        for source, names in by_source.items():
            create_source(db, actor, NewSource(name=source, type="csv", config={"path": "/nowhere"}), SOURCE_TYPES)
            for number, name in enumerate(names):
                new = Registration(id=f"{source}.{name}", is_public=number % 2 == 0)
                register(db, actor, new, SOURCE_TYPES, public=False)
                if number % 2:
                    create_permission(db, actor, NewPermission(user=user.id, table=new.id))
        caller = Caller(user.id, user.email, Role.ANALYST, frozenset())
        return create_token(db, actor, caller, NewToken(name="benchmark", expires_in_days=3650)).token

    return State(store, lambda: datetime.now(UTC)).edit(change)
