"""Tables in parquet files of a bucket, as a snapshot lists them, and an engine over them; without sources and syncs."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from analyst.access import AccessList, Caller, Role
from analyst.catalog import Catalog, Column, File, Table
from analyst.query.engine import Engine, Query, Reader
from analyst.query.file_cache import FileCache
from analyst.query.pool import Limits, Pool
from analyst.query.results import Results
from analyst.settings import read_settings
from analyst.snapshots import Snapshot
from analyst.store import Store
from analyst.store.factory import open_store

ADMIN = Caller("admin", "admin@example.com", Role.ADMIN)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def table_of(store: Store, table_id: str, path: Path) -> Table:
    """Upload a parquet file as the one file of a table."""
    source, name = table_id.split(".")
    key = f"extracts/{source}/data/{name}/{name}.parquet"
    store.upload(key, path)
    data = path.read_bytes()
    with duckdb.connect() as con:
        described = con.execute("describe from read_parquet(?)", [str(path)]).fetchall()
        [(rows,)] = con.execute("select count(*) from read_parquet(?)", [str(path)]).fetchall()
    sha256 = hashlib.sha256(data).hexdigest()
    return Table(
        source=source,
        name=name,
        view=name,
        hash=sha256,
        columns=tuple(Column(name=each[0], type=each[1]) for each in described),
        files=(File(path=key, sha256=sha256, size_bytes=len(data), rows=rows),),
    )


@dataclass(frozen=True, slots=True)
class Lake:
    """An engine, a reader of all tables, and a plain DuckDB with views over the same files."""

    engine: Engine
    reader: Reader
    plain: duckdb.DuckDBPyConnection

    def ask(self, sql: str, **more: Any) -> pa.Table:
        """Ask the engine for a whole result."""
        result = self.engine.run(Query(sql, **{"format": "arrow", "limit": None, **more}), self.reader)
        with result.file:
            result.file.seek(0)
            return pa.ipc.open_stream(result.file.read()).read_all()


@contextmanager
def open_lake(
    folder: Path,
    files: Mapping[str, Path],
    limits: Limits | None = None,
    store: Store | None = None,
    cache: int = 1 << 30,
) -> Iterator[Lake]:
    """Serve parquet files as tables, by their ids."""
    store = store or open_store(read_settings({"DATA_URL": (folder / "bucket").as_uri()}))
    tables = tuple(table_of(store, table_id, path) for table_id, path in sorted(files.items()))
    catalog = Catalog(snapshot=1, built_at=NOW, tables=tables)
    snapshot = Snapshot(1, catalog, {table.id: table for table in tables}, {})
    pool = Pool(limits or Limits(workers=2), folder / "scratch")
    plain = duckdb.connect(config={"threads": 2})
    plain.execute("set TimeZone = 'UTC'")
    for table in tables:
        path = files[table.id]
        plain.execute(f"create view {table.view} as from read_parquet('{path}')")
        plain.execute(f"create schema if not exists {table.source}")
        plain.execute(f"create view {table.source}.{table.name} as from read_parquet('{path}')")
    try:
        results = Results(store, lambda task: task())
        yield Lake(
            Engine(pool, FileCache(store, folder / "cache", cache), results),
            Reader(snapshot, AccessList(), ADMIN),
            plain,
        )
    finally:
        pool.close()
        plain.close()
