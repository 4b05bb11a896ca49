"""Publishing the tables of a run: their files are uploaded, and the extract.duckdb that lists them is swapped.

The swap is a compare-and-swap of the whole file. It changes only the rows about the run's tables, so runs of different
tables never undo each other. If one of the run's own tables was published by another run in the meantime, an
incremental table is merged again on the new state, and of two full reads the later one stays.
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
from analyst.catalog import Column, Input
from analyst.contract.connector import Cursor, RemoteTable
from analyst.contract.delta import Commit, DeltaLog, delta_schema, next_commit, restating_commit
from analyst.contract.extract_edit import delete_rows, edit_extract, read_extract, replace_rows
from analyst.contract.extract_file import read_commits
from analyst.contract.model import Extract, FileRow, PartRow, TableState, data_prefix, dropped_key
from analyst.contract.parquet import ParquetFile
from analyst.contract.verdicts import Checker, Verdicts, with_warning
from analyst.contract.views import write_remote_view, write_view
from analyst.errors import AnalystError, ConflictError, ContractError, SourceError
from analyst.names import quote, quote_text
from analyst.store import ANY, Store
from analyst.store.compare_and_swap import upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOG = logging.getLogger(f"{logs.ROOT}.publish")


@dataclass(frozen=True, slots=True)
class TableRun:
    """The result of one table in a run."""

    table: str
    status: str
    rows: int | None = None
    size_bytes: int | None = None
    rejected: int = 0
    error: str | None = None
    ms: int = 0


@dataclass(frozen=True, slots=True)
class NewTable:
    """One table to be published, as a run extracted it.

    `files` are local parquet files, or rows of files that are already in the bucket. `base` is the state of the table
    when the run read it; `rebase` repeats the merge on another base, and is `None` if the files do not depend on the
    base. `read_at` is the time at which reading the source began. `same_rows` means that the files contain the rows of
    the base, so readers that have the old files need not read the new ones. `registration` is the
    uuid of the registration that the table is published for. `rows_read` is the number of rows read from the source,
    and `repeated_keys` the number of primary keys that several of them share. `parts` are the parts of the source whose
    rows the table has; `None` if they stay as they are listed. `inputs` are the tables that it was computed from.
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
    repeated_keys: int = 0
    parts: tuple[PartRow, ...] | None = None
    remote: RemoteTable | None = None
    """Where the rows are, if they stay at the source."""
    inputs: tuple[Input, ...] = ()


Rebase = Callable[[TableState, tuple[FileRow, ...]], NewTable | None]
"""Merges a table again on another state and its files; `None` if the rows that were read do not apply to them."""


@dataclass(slots=True)
class Uploads:
    """The files that this run uploaded: table, partition, hash, number → key. Nothing is uploaded twice.

    The number distinguishes files of equal content. A table with n of them needs n objects, because its rows are a bag,
    and Delta can't list a file twice.
    """

    store: Store
    source: str
    new_id: Callable[[], str]
    keys: dict[tuple[str, str | None, str, int], str] = field(default_factory=dict)

    def key_of(self, table: str, file: ParquetFile, twin: int = 0) -> str:
        """Upload a file unless this run already did, and return its key, which is never used for another object.

        `twin` numbers the files of equal content in a table, from 0; see `matched`.
        """
        identity = (table, file.partition, file.sha256, twin)
        known = self.keys.get(identity)
        if known is None:
            known = f"{data_prefix(self.source, table)}{file.sha256[:32]}-{self.new_id().lower()}.parquet"
            upload_once(self.store, known, file.path)
            self.keys[identity] = known
        return known


