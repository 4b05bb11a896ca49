"""The parts of a published table. A part is one or a few files, and is rewritten only if its rows change.

A part of a table is a month. A part of `raw_issues` is a month and a block of ids, so that it stays small: nobody
downloads these, and every event changes one. An issue with a large document has a part of its own in every table. The
part of an issue follows from its state alone, and rows are in the order of the table's key, so equal knowledge gives
equal files.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from queue import Empty, LifoQueue
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import Row, Table
from analyst.contract import parquet
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import Uploads
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote, quote_text
from analyst.store import Store, in_parallel
from analyst.store.transfer import local_copy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


RAW: Final = "raw_issues"
BLOCK: Final = 256
"""The number of issue ids in a block."""
LARGE: Final = 1 << 19
"""An issue with a larger document, in bytes, has files of its own, because DuckDB sorts all rows of a part at once."""

Files = tuple[FileRow, ...]


def is_large(state: IssueState) -> bool:
    """Return whether an issue has parts of its own."""
    return len(state.to_json()) > LARGE


def part_of(table: str, state: IssueState, *, is_own: bool) -> str:
    """Return the part of a table that an issue is in: its own, or one shared with others."""
    shared = f"{state.month}/{int(state.issue_id) // BLOCK}" if table == RAW else state.month
    return f"{shared}/{state.issue_id}" if is_own else shared


def month_of(part: str) -> str:
    """Return the month of a part."""
    return part.partition("/")[0]


def block_of(part: str) -> int:
    """Return the block of ids of a part of `raw_issues`."""
    return int(part.split("/")[1])


def is_own(table: str, part: str) -> bool:
    """Return whether a part of a table belongs to one issue."""
    return part.count("/") > (table == RAW)


def may_hold(part: str, issue_ids: Collection[str]) -> bool:
    """Return whether a part of `raw_issues` may contain one of these issues; one that belongs to one issue contains only that."""
    return not is_own(RAW, part) or part.rpartition("/")[2] in issue_ids


def in_order(parts: Iterable[str]) -> list[str]:
    """Sort parts by month, by block, and by issue."""
    return sorted(parts, key=lambda part: (month_of(part), *map(int, part.split("/")[1:])))


def by_part(files: Iterable[FileRow]) -> dict[str, Files]:
    """Group the files of a table by part, without the empty file that only has its columns."""
    found: dict[str, list[FileRow]] = {}
    for file in files:
        if file.partition is not None:
            found.setdefault(file.partition, []).append(file)
    return {part: tuple(listed) for part, listed in found.items()}


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A part to rewrite: its `files` without the rows of some issues, plus other rows."""

    table: Table
    part: str
    files: Files = ()
    without: frozenset[str] = frozenset()
    rows: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes files of tables on one connection, into a local folder. `local` maps files of the bucket to local copies."""

    con: "DuckDBPyConnection"
    folder: Path
    local: Callable[[FileRow], Path]
    _numbers: Iterator[int] = field(default_factory=count)

    def empty(self, table: Table) -> ParquetFile:
        """Write the file without rows that has all columns of a table, because older files may not have all."""
        self._make("incoming", table)
        (file,) = self._write(table, "from incoming")
        return file

    def rewrite(self, rewriting: Rewriting) -> list[ParquetFile]:
        """Rewrite a part; a part without rows has no file."""
        table = rewriting.table
        self._make("incoming", table)
        duckdb_files.insert(self.con, "incoming", table.types, rewriting.rows)
        kept = [self._kept(rewriting)] if rewriting.files else []
        query = " union all by name ".join([*kept, "from incoming"])
        with raised_as(ContractError, f"{table.name} of {rewriting.part} can't be rewritten: "):
            files = self._write(table, f"from ({query})")
        return [replace(file, partition=rewriting.part) for file in files if file.rows]

    def begin(self, tables: Iterable[Table]) -> None:
        """Create the tables for the rows of whole parts, which arrive in any order."""
        for table in tables:
            self._make(table.name, table)

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows of a part."""
        duckdb_files.insert(self.con, quote(table.name), table.types, rows)

    def end(self, table: Table, part: str) -> list[ParquetFile]:
        """Write a part from the rows that were added."""
        files = self._write(table, f"from {quote(table.name)}")
        return [replace(file, partition=part) for file in files if file.rows]

    def _kept(self, rewriting: Rewriting) -> str:
        paths = ", ".join(quote_text(str(self.local(file))) for file in rewriting.files)
        scan = f"from read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
        gone = ", ".join(quote_text(issue_id) for issue_id in sorted(rewriting.without))
        return f"{scan} where issue_id not in ({gone})" if gone else scan

    def _make(self, name: str, table: Table) -> None:
        columns = ", ".join(f"{quote(column)} {kind}" for column, kind in table.types.items())
        self.con.execute(f"create or replace temp table {quote(name)} ({columns})")

    def _write(self, table: Table, rows: str) -> list[ParquetFile]:
        columns, key = (", ".join(map(quote, names)) for names in (table.types, table.key))
        into = self.folder / f"{next(self._numbers)}"
        into.mkdir(parents=True)
        paths = parquet.write(self.con, f"select {columns} {rows} order by {key}", into, is_portable=True)
        described = [Column(name=name, type=kind) for name, kind in table.types.items()]
        return [parquet.inspect(self.con, path, described) for path in paths]


