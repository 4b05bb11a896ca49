"""Publishing: what a run extracted goes into the bucket, and the extract.duckdb that lists it is swapped.

The swap is a compare-and-swap of the whole file. Only the rows of the tables that a run extracted change, so that
runs of different tables never undo each other; when one of the run's own tables moved meanwhile, an incremental table
is merged again on what is there now, and a full one gives way to whichever was read later.
"""

import errno
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import logs
from analyst.catalog import Column
from analyst.contract.connector import Cursor
from analyst.contract.delta import Commit, DeltaLog, next_commit
from analyst.contract.editing import delete_rows, edit_extract, read_extract, replace_rows
from analyst.contract.model import Extract, FileRow, TableState, data_prefix
from analyst.contract.parquet import ParquetFile
from analyst.contract.reading import read_commits
from analyst.contract.views import write_view
from analyst.errors import AnalystError, ConflictError, SourceError
from analyst.names import quote, quote_text
from analyst.store import Store
from analyst.store.swapping import upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOG = logging.getLogger(f"{logs.ROOT}.publish")


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
    the table had when the run read it; `rebase` makes the table anew on another base, `None` where the files are all of
    it. `read_at` is when reading the source began. `same_rows` says that these are the rows of the base in their order, in
    other files, so that who has read the one need not read the other. `registration` is the uuid of the registration that
    it is published for. `rows_read` are those that came from the source.
    """

    name: str
    description: str | None
    columns: tuple[Column, ...]
    files: tuple[ParquetFile | FileRow, ...]
    fingerprint: str | None
    cursor: Cursor
    base: TableState
    read_at: datetime
    rebase: "Rebase | None" = None
    same_rows: bool = False
    registration: str | None = None
    rows_read: int = 0


Rebase = Callable[[TableState, tuple[FileRow, ...]], NewTable | None]
"""Makes a table anew on another state and its files; `None` if what was read does not follow on them."""


@dataclass(slots=True)
class Uploads:
    """The files that this run has put into the bucket: table, partition, hash, number → key. Nothing is uploaded twice.

    The number tells files of equal content apart: a table that has n of them needs n objects, because its rows are a
    bag, and Delta has no word for a file that is listed twice.
    """

    store: Store
    source: str
    new_id: Callable[[], str]
    keys: dict[tuple[str, str | None, str, int], str] = field(default_factory=dict)

    def key_of(self, table: str, file: ParquetFile, twin: int = 0) -> str:
        """Upload a file unless this run did, and return its key, which no other object has had or will have.

        `twin` numbers the files of equal content in a table, from 0; see `matched`.
        """
        about = (table, file.partition, file.sha256, twin)
        known = self.keys.get(about)
        if known is None:
            known = f"{data_prefix(self.source, table)}{file.sha256[:32]}-{self.new_id().lower()}.parquet"
            upload_once(self.store, known, file.path)
            self.keys[about] = known
        return known


def matched(
    files: Sequence[ParquetFile | FileRow], listed: Iterable[FileRow]
) -> Iterator[tuple[ParquetFile | FileRow, int]]:
    """Match the files of a table with those that are in the bucket, one for one, and keep their order.

    A file is one of the `listed` if its content is; of two files of equal content each needs one of its own. Those that
    find none are to be uploaded, and the number counts them among their equals.
    """
    taken = {file.path for file in files if isinstance(file, FileRow)}
    free: dict[tuple[str, str | None], deque[FileRow]] = {}
    for row in listed:
        if row.path not in taken:
            taken.add(row.path)
            free.setdefault((row.sha256, row.partition), deque()).append(row)
    twins = Counter[tuple[str, str | None]]()
    for file in files:
        about = (file.sha256, file.partition)
        if isinstance(file, FileRow):
            yield file, 0
        elif free.get(about):
            yield free[about].popleft(), 0
        else:
            yield file, twins[about]
            twins[about] += 1


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did: the version of the new extract.duckdb, and the tables that gave way to a later read.

    `failed` are those that could not be published, each with the reason.
    """

    version: str | None
    superseded: frozenset[str] = frozenset()
    failed: Mapping[str, Exception] = field(default_factory=dict)


class MovedError(ConflictError):
    """A table moved meanwhile, so that none of those was published that go together with it."""


class _TableError(Exception):
    """Something went wrong with one table; the others are published without it."""

    def __init__(self, table: str, reason: Exception) -> None:
        super().__init__(table)
        self.table = table
        self.reason = reason