def matched(
    files: Sequence[ParquetFile | FileRow], listed: Iterable[FileRow]
) -> Iterator[tuple[ParquetFile | FileRow, int]]:
    """Match the files of a table one to one with those in the bucket, in order.

    A local file matches a `listed` one of equal content and partition; each listed file is used once. Files without a
    match must be uploaded; the number counts them among files of equal content.
    """
    taken = {file.path for file in files if isinstance(file, FileRow)}
    free: dict[tuple[str, str | None], deque[FileRow]] = {}
    for row in listed:
        if row.path not in taken:
            taken.add(row.path)
            free.setdefault((row.sha256, row.partition), deque()).append(row)
    twins = Counter[tuple[str, str | None]]()
    for file in files:
        identity = (file.sha256, file.partition)
        if isinstance(file, FileRow):
            yield file, 0
        elif free.get(identity):
            yield (
                replace(free[identity].popleft(), stats=file.stats),
                0,
            )  # more may be recorded of equal bytes meanwhile
        else:
            yield file, twins[identity]
            twins[identity] += 1


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publish: the version of the new extract.duckdb, and the tables for which a later read stays.

    `failed` maps the tables that could not be published to the reason. `notes` reports, by table, Delta logs that
    another writer had changed. `warned` has, by table, what its expectations warn of.
    """

    version: str | None
    superseded: frozenset[str] = frozenset()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)


class MovedError(ConflictError):
    """A table was published by another run in the meantime, so none of the tables that belong together was published."""


class _TableError(Exception):
    """One table can't be published; the others are published without it."""

    def __init__(self, table: str, reason: Exception) -> None:
        super().__init__(table)
        self.table = table
        self.reason = reason


@contextmanager
def _trouble_of(table: str) -> Iterator[None]:
    """Attribute exceptions in the block to a table, unless the store does not respond or the disk is full."""
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
    check: Checker | None,
    together: bool = False,
) -> Published:
    """Upload the new files of `tables` and swap the source's extract.duckdb, keeping all other tables in it.

    `check` decides about each table just before the swap, with the rows that it will have; `None` if they are those that it
    has. With `together`, all tables are published or none. Otherwise a table that can't be published, for whatever reason,
    keeps its last version, and the others are published.

    Raises:
        UnmetError: an expectation blocks one of the tables, and they belong `together`.
        ContractError: the existing extract can't be read; it stays as it is.
        MovedError: another run published one of the tables, and they belong `together`.
        UnavailableError: the store does not respond, or others win the swap for minutes.
    """
    log, failed, verdicts = DeltaLog(store, source), dict[str, Exception](), Verdicts(check, folder)

    def change(con: "DuckDBPyConnection", base: Extract, home: Path) -> tuple[frozenset[str], _Committed]:
        if together:
            base.require_whole()
        placed, superseded = _place([table for table in tables if table.name not in failed], base)
        if together and superseded:
            raise MovedError(f"{source}.{min(superseded)} was published by another run in the meantime; start again")
        rows = _rows(placed, base, uploads, verdicts)
        same = frozenset(table.name for table in placed if table.same_rows)
        committed = _Committing(con, log, now(), folder).commit(base, rows, same)
        _write_tables(con, base, placed, rows)
        for table in placed:
            with _trouble_of(table.name):
                _write_view(con, table, rows[table.name], store.url, home)
        noted = [
            _noted(run, failed.get(run.table), verdicts.warning(run.table))
            for run in runs
            if run.table not in superseded
        ]
        _write_runs(con, noted, run_id, now())
        return superseded, committed

    while True:
        try:
            version, (superseded, committed) = edit_extract(store, source, change, now=now, folder=folder)
        except _TableError as error:
            if together:
                raise error.reason from error
            failed[error.table] = error.reason  # its changes are rolled back with all others; start again without it
        else:
            version, notes = _copied(log, version, committed, now=now, folder=folder)
            warned = {table.name: text for table in tables if (text := verdicts.warning(table.name)) is not None}
            return Published(version, superseded, failed, notes, warned)