def documents(
    con: "DuckDBPyConnection", paths: Sequence[Path], issue_ids: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Read the ids and documents of some or all issues from files of `raw_issues`."""
    files = ", ".join(quote_text(str(path)) for path in paths)
    wanted = "" if issue_ids is None else f"where issue_number in ({', '.join(str(int(one)) for one in issue_ids)})"
    query = f"select issue_id, document from read_parquet([{files}], hive_partitioning = false) {wanted}"
    with raised_as(ContractError, f"{RAW} can't be read: "):
        found = con.execute(query)
        while some := found.fetchmany(BLOCK):
            yield from some


def deleted(con: "DuckDBPyConnection", paths: Sequence[Path], before: datetime) -> list[str]:
    """Read the ids of issues that were deleted before a time from files of `raw_issues`."""
    files = ", ".join(quote_text(str(path)) for path in paths)
    query = f"select issue_id from read_parquet([{files}], hive_partitioning = false) where deleted_at < ?::timestamptz"
    with raised_as(ContractError, f"{RAW} can't be read: "):
        return [issue_id for (issue_id,) in con.execute(query, [before.isoformat()]).fetchall()]


def may_be_deleted(file: FileRow, before: datetime) -> bool:
    """Return whether a file of `raw_issues` may contain issues deleted before a time, by its statistics."""
    stats = file.column_stats.get("deleted_at", {})
    return (
        file.rows > 0 and stats.get("nulls") != file.rows and stats.get("min", "") < before.astimezone(UTC).isoformat()
    )


DOWNLOADS: Final = 8
SIDE_BY_SIDE: Final = 2
"""The number of files written at the same time; each keeps one processor busy."""
_QUICK: Final = 1 << 20
"""Bytes of files that are rewritten one after the other, because a second writer would not be worth its start."""

Rows = Callable[[IssueState], Mapping[str, Sequence[Row]]]
"""Returns the rows of an issue by table."""


@dataclass(slots=True)
class Writers:
    """Writers that share a local folder. `listed` are the files that are in the bucket already, by table, part and hash."""

    store: Store
    uploads: Uploads
    listed: Collection[tuple[str, str | None, str]]
    folder: Path
    memory_limit: str
    _free: "LifoQueue[Writer]" = field(default_factory=LifoQueue)
    _numbers: Iterator[int] = field(default_factory=count)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def states(self, files: Iterable[ParquetFile | FileRow], ids: Collection[str] | None = None) -> list[IssueState]:
        """Read the states of some or all issues from files of `raw_issues`."""
        paths = in_parallel(self._path, files, DOWNLOADS)
        if not paths:
            return []
        with self._writer() as writer:
            return [IssueState.from_json(text) for _, text in documents(writer.con, paths, ids)]

    def deleted(self, files: Iterable[FileRow], before: datetime) -> list[str]:
        """Read the ids of issues in files of `raw_issues` that were deleted before a time."""
        paths = [self._path(file) for file in files]
        if not paths:
            return []
        with self._writer() as writer:
            return deleted(writer.con, paths, before)

    def empty(self, table: Table) -> ParquetFile:
        """Write the empty file with the columns of a table."""
        with self._writer() as writer:
            return self._placed(table, [writer.empty(table)])[0]

    def rewritten(self, rewritings: Sequence[Rewriting]) -> dict[str, dict[str, Sequence[ParquetFile]]]:
        """Rewrite parts, the largest first, and return their files by table and part; one at a time if a document is large."""
        found: dict[str, dict[str, Sequence[ParquetFile]]] = {}
        by_size = sorted(rewritings, key=lambda one: -sum(file.size_bytes for file in one.files))
        is_large = any(is_own(one.table.name, one.part) for one in rewritings)
        is_quick = (
            sum(file.size_bytes for one in rewritings for file in one.files) < _QUICK
        )  # another writer takes longer
        with ThreadPoolExecutor(1 if is_large or is_quick else SIDE_BY_SIDE) as pool:
            for one, files in zip(by_size, pool.map(self._rewrite, by_size), strict=True):
                found.setdefault(one.table.name, {})[one.part] = files
        return found

    def made(
        self, tables: Sequence[Table], months: Sequence[tuple[str, Sequence[ParquetFile | FileRow]]], rows: Rows
    ) -> list[dict[str, list[ParquetFile]]]:
        """Build months of tables from their files of `raw_issues`; return the files of each month by table."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(lambda month: self._make(tables, month[0], month[1], rows), months))

    def _rewrite(self, rewriting: Rewriting) -> list[ParquetFile]:
        with self._writer() as writer:
            return self._placed(rewriting.table, writer.rewrite(rewriting))

    def _make(
        self, tables: Sequence[Table], month: str, raw: Sequence[ParquetFile | FileRow], rows: Rows
    ) -> dict[str, list[ParquetFile]]:
        with self._writer() as writer:
            writer.begin(tables)
            made: dict[str, dict[str, list[ParquetFile]]] = {table.name: {} for table in tables}
            for file in raw:
                small, large = list[Mapping[str, Sequence[Row]]](), list[IssueState]()
                for _, text in documents(writer.con, [self._path(file)]):
                    state = IssueState.from_json(text)
                    if is_large(state):
                        large.append(state)
                    else:
                        small.append(rows(state))
                for table in tables:
                    writer.add(table, [row for one in small for row in one[table.name]])
                for state in large:
                    own = rows(state)
                    for table in tables:
                        part = part_of(table.name, state, is_own=True)
                        made[table.name][part] = writer.rewrite(Rewriting(table, part, rows=own[table.name]))
            for table in tables:
                made[table.name][month] = writer.end(table, month)
            return {
                table.name: self._placed(table, [file for part in in_order(found) for file in found[part]])
                for table, found in zip(tables, made.values(), strict=True)
            }

    def _placed(self, table: Table, files: list[ParquetFile]) -> list[ParquetFile]:
        """Upload files that are not in the bucket, and delete them here, except those that tables are built from."""
        for file in files:
            if (table.name, file.partition, file.sha256) not in self.listed:
                self.uploads.key_of(table.name, file)
                if table.name != RAW:
                    file.path.unlink()
        return files

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        """Lend a writer that is free; at first there is none, and each that is missing is made."""
        try:
            writer = self._free.get_nowait()
        except Empty:
            home = self.folder / f"writer-{next(self._numbers)}"
            lent = duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=home / "spill")
            writer = Writer(self._open.enter_context(lent), home, self._local)
        try:
            yield writer
        finally:
            self._free.put(writer)

    def _path(self, file: ParquetFile | FileRow) -> Path:
        return self._local(file) if isinstance(file, FileRow) else file.path

    def _local(self, file: FileRow) -> Path:
        return local_copy(self.store, file.path, self.folder / "base" / file.path.replace("/", "-"))