@contextmanager
def _trouble_of(table: str) -> Iterator[None]:
    """Attribute whatever is raised in the block to a table, unless the store does not answer or the disk is full."""
    try:
        yield
    except Exception as error:
        passes = isinstance(error, AnalystError) and error.retryable
        if passes or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise
        raise _TableError(table, error) from error


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
    together: bool = False,
) -> Published:
    """Upload what is new of `tables` and swap the source's extract.duckdb, keeping every other table in it.

    `together` are they published all or not at all. Otherwise a table that can't be published, for whatever reason, keeps
    its last version, and the others are published.

    Raises:
        ContractError: the extract that is there can't be read; nothing of it is touched.
        MovedError: one of the tables gave way, and they go `together`.
        UnavailableError: the store does not answer, or others win the swap for minutes.
    """
    log, failed = DeltaLog(store, source), dict[str, Exception]()

    def change(con: "DuckDBPyConnection", base: Extract, home: Path) -> tuple[frozenset[str], list[Commit]]:
        if together:
            base.require_whole()
        placed, superseded = _place([table for table in tables if table.name not in failed], base)
        if together and superseded:
            raise MovedError(f"{source}.{min(superseded)} moved meanwhile; begin again on what is there now")
        rows: dict[str, list[FileRow]] = {}
        for table in placed:
            with _trouble_of(table.name):
                rows[table.name] = _rows_of(table, base, uploads)
        commits = _commit(con, log, base, rows, now(), same={table.name for table in placed if table.same_rows})
        _write_tables(con, base, placed, rows)
        for table in placed:
            with _trouble_of(table.name):
                _write_view(con, table, rows[table.name], store.url, home)
        noted = [_noted(run, failed.get(run.table)) for run in runs if run.table not in superseded]
        _write_runs(con, noted, run_id, now())
        return superseded, commits

    while True:
        try:
            version, (superseded, commits) = edit_extract(store, source, change, now=now, folder=folder)
        except _TableError as error:
            if together:
                raise error.reason from error
            failed[error.table] = error.reason  # what was done is rolled back; begin again without it
        else:
            _copy(log, commits)
            return Published(version, superseded, failed)


def drop(
    store: Store, source: str, table: str, *, now: Callable[[], datetime], folder: Path, is_known: bool = False
) -> bool:
    """Take a deregistered table out of its source's extract; tell whether it was there. Its files stay for the sweep.

    Its state stays too, a version on, so that a run that read it before finds out and does not bring it back, and a
    rebuild lets go of it. That is written of one that `is_known` also where the extract does not list it, or is gone. To
    readers of Delta the table is empty from then on.
    """
    base, _version = read_extract(store, source, folder)
    was_there = table in base.meta or table in base.files or table in base.refused
    if not was_there and (not is_known or base.is_dropped(table)):
        return False

    log = DeltaLog(store, source)

    def change(con: "DuckDBPyConnection", current: Extract, _home: Path) -> list[Commit]:
        con.execute(f"drop view if exists extract.main.{quote(table)}")
        commits = _commit(con, log, current, {table: []}, now())
        for listed in ("_meta", "_files", "_runs", "_registrations"):
            delete_rows(con, listed, [table])
        replace_rows(con, "_state", [[table, current.state(table).version + 1, None, None]])
        return commits

    _, commits = edit_extract(store, source, change, now=now, folder=folder)
    _copy(log, commits)
    return was_there


def _commit(
    con: "DuckDBPyConnection",
    log: DeltaLog,
    base: Extract,
    rows: Mapping[str, Sequence[FileRow]],
    at: datetime,
    *,
    same: Collection[str] = (),
) -> list[Commit]:
    """Write the next Delta commit of each table to `_delta`; the last ones are in their logs by then.

    The rows of those in `same` are what they were.
    """
    listed = read_commits(con, "extract", source=log.source)
    last = {commit.table: commit for commit in listed if commit.table in rows}
    log.copy(last.values())
    commits: list[Commit] = []
    for table, new in rows.items():
        with _trouble_of(table):
            commit = next_commit(
                con,
                log.source,
                table,
                last.get(table),
                old=base.files.get(table, ()),
                new=new,
                at=at,
                same_rows=table in same,
            )
        commits += [] if commit is None else [commit]
    replace_rows(con, "_delta", [[commit.table, commit.version, commit.text] for commit in commits])
    return commits


