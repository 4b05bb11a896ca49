"""Increments of a keyed table of 5M rows and 10 columns, beside rewriting its files with COPY and deltalake's merge."""

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from analyst import duckdb_files
from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.model import FileRow
from analyst.runs import new_run_id
from analyst.settings import Settings
from analyst.store.folder.store import FileStore
from tests.bench.buckets import file_store
from tests.bench.extract import ROWS, rows_query
from tests.bench.measurement import Row, at_most

CHANGED = 10_000
NEWEST = ROWS // 50
TIMES = 3


@dataclass(slots=True)
class _Delivery:
    """A connector of one keyed table, whose increment lies ready as a parquet file."""

    file: Path
    number: int

    def tables(self) -> Iterable[SourceTable]:
        yield SourceTable("t", "t", str(self.number), primary_key=("id",), sync_strategy="incremental")

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, _table: SourceTable, _since: Cursor, into: Path) -> Extracted:
        path = into / "new.parquet"
        path.hardlink_to(self.file)
        with duckdb_files.connect() as con:
            return Extracted((path,), parquet.inspect(con, path).columns)


@dataclass(slots=True)
class _Table:
    """The table, and what its increments cost."""

    home: Path
    store: FileStore
    files: tuple[FileRow, ...] = ()
    runs: int = 0

    def merge(self, query: str) -> float:
        """Publish an increment; return the seconds of the extract."""
        self.runs += 1
        home = self.home / f"delivery-{self.runs}"
        home.mkdir()
        with duckdb_files.connect() as con:
            path = home / "new.parquet"
            con.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)")
        limit = Settings(data_url=self.store.url).memory_limit
        extraction = Extraction(self.store, "bench", new_run_id(), lambda: datetime.now(UTC), limit)
        connector = _Delivery(path, self.runs)
        began = time.perf_counter()
        record = extraction.run(lambda: connector).record
        took = time.perf_counter() - began
        if record.status != "ok":
            raise RuntimeError(f"the increment was not published: {record}")
        with tempfile.TemporaryDirectory() as folder:
            self.files = read_extract(self.store, "bench", Path(folder))[0].files["t"]
        path.unlink()
        return took


@dataclass(slots=True)
class _Case:
    """The rounds of one kind of increment."""

    ours: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    new_files: int = 0
    touched: int = 0

    @property
    def ratio(self) -> float:
        return min(self.ours) / min(self.copied)


def measure() -> list[Row]:
    """Publish changes of neighbouring keys, of random keys, and new keys; the least of several rounds counts."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        table = _Table(home, file_store(home / "bucket"))
        table.merge(rows_query(0, ROWS))
        delta = _delta_table(table, home / "delta")
        near = _rounds(
            table, lambda number: _changes(f"hash(i, {number}) % {NEWEST // CHANGED} = 0", ROWS - NEWEST, number)
        )
        far = _rounds(table, lambda number: _changes(f"hash(i, {number}) % {ROWS // CHANGED} = 0", 0, number))
        new = _rounds(table, lambda number: rows_query(ROWS + number * CHANGED, ROWS + (number + 1) * CHANGED))
        merged = min(_merged_by_delta(delta, number) for number in range(TIMES))
    bytes_ = sum(file.size_bytes for file in table.files)
    table_of = f"{bytes_ / 1e6:.0f} MB in {len(table.files)} files"
    return [
        at_most("10,000 changes in the newest 2 % of 5M rows by key", min(near.ours), "s", 1.5, table_of),
        at_most("the same: to COPY of the rewritten files", near.ratio, "×", 3, _beside(near)),  # noqa: RUF001
        at_most("the same: bytes that a laptop fetches, of the table", 100 * max(near.fetched), "%", 5),
        at_most("10,000 random keys of 5M: to COPY of the rewritten files", far.ratio, "×", 1.2, _beside(far)),  # noqa: RUF001
        at_most("the same: to deltalake's merge", min(far.ours) / merged, "×", 1, f"{merged:.2f} s"),  # noqa: RUF001
        at_most("10,000 appended rows", min(new.ours), "s", 1, f"{new.new_files} new file"),
        at_most("the same: new files", new.new_files, "", 1),
    ]


def _beside(case: _Case) -> str:
    return f"{min(case.ours):.2f} s; COPY of {case.touched} files: {min(case.copied):.2f} s"


def _changes(condition: str, start: int, number: int) -> str:
    rows = rows_query(start, ROWS, where=condition)
    return f"select * replace ('round {number}' as note) from ({rows})"


def _rounds(table: _Table, query: Callable[[int], str]) -> _Case:
    case = _Case()
    for number in range(TIMES):
        before = {file.path: file for file in table.files}
        case.ours.append(table.merge(query(number)))
        after = {file.path: file for file in table.files}
        replaced = [file for path, file in before.items() if path not in after]
        new = [file for path, file in after.items() if path not in before]
        case.new_files, case.touched = len(new), len(replaced)
        case.fetched.append(sum(f.size_bytes for f in new) / sum(f.size_bytes for f in after.values()))
        case.copied.append(_copied(table, replaced))
    return case


def _copied(table: _Table, files: Iterable[FileRow]) -> float:
    """Return the seconds in which DuckDB writes each of some files again, without any change."""
    into = table.home / "copy.parquet"
    paths = [table.store.local_path(file.path) for file in files]
    began = time.perf_counter()
    with duckdb.connect() as con:
        for path in paths:
            con.execute(f"copy (from '{path}') to '{into}' (format parquet, compression zstd)")
    return time.perf_counter() - began


def _delta_table(table: _Table, home: Path) -> str:
    """Write the same table by deltalake."""
    from deltalake import write_deltalake

    paths = [str(table.store.local_path(file.path)) for file in table.files]
    with duckdb.connect() as con:
        write_deltalake(str(home), con.sql(f"from read_parquet({paths})"))
    return str(home)


def _merged_by_delta(home: str, number: int) -> float:
    """Return the seconds in which deltalake merges random keys."""
    from deltalake import DeltaTable

    with duckdb.connect() as con:
        source = con.sql(_changes(f"hash(i, {number}) % {ROWS // CHANGED} = 0", 0, number))
        began = time.perf_counter()
        merge = DeltaTable(home).merge(source, "t.id = s.id", source_alias="s", target_alias="t")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
        return time.perf_counter() - began
