"""Staging one table: what a connector read becomes what is to be published, and goes into the bucket file by file."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract import merging, parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.model import FileRow, TableState
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import NewTable, Rebase, Uploads, matched
from analyst.contract.views import columns_of
from analyst.errors import SourceError
from analyst.names import is_name
from analyst.store import Store
from analyst.store.copying import local_copy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_UPLOADS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Staging:
    """One table of one run. `home` is a local folder of its own; `read_at` is when reading its source began."""

    store: Store
    uploads: Uploads
    table: SourceTable
    home: Path
    memory_limit: str
    read_at: datetime
    _numbers: Iterator[int] = field(default_factory=count)

    def stage(self, extracted: Extracted, state: TableState, base: tuple[FileRow, ...]) -> NewTable:
        """Make what is to be published of what was extracted on a base, and upload what the base does not list."""
        with self._connect() as con:
            read = tuple(parquet.inspect(con, path) for path in extracted.files)
        self._check(read)
        if self.table.sync_strategy == "full_refresh":
            new = self._new_table(extracted, state, read)
        else:
            new = self._on(extracted, read, state, base)
        self._upload(new, base, keep=read if self.table.sync_strategy == "incremental" else ())
        return new

    def _check(self, read: Sequence[ParquetFile]) -> None:
        """Hold a connector to the contract."""
        if not read:
            raise SourceError(f"{self.table.original} gave no file, not even an empty one that carries its columns")
        names = {column.name for file in read for column in file.columns}
        if odd := sorted(name for name in names if not is_name(name)):
            raise SourceError(f"{self.table.original} has the column {odd[0]!r}; a name has a-z, 0-9 and _ only")

    def _on(
        self, extracted: Extracted, read: tuple[ParquetFile, ...], state: TableState, base: tuple[FileRow, ...]
    ) -> NewTable:
        with self._connect() as con:
            files = self._merged(con, read, base) if self.table.primary_key else self._added(con, read, state, base)
            cursor = merging.later(con, self._cursor_type(read), state.cursor, extracted.cursor)

        def rebase(moved: TableState, rows: tuple[FileRow, ...]) -> NewTable | None:
            # without a key only the cursor tells which of the rows another run has added meanwhile
            untold = not self.table.primary_key and (self.table.cursor_column is None or moved.cursor is None)
            if untold and not _is_compacted(state, moved):
                return None
            return self._on(extracted, read, moved, rows)

        return self._new_table(extracted, state, files, cursor, rebase)

    def _merged(
        self, con: "DuckDBPyConnection", read: Sequence[ParquetFile], base: Sequence[FileRow]
    ) -> tuple[ParquetFile, ...]:
        old = [self._local(row) for row in base]
        new, table = [file.path for file in read], self.table
        paths = merging.merge_by_key(con, old, new, self._folder(), key=table.primary_key, cursor=table.cursor_column)
        return tuple(parquet.inspect(con, path) for path in paths)

    def _added(
        self, con: "DuckDBPyConnection", read: Sequence[ParquetFile], state: TableState, base: Sequence[FileRow]
    ) -> tuple[ParquetFile | FileRow, ...]:
        if state.cursor is not None and self.table.cursor_column is not None:
            paths = merging.after(
                con, [file.path for file in read], self.table.cursor_column, state.cursor, self._folder()
            )
            read = [parquet.inspect(con, path) for path in paths]
        added = [file for file in read if file.rows] if base else read
        if not added or not _differ([columns_of(row) for row in base], [file.columns for file in added]):
            return (*base, *added)
        old, new = [self._local(row) for row in base], [file.path for file in added]
        merging.check_types(con, old, new)
        return tuple(parquet.inspect(con, path) for path in merging.united(con, [*old, *new], self._folder()))

    def _new_table(
        self,
        extracted: Extracted,
        state: TableState,
        files: tuple[ParquetFile | FileRow, ...],
        cursor: Cursor = None,
        rebase: Rebase | None = None,
    ) -> NewTable:
        return NewTable(
            name=self.table.name,
            description=self.table.description,
            columns=extracted.columns,
            files=files,
            fingerprint=self.table.fingerprint,
            cursor=cursor,
            base=state,
            read_at=self.read_at,
            rebase=rebase,
        )

    def _upload(self, new: NewTable, base: Sequence[FileRow], keep: Sequence[ParquetFile]) -> None:
        """Upload and unlink file by file; what the base lists stays here, in case another base does not."""
        kept = {file.path for file in keep}

        def upload(found: tuple[ParquetFile | FileRow, int]) -> None:
            file, twin = found
            if isinstance(file, ParquetFile):
                self.uploads.key_of(self.table.name, file, twin)
                if file.path not in kept:
                    file.path.unlink(missing_ok=True)

        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            list(pool.map(upload, matched(new.files, base)))

    def _cursor_type(self, read: Sequence[ParquetFile]) -> str:
        found = {column.name: column.type for file in read for column in file.columns}
        return found.get(self.table.cursor_column or "", "VARCHAR")

    def _local(self, row: FileRow) -> Path:
        return local_copy(self.store, row.path, self.home / "base" / row.path)  # names alone may be alike

    def _folder(self) -> Path:
        folder = self.home / f"merge-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def _connect(self) -> "DuckDBPyConnection":
        return duckdb_files.connect(memory_limit=self.memory_limit, temp_dir=self.home / "spill")


def _is_compacted(state: TableState, moved: TableState) -> bool:
    """Tell whether nothing but a compaction lies between two states: every run changes the fingerprint that it finds."""
    return moved == replace(state, version=state.version + 1)


def _differ(old: Iterable[Sequence[Column]], new: Iterable[Sequence[Column]]) -> bool:
    """Tell whether a column that both have is of another type in one of them."""
    types = {column.name: column.type for columns in old for column in columns}
    return any(types.get(column.name, column.type) != column.type for columns in new for column in columns)
