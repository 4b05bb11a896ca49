"""Publishing: what a run extracted goes into the bucket, and the extract.duckdb that lists it is swapped.

The swap is a compare-and-swap of the whole file. Only the rows of the tables that a run extracted change, so that
runs of different tables never undo each other; when one of the run's own tables moved meanwhile, an incremental table
is merged again on what is there now, and a full one gives way to whichever was read later.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract import reading
from analyst.contract.connector import Cursor
from analyst.contract.model import (
    EDITS_KEPT,
    Extract,
    FileRow,
    TableState,
    column_types,
    create_statements,
    data_prefix,
    extract_key,
)
from analyst.contract.parquet import ParquetFile
from analyst.contract.views import write_view
from analyst.names import quote, quote_text
from analyst.store import Object, Store
from analyst.store.swapping import swap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableRun:
    """How one table fared in a run."""

    table: str
    status: str
    rows: int | None = None
    size_bytes: int | None = None
    rejected: int = 0
    error: str | None = None
    ms: int = 0


@dataclass(frozen=True, slots=True)
class NewTable:
    """One table as a run extracted it, to be published.

    `files` are either local parquet files or rows of files that are in the bucket already. `base` is the state that
    the table had when the run read it; `rebase` makes the table anew on another base, `None` for a full refresh.
    `read_at` is when reading the source began.
    """

    name: str
    description: str | None
    columns: tuple[Column, ...]
    files: tuple[ParquetFile | FileRow, ...]
    fingerprint: str
    cursor: Cursor
    base: TableState
    read_at: datetime
    rebase: "Rebase | None" = None


Rebase = Callable[[TableState, tuple[FileRow, ...]], NewTable]
"""Makes a table anew on another state and its files."""


@dataclass(slots=True)
class Uploads:
    """The files that this run has put into the bucket: hash → key. Nothing is uploaded twice."""

    store: Store
    source: str
    new_id: Callable[[], str]
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    def key_of(self, table: str, file: ParquetFile) -> str:
        """Upload a file unless this run did, and tell its key, which no other object has had or will have."""
        known = self.keys.get((table, file.sha256))
        if known is None:
            known = f"{data_prefix(self.source, table)}{file.sha256[:32]}-{self.new_id().lower()}.parquet"
            self.store.upload(known, file.path)
            self.keys[(table, file.sha256)] = known
        return known


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did: the version of the new extract.duckdb, and the tables that gave way to a later read."""

    version: str | None
    superseded: frozenset[str] = frozenset()


def read_extract(store: Store, source: str, folder: Path) -> tuple[Extract, str | None]:
    """Read a source's extract as it is now, with its version; an absent one is empty."""
    found = store.read(extract_key(source))
    if found is None:
        return Extract(), None
    with _local(found.data, folder) as (path, con):
        return reading.open_extract(con, path, "extract", what=extract_key(source)), found.version


def publish(
    store: Store,
    source: str,
    tables: Sequence[NewTable],
    runs: Sequence[TableRun],
    *,
    run_id: str,
    uploads: Uploads,
    now: Callable[[], datetime],
    folder: Path,
) -> Published:
    """Upload what is new of `tables` and swap the source's extract.duckdb, keeping every other table in it.

    Raises:
        ContractError: the extract that is there can't be read; nothing of it is touched.
        UnavailableError: the store does not answer, or others win the swap for minutes.
    """

    def change(con: "DuckDBPyConnection", base: Extract) -> frozenset[str]:
        placed, superseded = _place(tables, base)
        rows = {table.name: _rows_of(table, base, uploads) for table in placed}
        _write_tables(con, placed, rows, store.url)
        _write_runs(con, [run for run in runs if run.table not in superseded], run_id, now())
        return superseded

    version, superseded = _swap(store, source, change, edit=run_id, now=now, folder=folder)
    return Published(version, superseded)


def drop(store: Store, source: str, table: str, *, edit: str, now: Callable[[], datetime], folder: Path) -> bool:
    """Take a deregistered table out of its source's extract; tell whether it was there. Its files stay for the sweep."""
    base, version = read_extract(store, source, folder)
    if version is None or (table not in base.meta and table not in base.files):
        return False

    def change(con: "DuckDBPyConnection", _base: Extract) -> None:
        con.execute(f"drop view if exists extract.main.{quote(table)}")
        for listed in ("_meta", "_files", "_state", "_delta", "_runs"):
            _delete(con, listed, [table])

    _swap(store, source, change, edit=edit, now=now, folder=folder)
    return True


