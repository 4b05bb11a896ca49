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
from analyst.contract.delta import Commit, DeltaLog, delta_schema, next_commit, restating_commit
from analyst.contract.extract_edit import delete_rows, edit_extract, read_extract, replace_rows
from analyst.contract.extract_file import read_commits
from analyst.contract.model import Extract, FileRow, TableState, data_prefix, dropped_key
from analyst.contract.parquet import ParquetFile
from analyst.contract.views import write_view
from analyst.errors import AnalystError, ConflictError, ContractError, SourceError
from analyst.names import quote, quote_text
from analyst.store import ANY, Store
from analyst.store.compare_and_swap import upload_once

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
    it is published for. `rows_read` are those that came from the source, and `repeated_keys` the primary keys that several
    of them have.
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

    `failed` are those that could not be published, each with the reason. `notes` say, by table, what was found and done
    where another writer had changed a Delta log.
    """

    version: str | None
    superseded: frozenset[str] = frozenset()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


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

    def change(con: "DuckDBPyConnection", base: Extract, home: Path) -> tuple[frozenset[str], _Committed]:
        if together:
            base.require_whole()
        placed, superseded = _place([table for table in tables if table.name not in failed], base)
        if together and superseded:
            raise MovedError(f"{source}.{min(superseded)} moved meanwhile; begin again on what is there now")
        rows: dict[str, list[FileRow]] = {}
        for table in placed:
            with _trouble_of(table.name):
                rows[table.name] = _rows_of(table, base, uploads)
        same = frozenset(table.name for table in placed if table.same_rows)
        committed = _Committing(con, log, now(), folder).commit(base, rows, same)
        _write_tables(con, base, placed, rows)
        for table in placed:
            with _trouble_of(table.name):
                _write_view(con, table, rows[table.name], store.url, home)
        noted = [_noted(run, failed.get(run.table)) for run in runs if run.table not in superseded]
        _write_runs(con, noted, run_id, now())
        return superseded, committed

    while True:
        try:
            version, (superseded, committed) = edit_extract(store, source, change, now=now, folder=folder)
        except _TableError as error:
            if together:
                raise error.reason from error
            failed[error.table] = error.reason  # what was done is rolled back; begin again without it
        else:
            version, notes = _copied(log, version, committed, now=now, folder=folder)
            return Published(version, superseded, failed, notes)


def drop(
    store: Store,
    source: str,
    table: str,
    *,
    now: Callable[[], datetime],
    folder: Path,
    shown_version: int | None = None,
) -> bool:
    """Take a deregistered table out of its source's extract; tell whether it was there. Its files stay for the sweep.

    Its state stays too, a version on, so that a run that read it before finds out and does not bring it back. A mark
    outside of the extract (`dropped_key`) lets the next rebuild remove it from the snapshot, which no extract can do by
    itself. `shown_version` is the table's version in the newest snapshot; with it both are written also where the extract
    does not list the table, or is gone. To readers of Delta the table is empty from then on.
    """
    base, _version = read_extract(store, source, folder)
    was_there = table in base.meta or table in base.files or table in base.refused
    if not was_there and shown_version is None:
        return False

    log = DeltaLog(store, source)

    def change(con: "DuckDBPyConnection", current: Extract, _home: Path) -> _Committed:
        version = max(current.state(table).version, shown_version or 0) + 1
        # before the swap: whoever finds the table gone finds the mark as well
        store.put(dropped_key(source, table), json.dumps({"version": version}).encode(), if_version=ANY)
        con.execute(f"drop view if exists extract.main.{quote(table)}")
        committed = _Committing(con, log, now(), folder).commit(current, {table: []})
        for listed in ("_meta", "_files", "_runs", "_registrations"):
            delete_rows(con, listed, [table])
        replace_rows(con, "_state", [[table, version, None, None]])
        return committed

    version, committed = edit_extract(store, source, change, now=now, folder=folder)
    _copied(log, version, committed, now=now, folder=folder)
    return was_there


def dropped_version(store: Store, source: str, table: str) -> int:
    """Return the version that the last deletion of a table left, 0 if it was never deleted: lower ones are gone.

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