def drop(
    store: Store,
    source: str,
    table: str,
    *,
    now: Callable[[], datetime],
    folder: Path,
    shown_version: int | None = None,
) -> bool:
    """Remove a deregistered table from its source's extract; return whether it was there. The sweep deletes its files.

    Its state stays, with the next version, so a run that read the table before notices and does not restore it. A mark
    outside of the extract (`dropped_key`) lets the next rebuild remove the table from the snapshot, which an extract
    alone can't do. `shown_version` is the table's version in the newest snapshot; if it is given, state and mark are
    written even if the extract does not list the table, or is gone. Readers of Delta see an empty table afterwards.
    """
    base, _version = read_extract(store, source, folder)
    was_there = table in base.meta or table in base.files or table in base.refused
    if not was_there and shown_version is None:
        return False

    log = DeltaLog(store, source)

    def change(con: "DuckDBPyConnection", current: Extract, _home: Path) -> _Committed:
        version = max(current.state(table).version, shown_version or 0) + 1
        # before the swap, so that a reader who finds the table gone also finds the mark
        store.put(dropped_key(source, table), json.dumps({"version": version}).encode(), if_version=ANY)
        con.execute(f"drop view if exists extract.main.{quote(table)}")
        committed = _Committing(con, log, now(), folder).commit(current, {table: []})
        for listed in ("_meta", "_files", "_runs", "_registrations", "_parts", "_inputs"):
            delete_rows(con, listed, [table])
        replace_rows(con, "_state", [[table, version, None, None]])
        return committed

    version, committed = edit_extract(store, source, change, now=now, folder=folder)
    _copied(log, version, committed, now=now, folder=folder)
    return was_there