def _copy(log: DeltaLog, commits: Iterable[Commit]) -> None:
    """Bring the logs up to what was published; where that fails they lag until the next publish."""
    try:
        log.copy(commits)
    except AnalystError as error:
        fields = {"source": log.source, "tables": [commit.table for commit in commits], "reason": str(error)}
        _LOG.warning("a Delta log lags behind", extra={"fields": fields})


def _place(tables: Sequence[NewTable], base: Extract) -> tuple[list[NewTable], frozenset[str]]:
    """Sort out which tables go in, as they are or made anew on what is there now, and which give way."""
    found: dict[str, NewTable | None] = {}
    for table in tables:
        with _trouble_of(table.name):
            found[table.name] = _placed(table, base)
    placed = [table for table in found.values() if table is not None]
    return placed, frozenset(name for name, table in found.items() if table is None)


def _placed(table: NewTable, base: Extract) -> NewTable | None:
    state, meta = base.state(table.name), base.meta.get(table.name)
    if state.version == table.base.version:
        return table
    if meta is None:  # it was dropped meanwhile, which a run that began before must not undo
        return None
    if state.registration not in (None, table.registration):  # another registration's: nothing of it is merged
        return None
    if table.rebase is not None:
        try:
            return table.rebase(state, base.own_files(table.name))
        except SourceError:
            return None  # the next run reads it on what is there now, and says what is wrong
    return None if meta.extracted_at is not None and meta.extracted_at > table.read_at else table


def _rows_of(table: NewTable, base: Extract, uploads: Uploads) -> list[FileRow]:
    """Find a place in the bucket for each file: the one that the replaced extract lists, else a new one."""
    rows: list[FileRow] = []
    for file, twin in matched(table.files, base.files.get(table.name, ())):
        if isinstance(file, FileRow):
            rows.append(file)
        else:
            key = uploads.key_of(table.name, file, twin)
            rows.append(FileRow(key, file.partition, file.rows, file.size_bytes, file.sha256, file.stats))
    return rows


def _write_tables(
    con: "DuckDBPyConnection", base: Extract, tables: Sequence[NewTable], rows: Mapping[str, Sequence[FileRow]]
) -> None:
    listed: list[list[object]] = []
    for table in tables:
        with _trouble_of(table.name):
            listed += [_file_row(table.name, row) for row in rows[table.name]]
    replace_rows(con, "_meta", [_meta_row(table, rows[table.name]) for table in tables])
    replace_rows(con, "_files", listed)
    replace_rows(con, "_state", [_state_row(table, base.state(table.name)) for table in tables])
    delete_rows(con, "_registrations", [table.name for table in tables])
    replace_rows(con, "_registrations", [[t.name, t.registration] for t in tables if t.registration is not None])


def _write_view(con: "DuckDBPyConnection", table: NewTable, rows: Sequence[FileRow], url: str, home: Path) -> None:
    write_view(con, "extract", table.name, rows, table.columns, data_url=url, home=home)
    if table.description:
        view = f"extract.main.{quote(table.name)}"
        con.execute(f"comment on view {view} is {quote_text(table.description)}")


def _meta_row(table: NewTable, rows: Sequence[FileRow]) -> list[object]:
    count, size = sum(row.rows for row in rows), sum(row.size_bytes for row in rows)
    return [table.name, table.description, count, size, table.read_at, "local"]


def _file_row(table: str, row: FileRow) -> list[object]:
    return [table, row.path, row.partition, row.rows, row.size_bytes, row.sha256, json.loads(row.stats or "null")]


def _state_row(table: NewTable, replaced: TableState) -> list[object]:
    return [table.name, replaced.version + 1, table.cursor, table.fingerprint]


def _noted(run: TableRun, failure: Exception | None) -> TableRun:
    """Write down of a run that its table could not be published after all."""
    if failure is None:
        return run
    return replace(run, status="failed", error=str(failure), rows=None, size_bytes=None)


def _write_runs(con: "DuckDBPyConnection", runs: Sequence[TableRun], run_id: str, now: datetime) -> None:
    rows = [[r.table, run_id, r.status, r.error, r.rows, r.size_bytes, r.rejected, r.ms, now] for r in runs]
    replace_rows(con, "_runs", rows)