def restate(
    store: Store, source: str, tables: Iterable[str], *, now: Callable[[], datetime], folder: Path
) -> tuple[str, Mapping[str, str]]:
    """Have the Delta logs of tables say what is published, after whatever other writers have committed to them.

    Return the version of the new extract.duckdb, and what was found and done, by table.

    Raises:
        ContractError: the extract can't be read.
        UnavailableError: the store does not answer, or others win the swap for minutes.
    """
    log, left, notes = DeltaLog(store, source), frozenset(tables), dict[str, str]()
    version = ""
    for _ in range(_RESTATED_AT_MOST):  # the other writer may be at it still

        def change(con: "DuckDBPyConnection", base: Extract, _home: Path, left: frozenset[str] = left) -> _Committed:
            committing = _Committing(con, log, now(), folder)
            for table in sorted(left):
                committing.restate(table, base.files.get(table, ()))
            return committing.written()

        version, committed = edit_extract(store, source, change, now=now, folder=folder)
        notes |= committed.notes
        left = log.copy(committed.commits)
        if not left:
            break
    return version, notes


_RESTATED_AT_MOST = 3


@dataclass(slots=True)
class _Committed:
    """The Delta commits that a swap publishes, and notes on tables whose logs another writer had changed."""

    commits: list[Commit] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Committing:
    """Makes the Delta commits of one swap of an extract, which is attached as `extract`."""

    con: "DuckDBPyConnection"
    log: DeltaLog
    at: datetime
    folder: Path
    made: _Committed = field(default_factory=_Committed)

    def commit(
        self, base: Extract, rows: Mapping[str, Sequence[FileRow]], same: Collection[str] = frozenset()
    ) -> _Committed:
        """Write the next Delta commit of each table to `_delta`; the last ones are in their logs by then.

        The rows of those in `same` are what they were. A log that does not say what was published last, because another
        writer has the name of its commit, or because Delta had no word for that, is restated.
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
        """Add the commit that restates a table's log; one that can't be read is noted and left to an administrator."""
        source, where = self.log.source, self.log.folder_of(table)
        about = f"another writer has changed the Delta log of {source}.{table}"
        try:
            found = self.log.read(table, self.folder)
        except ContractError as error:
            self.made.notes[table] = f"{about}, and {error}; delete {where}, and the next sweep makes it anew"
            return
        made = restating_commit(self.con, source, table, found, files=files, at=self.at)
        if made is not None:
            self.made.commits.append(made)
            if is_foreign:
                restated = f"its version {made.version} restates what is published"
                self.made.notes[table] = f"{about}; {restated}. Never write to {where}"

    def written(self) -> _Committed:
        """Write all commits to `_delta`, and return them."""
        rows = [[commit.table, commit.version, commit.text] for commit in self.made.commits]
        replace_rows(self.con, "_delta", rows)
        return self.made


def _copied(
    log: DeltaLog, version: str, committed: _Committed, *, now: Callable[[], datetime], folder: Path
) -> tuple[str, Mapping[str, str]]:
    """Bring the logs up to what was published, and restate those where another writer came first.

    Where that fails they lag until the next publish or sweep. Return the version of the extract, and the notes.
    """
    tables, notes = [commit.table for commit in committed.commits], dict(committed.notes)
    try:
        foreign = log.copy(committed.commits)
        if foreign:
            version, found = restate(log.store, log.source, foreign, now=now, folder=folder)
            notes |= found
    except AnalystError as error:
        fields = {"source": log.source, "tables": tables, "reason": str(error)}
        _LOG.warning("a Delta log lags behind", extra={"fields": fields})
    for table, note in notes.items():
        _LOG.warning("%s", note, extra={"fields": {"source": log.source, "table": table}})
    return version, notes


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