def dropped_version(store: Store, source: str, table: str) -> int:
    """Return the version at which a table was last deleted, 0 if it never was; lower versions are deleted.

    Raises:
        ContractError: the mark of the deletion can't be read.
    """
    found = store.read(dropped_key(source, table))
    if found is None:
        return 0
    try:
        return int(json.loads(found.data)["version"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ContractError(f"{dropped_key(source, table)} is damaged; delete the table again") from error


@dataclass(frozen=True, slots=True)
class Restated:
    """The version of the extract.duckdb in which logs were restated, and a note for each table.

    `unread` are the commits that follow what can't be read: a checkpoint must cover all before them.
    """

    version: str
    notes: Mapping[str, str]
    unread: Sequence[Commit]


def restate(store: Store, source: str, tables: Iterable[str], *, now: Callable[[], datetime], folder: Path) -> Restated:
    """Restate in the Delta logs of tables what is published, after the commits of other writers.

    Raises:
        ContractError: the extract can't be read.
        UnavailableError: the store does not respond, or others win the swap for minutes.
    """
    log, left, notes = DeltaLog(store, source), frozenset(tables), dict[str, str]()
    version, unread = "", dict[str, Commit]()
    for _ in range(_RESTATED_AT_MOST):  # the other writer may still be committing

        def change(con: "DuckDBPyConnection", base: Extract, _home: Path, left: frozenset[str] = left) -> _Committed:
            committing = _Committing(con, log, now(), folder)
            for table in sorted(left):
                committing.restate(table, base.files.get(table, ()))
            return committing.written()

        version, committed = edit_extract(store, source, change, now=now, folder=folder)
        notes |= committed.notes
        unread |= {commit.table: commit for commit in committed.unread}
        left = log.copy(committed.commits)
        if not left:
            break
    return Restated(version, notes, [commit for table, commit in unread.items() if table not in left])


_RESTATED_AT_MOST = 3


@dataclass(slots=True)
class _Committed:
    """The Delta commits that a swap publishes, and notes on tables whose logs another writer changed.

    `unread` are those that follow what can't be read.
    """

    commits: list[Commit] = field(default_factory=list)
    unread: list[Commit] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Committing:
    """Creates the Delta commits of one swap of an extract, which is attached as `extract`."""

    con: "DuckDBPyConnection"
    log: DeltaLog
    at: datetime
    folder: Path
    made: _Committed = field(default_factory=_Committed)

    def commit(
        self, base: Extract, rows: Mapping[str, Sequence[FileRow]], same: Collection[str] = frozenset()
    ) -> _Committed:
        """Write the next Delta commit of each table to `_delta`, after confirming that its last one is in the log.

        The tables in `same` have the same rows as before. A log that does not show what was published last is restated:
        another writer's commit has the name of ours, or Delta could not express the last version.
        """
        listed = read_commits(self.con, "extract", source=self.log.source)
        last = {commit.table: commit for commit in listed if commit.table in rows}
        foreign = self.log.confirm(last.values())
        for table, new in rows.items():
            with _trouble_of(table):
                old, before = base.files.get(table, ()), last.get(table)
                if table in foreign or (before is not None and delta_schema(self.con, old) is None):
                    self.restate(table, new, is_foreign=table in foreign)
                    continue
                source, same_rows = self.log.source, table in same
                made = next_commit(self.con, source, table, before, old=old, new=new, at=self.at, same_rows=same_rows)
                self.made.commits += [] if made is None else [made]
        return self.written()

    def restate(self, table: str, files: Sequence[FileRow], *, is_foreign: bool = True) -> None:
        """Add the commit that restates a table's log; if that can't be read, a sweep must write a checkpoint of the commit."""
        source, where = self.log.source, self.log.folder_of(table)
        note = f"another writer has changed the Delta log of {source}.{table}"
        found = self.log.read(table, self.folder)
        made = restating_commit(self.con, source, table, found, files=files, at=self.at)
        if made is not None:
            self.made.commits.append(made)
            if found.problem:
                self.made.unread.append(made)
                note = f"{note}: {found.problem}"
            if is_foreign:
                restated = f"its version {made.version} restates what is published"
                self.made.notes[table] = f"{note}; {restated}. Never write to {where}"

    def written(self) -> _Committed:
        """Write all commits to `_delta`, and return them."""
        rows = [[commit.table, commit.version, commit.text] for commit in self.made.commits]
        replace_rows(self.con, "_delta", rows)
        return self.made


def _copied(
    log: DeltaLog, version: str, committed: _Committed, *, now: Callable[[], datetime], folder: Path
) -> tuple[str, Mapping[str, str]]:
    """Copy commits to the logs, and restate logs where another writer came first.

    If this fails, the logs lag until the next publish or sweep. Return the version of the extract, and the notes.
    """
    tables, notes = [commit.table for commit in committed.commits], dict(committed.notes)
    try:
        foreign = log.copy(committed.commits)
        if foreign:
            restated = restate(log.store, log.source, foreign, now=now, folder=folder)
            version, notes = restated.version, {**notes, **restated.notes}
    except AnalystError as error:
        fields = {"source": log.source, "tables": tables, "reason": str(error)}
        _LOG.warning("a Delta log lags behind", extra={"fields": fields})
    for table, note in notes.items():
        _LOG.warning("%s", note, extra={"fields": {"source": log.source, "table": table}})
    return version, notes


def _place(tables: Sequence[NewTable], base: Extract) -> tuple[list[NewTable], frozenset[str]]:
    """Return the tables to publish, merged again where the base has changed, and the names of superseded ones."""
    found: dict[str, NewTable | None] = {}
    for table in tables:
        with _trouble_of(table.name):
            found[table.name] = _placed(table, base)
    placed = [table for table in found.values() if table is not None]
    return placed, frozenset(name for name, table in found.items() if table is None)


def _placed(table: NewTable, base: Extract) -> NewTable | None:
    """Return a table as it can be published on `base`; `None` if what is there stays.

    Another run may have published the same table between our read and our swap. Publishing ours as it is would drop
    rows that only the other run has read, so an increment is merged again on what the other run published. A full read
    has nothing to merge: the later read is the truer one. Compare-and-swap repeats this until nobody came first.
    """
    state, meta = base.state(table.name), base.meta.get(table.name)
    if state.version == table.base.version:
        return table
    if meta is None:  # it was deleted in the meantime, which a run that started earlier must not undo
        return None
    if state.registration not in (None, table.registration):  # rows of another registration are never merged
        return None
    if table.rebase is not None:
        try:
            return table.rebase(state, base.own_files(table.name))
        except SourceError:
            return None  # the next run merges it on the new base, and reports the problem
    return None if meta.extracted_at is not None and meta.extracted_at > table.read_at else table


def rows_of(table: NewTable, base: Extract, uploads: Uploads) -> list[FileRow]:
    """Return the file rows of a table: files that the replaced extract lists keep their object, others are uploaded."""
    rows: list[FileRow] = []
    for file, twin in matched(table.files, base.files.get(table.name, ())):
        if isinstance(file, FileRow):
            rows.append(file)
        else:
            key = uploads.key_of(table.name, file, twin)
            rows.append(FileRow(key, file.partition, file.rows, file.size_bytes, file.sha256, file.stats))
    return rows


def _rows(
    tables: Sequence[NewTable], base: Extract, uploads: Uploads, verdicts: Verdicts
) -> Mapping[str, list[FileRow]]:
    """Return the file rows of tables that may be published."""
    rows: dict[str, list[FileRow]] = {}
    for table in tables:
        with _trouble_of(table.name):
            rows[table.name] = rows_of(table, base, uploads)
            if table.remote is None:
                verdicts.require(table.name, table.registration, table.columns, rows[table.name], base)
    return rows


def _write_tables(
    con: "DuckDBPyConnection", base: Extract, tables: Sequence[NewTable], rows: Mapping[str, Sequence[FileRow]]
) -> None:
    listed: list[list[object]] = []
    for table in tables:
        with _trouble_of(table.name):
            listed += [_file_row(table.name, row) for row in rows[table.name]]
    replace_rows(con, "_meta", [_meta_row(table, rows[table.name]) for table in tables])
    delete_rows(con, "_files", [table.name for table in tables if table.remote is not None])
    replace_rows(con, "_files", listed)
    replace_rows(con, "_state", [_state_row(table, base.state(table.name)) for table in tables])
    delete_rows(con, "_registrations", [table.name for table in tables])
    replace_rows(con, "_registrations", [[t.name, t.registration] for t in tables if t.registration is not None])
    delete_rows(con, "_parts", [table.name for table in tables if table.parts is not None])
    replace_rows(con, "_parts", [row for table in tables for row in _part_rows(table)])
    for remote in {table.remote.origin[0]: table.remote for table in tables if table.remote is not None}.values():
        con.execute("delete from extract.main._remote_attach where alias = ?", [remote.origin[0]])
        row = [remote.origin[0], remote.extension, remote.url, remote.token_env]
        con.execute(
            "insert into extract.main._remote_attach (alias, extension, url, token_env) values (?, ?, ?, ?)", row
        )
    delete_rows(con, "_inputs", [table.name for table in tables])
    replace_rows(con, "_inputs", [row for table in tables for row in _input_rows(table)])


def _write_view(con: "DuckDBPyConnection", table: NewTable, rows: Sequence[FileRow], url: str, home: Path) -> None:
    if table.remote is None:
        write_view(con, "extract", table.name, rows, table.columns, data_url=url, home=home)
    else:  # DuckDB's transactions write to one database, and the view is bound to another; the file is swapped as a whole
        con.execute("commit")
        write_remote_view(con, "extract", table.name, table.remote.origin, table.columns)
        con.execute("begin")
    if table.description:
        view = f"extract.main.{quote(table.name)}"
        con.execute(f"comment on view {view} is {quote_text(table.description)}")


def _meta_row(table: NewTable, rows: Sequence[FileRow]) -> list[object]:
    count, size = sum(row.rows for row in rows), sum(row.size_bytes for row in rows)
    return [table.name, table.description, count, size, table.read_at, "local" if table.remote is None else "remote"]


def _file_row(table: str, row: FileRow) -> list[object]:
    return [table, row.path, row.partition, row.rows, row.size_bytes, row.sha256, json.loads(row.stats or "null")]


def _part_rows(table: NewTable) -> list[list[object]]:
    return [[table.name, part.name, part.mark, part.rows, json.loads(part.about)] for part in table.parts or ()]


def _input_rows(table: NewTable) -> list[list[object]]:
    return [[table.name, each.table, each.hash, each.columns and list(each.columns)] for each in table.inputs]


def _state_row(table: NewTable, replaced: TableState) -> list[object]:
    return [table.name, replaced.version + 1, table.cursor, table.fingerprint]


def _noted(run: TableRun, failure: Exception | None, warning: str | None) -> TableRun:
    """Return a run as failed if its table could not be published; a warning is stored with the table, as a notice."""
    if failure is None:
        if warning is None:
            return run
        note = run.error if run.status == "empty" else None
        return replace(run, status="empty", error=with_warning(note, warning))
    return replace(run, status="failed", error=str(failure), rows=None, size_bytes=None)


def _write_runs(con: "DuckDBPyConnection", runs: Sequence[TableRun], run_id: str, now: datetime) -> None:
    rows = [[r.table, run_id, r.status, r.error, r.rows, r.size_bytes, r.rejected, r.ms, now] for r in runs]
    replace_rows(con, "_runs", rows)
