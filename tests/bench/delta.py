"""Tables of a long history and of many files: a Delta log of 5,000 commits, and 5,000 parquet files that become few."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from analyst import duckdb_files
from analyst.contract import parquet, publishing
from analyst.contract.delta import Commit, DeltaLog, next_commit
from analyst.contract.model import FileRow, TableState, data_prefix
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import NewTable, Uploads
from analyst.contract.views import columns_of
from analyst.store.folder.store import FileStore
from analyst.sweep import Sweep
from tests.bench.buckets import NOW, file_store, rebuild
from tests.bench.measurement import Row, at_most

COMMITS = FILES = 5_000
ROWS_OF_A_FILE = 100
TIMES = 5
_ROWS = f"""
    select i as id, 'C-' || i % 97 as customer_id, timestamp '2026-01-01' + to_seconds(i) as created_at,
           (i * 0.25)::decimal(12, 2) as total, case when i % 3 > 0 then md5(i::varchar) end as note
    from range({ROWS_OF_A_FILE}) r(i)
"""
_QUERY = "select count(*), sum(total), max(created_at) from"


def measure() -> list[Row]:
    """Open a long history as delta-rs does; query many files as an analyst does, before and after they become few."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with duckdb_files.connect() as con:
            (path,) = parquet.write(con, _ROWS, home)
            file = parquet.inspect(con, path)
        opened, swept = _long_history(file_store(home / "history"), file)
        asked = _many_files(file_store(home / "files"), file)
    before = f"before it: {asked.many - asked.one:.2f} s; it takes {asked.swept:.1f} s; one file: {asked.one:.3f} s"
    return [
        at_most(
            f"opening a Delta table of {COMMITS:,} commits and listing its files",
            opened,
            "s",
            0.2,
            f"its sweep: {swept:.1f} s",
        ),
        at_most(
            f"query of a table of {FILES:,} files after the sweep: more than of one file",
            asked.few - asked.one,
            "s",
            0.3,
            before,
        ),
        at_most(
            "the same before the sweep: to DuckDB's own read_parquet of those files",
            asked.many / asked.listed,
            "×",  # noqa: RUF001
            1.1,
            f"{asked.listed:.2f} s",
        ),
    ]


def _long_history(store: FileStore, file: ParquetFile) -> tuple[float, float]:
    """Write a log, and have it swept; return the seconds of opening the table then, and of the sweep."""
    from deltalake import DeltaTable

    _publish(store, [_row(file, 0)])
    rebuild(store)
    DeltaLog(store, "bench").copy(_history(file))
    swept = _seconds(lambda: Sweep(store, timedelta(days=1)).run())
    root = str(store.local_path(data_prefix("bench", "orders").rstrip("/")))
    if DeltaTable(root).version() != COMMITS - 1:
        raise RuntimeError("the history is not whole")
    return statistics.median(_seconds(lambda: DeltaTable(root).file_uris()) for _ in range(TIMES)), swept


def _history(file: ParquetFile) -> Iterator[Commit]:
    """Make the commits of a table that has another file at each version."""
    with duckdb_files.connect(threads=1) as con:
        last, old = None, list[FileRow]()
        for version in range(COMMITS):
            new = [_row(file, version)]
            last = next_commit(con, "bench", "orders", last, old=old, new=new, at=NOW)
            if last is None:
                raise RuntimeError("there is nothing to commit")
            yield last
            old = new


@dataclass(frozen=True, slots=True)
class _Asked:
    """Least seconds of a query: of `many` files by the snapshot's view and by their list, of the `few` that the sweep
    makes of them, and of `one`; and seconds of that sweep.
    """

    many: float
    listed: float
    few: float
    one: float
    swept: float


def _many_files(store: FileStore, file: ParquetFile) -> _Asked:
    """Ask a table of many files, have it swept, and ask again."""
    rows = [_row(file, number) for number in range(FILES)]
    paths = [store.local_path(row.path) for row in rows]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        os.link(file.path, path)
    _publish(store, rows)
    rebuild(store)
    one = file.path.with_name("one.parquet")
    listed = f"read_parquet({[str(path) for path in paths]})"
    with duckdb.connect(store.local_path("analytics/analytics.duckdb"), read_only=True) as con:
        con.execute(f"copy (from orders) to '{one}' (format parquet, compression zstd)")
        before = _least(con, f"{_QUERY} orders"), _least(con, f"{_QUERY} {listed}")
    swept = _seconds(lambda: Sweep(store, timedelta(days=1)).run())
    rebuild(store)
    with duckdb.connect(store.local_path("analytics/analytics.duckdb"), read_only=True) as con:
        few = _least(con, f"{_QUERY} orders")
        return _Asked(*before, few, _least(con, f"{_QUERY} read_parquet('{one}')"), swept)


def _least(con: duckdb.DuckDBPyConnection, query: str) -> float:
    count = FILES * ROWS_OF_A_FILE

    def ask() -> None:
        found = con.execute(query).fetchall()
        if found[0][0] != count:
            raise RuntimeError(f"{found} is not of {count} rows")

    return min(_seconds(ask) for _ in range(TIMES))


def _publish(store: FileStore, rows: Sequence[FileRow]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = columns_of(rows[0])
        table = NewTable("orders", "Orders", columns, tuple(rows), "1", None, TableState(), NOW)
        uploads = Uploads(store, "bench", lambda: "none")
        publishing.publish(
            store, "bench", [table], [], run_id="1", uploads=uploads, now=lambda: NOW, folder=Path(folder), check=None
        )


def _row(file: ParquetFile, number: int) -> FileRow:
    path = f"{data_prefix('bench', 'orders')}{file.sha256[:32]}-{number:026}.parquet"
    return FileRow(path, None, file.rows, file.size_bytes, file.sha256, file.stats)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