def _swap(
    store: Store,
    source: str,
    change: Callable[["DuckDBPyConnection", Extract], T],
    *,
    edit: str,
    now: Callable[[], datetime],
    folder: Path,
) -> tuple[str, T]:
    """Edit a copy of the extract and put it in its place, again and again until nobody came between."""
    what = extract_key(source)
    results: list[T] = []

    def edited(current: Object | None) -> bytes:
        with _local(None if current is None else current.data, folder) as (path, con):
            if current is None:
                duckdb_files.create(con, path, "extract")
            else:
                duckdb_files.attach(con, path, "extract", what=what, writable=True)
            base = Extract() if current is None else reading.read(con, "extract", what=what)
            con.execute(create_statements("extract"))
            results.append(change(con, base))
            _write_edit(con, edit, now())
            duckdb_files.detach(con, "extract")
            return path.read_bytes()

    def done(current: Object) -> bool:
        with _local(current.data, folder) as (path, con):
            duckdb_files.attach(con, path, "extract", what=what)
            return bool(con.execute("select 1 from extract._edits where id = ?", [edit]).fetchall())

    version = swap(store, what, edited, done=done)
    return version, results[-1]


@contextmanager
def _local(data: bytes | None, folder: Path) -> Iterator[tuple[Path, "DuckDBPyConnection"]]:
    """Lend a local copy of an extract, under a name of its own, and a connection."""
    with duckdb_files.scratch(folder) as home, duckdb_files.connect(threads=1) as con:
        path = home / "extract.duckdb"
        if data is not None:
            path.write_bytes(data)
        yield path, con


def _place(tables: Sequence[NewTable], base: Extract) -> tuple[list[NewTable], frozenset[str]]:
    """Sort out which tables go in as they are, which are made anew on what is there now, and which give way."""
    placed: list[NewTable] = []
    superseded: set[str] = set()
    for table in tables:
        state, meta = base.state(table.name), base.meta.get(table.name)
        if state.version == table.base.version:
            placed.append(table)
        elif table.rebase is not None:
            placed.append(table.rebase(state, base.files.get(table.name, ())))
        elif meta is not None and meta.extracted_at is not None and meta.extracted_at > table.read_at:
            superseded.add(table.name)
        else:
            placed.append(table)
    return placed, frozenset(superseded)


def _rows_of(table: NewTable, base: Extract, uploads: Uploads) -> list[FileRow]:
    """Find a place in the bucket for each file: the one that the replaced extract lists, else a new one."""
    listed = {row.sha256: row for row in base.files.get(table.name, ())}
    rows: list[FileRow] = []
    for file in table.files:
        if isinstance(file, FileRow):
            rows.append(file)
        elif file.sha256 in listed:
            rows.append(listed[file.sha256])
        else:
            key = uploads.key_of(table.name, file)
            rows.append(FileRow(key, None, file.rows, file.size_bytes, file.sha256, file.stats))
    return rows


def _write_tables(
    con: "DuckDBPyConnection", tables: Sequence[NewTable], rows: Mapping[str, Sequence[FileRow]], url: str
) -> None:
    _replace(con, "_meta", [_meta_row(table, rows[table.name]) for table in tables])
    _replace(con, "_files", [_file_row(table.name, row) for table in tables for row in rows[table.name]])
    _replace(con, "_state", [_state_row(table) for table in tables])
    for table in tables:
        write_view(con, "extract", table.name, rows[table.name], table.columns, data_url=url)
        if table.description:
            view = f"extract.main.{quote(table.name)}"
            con.execute(f"comment on view {view} is {quote_text(table.description)}")


def _meta_row(table: NewTable, rows: Sequence[FileRow]) -> list[object]:
    count, size = sum(row.rows for row in rows), sum(row.size_bytes for row in rows)
    return [table.name, table.description, count, size, table.read_at, "local"]


def _file_row(table: str, row: FileRow) -> list[object]:
    return [table, row.path, row.partition, row.rows, row.size_bytes, row.sha256, json.loads(row.stats or "null")]


def _state_row(table: NewTable) -> list[object]:
    return [table.name, table.base.version + 1, table.cursor, table.fingerprint]


def _write_runs(con: "DuckDBPyConnection", runs: Sequence[TableRun], run_id: str, now: datetime) -> None:
    rows = [[r.table, run_id, r.status, r.error, r.rows, r.size_bytes, r.rejected, r.ms, now] for r in runs]
    _replace(con, "_runs", rows)


def _replace(con: "DuckDBPyConnection", table: str, rows: Sequence[Sequence[object]]) -> None:
    """Put rows in the place of all rows of the tables that they are about."""
    _delete(con, table, [str(row[0]) for row in rows])
    duckdb_files.insert(con, f"extract.main.{table}", column_types(table), rows)


def _delete(con: "DuckDBPyConnection", table: str, names: Sequence[str]) -> None:
    listed = json.dumps(list(names))
    con.execute(
        f"delete from extract.main.{table} where table_name in (select unnest(from_json(?, '[\"varchar\"]')))", [listed]
    )


def _write_edit(con: "DuckDBPyConnection", edit: str, now: datetime) -> None:
    con.execute("insert into extract._edits values (?, ?)", [edit, now])
    con.execute(
        "delete from extract._edits where rowid not in (select rowid from extract._edits order by rowid desc limit ?)",
        [EDITS_KEPT],
    )
