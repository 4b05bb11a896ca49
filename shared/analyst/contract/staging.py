"""Staging one table: the rows that a connector read are merged with published ones, and uploaded file by file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract import cursors, merging, parquet, stable_cuts
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.key_ranges import Order
from analyst.contract.keyed_merge import Files, KeyedMerge, Merged
from analyst.contract.loss_check import check_losses
from analyst.contract.merging import Increment
from analyst.contract.model import FileRow, PartRow, TableState
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import NewTable, Rebase, Uploads, matched
from analyst.contract.views import columns_of
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import is_name, quote, quote_text
from analyst.store import Store
from analyst.store.transfer import local_copy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_UPLOADS_AT_ONCE = 2
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_COMMON_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9:.]+(?:\+00)?)?")


class RepeatedRowsError(SourceError):
    """Rows without a key equal published ones, but may be others, because parts of the source were not read."""


@dataclass(frozen=True, slots=True)
class Staging:
    """One table of one run. `home` is its local folder; `read_at` is the time at which reading the source began."""

    store: Store
    uploads: Uploads
    table: SourceTable
    home: Path
    memory_limit: str
    read_at: datetime
    _numbers: Iterator[int] = field(default_factory=count)

    def stage(self, extracted: Extracted, state: TableState, base: tuple[FileRow, ...]) -> NewTable:
        """Return the table to publish: what was extracted, merged with the base; files that are missing in the base are uploaded."""
        if extracted.remote is not None:
            return replace(self._new_table(extracted, state, (), (), rows_read=0), remote=extracted.remote)
        with duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=self.home / "spill") as con:
            read = tuple(parquet.inspect(con, path) for path in extracted.files)
        self._check(read, is_unread=any(part.files is None for part in extracted.parts))
        if extracted.deleted and not self.table.primary_key:
            raise SourceError(f"{self.table.original} reports deleted rows, which needs a primary_key: name one")
        if self.table.sync_strategy == "full_refresh":
            files, parts = self._replacing(extracted, read, base)
            rows = sum(file.rows for file in files)
            new = self._new_table(extracted, state, files, parts, rows_read=rows)
        elif extracted.replaces:
            new = replace(self._on(extracted, read, state, ()), cursor=extracted.cursor, rebase=None)
        else:
            new = self._on(extracted, read, state, base)
        now = extracted.counted if extracted.is_first_part else sum(file.rows for file in new.files)
        if now is not None:
            check_losses(self.table, state, sum(row.rows for row in base), now, counted=extracted.counted)
        self._upload(new, base, keep=read if self.table.sync_strategy == "incremental" else ())
        return new

    def lacks_cursors(self, base: Sequence[FileRow]) -> bool:
        """Return whether a published row with a key has a cursor without a place in the order."""
        column = self.table.cursor_column
        if column is None or not self.table.primary_key:
            return False
        stats = [(row, row.column_stats.get(column, {})) for row in base if row.rows]
        unsure = [
            self._local(row)
            for row, column_stats in stats
            if column_stats.get("nulls") != 0 or "max" not in column_stats
        ]
        if not unsure:
            return False
        with self._connect() as con:
            return merging.least(con, unsure, column)[1]

    def _replacing(
        self, extracted: Extracted, read: Sequence[ParquetFile], base: Sequence[FileRow]
    ) -> tuple[tuple[ParquetFile | FileRow, ...], tuple[PartRow, ...]]:
        """Return the files of a full refresh, in which parts that were not read keep theirs, and the rows of its parts."""
        if not extracted.parts:
            return self._cut(read), ()
        by_path, files, parts = {file.path: file for file in read}, list[ParquetFile | FileRow](), list[PartRow]()
        for part in extracted.parts:
            if part.files is None:
                own: tuple[ParquetFile | FileRow, ...] = tuple(row for row in base if row.partition == part.name)
            else:
                cut = self._cut([by_path[path] for path in part.files])
                own = tuple(replace(file, partition=part.name) for file in cut)
            files += own
            parts.append(PartRow(part.name, part.mark, sum(file.rows for file in own), part.about))
        return tuple(files), tuple(parts)

    def _cut(self, read: Sequence[ParquetFile]) -> tuple[ParquetFile, ...]:
        if not self.table.stable_files:
            return tuple(read)
        with self._connect() as con:
            paths = stable_cuts.cut(con, read, self._folder())
            return tuple(stable_cuts.marked(parquet.inspect(con, path)) for path in paths)

    def _check(self, read: Sequence[ParquetFile], *, is_unread: bool) -> None:
        """Check what the connector wrote; nothing is enough if parts stay as they are published."""
        if not read and not is_unread:
            raise SourceError(
                f"{self.table.original}: the connector wrote no file, not even an empty one with its columns"
            )
        names = {column.name for file in read for column in file.columns}
        if odd := sorted(name for name in names if not is_name(name)):
            raise SourceError(f"{self.table.original} has the column {odd[0]!r}; names consist of a-z, 0-9 and _")

    def _on(
        self, extracted: Extracted, read: tuple[ParquetFile, ...], state: TableState, base: tuple[FileRow, ...]
    ) -> NewTable:
        if not read:  # of parts that are gone the rows stay
            merged = Merged(base, 0)
        elif self.table.primary_key:
            merged = self._merged(extracted, read, base)
        else:
            with self._connect() as con:
                merged = Merged(self._added(con, read, base, extracted), 0)
        before = state.cursor if self.table.grows_like(state.fingerprint) else None
        cursor = cursors.later(self._cursor_type(read), before, extracted.cursor)

        def rebase(moved: TableState, rows: tuple[FileRow, ...]) -> NewTable | None:
            if self._is_outdated(extracted, moved):
                return None
            return self._on(extracted, read, moved, rows)

        rows = sum(file.rows for file in read)
        parts = tuple(PartRow(part.name, part.mark, 0, part.about) for part in extracted.parts)
        made = self._new_table(extracted, state, merged.files, parts, rows_read=rows, cursor=cursor, rebase=rebase)
        return replace(made, repeated_keys=merged.repeated_keys)

    def _is_outdated(self, extracted: Extracted, moved: TableState) -> bool:
        """Return whether another run read later than this one, and no column decides between its rows and these."""
        ours, theirs = extracted.cursor, moved.cursor
        if self.table.cursor_column is not None or ours is None or theirs is None:
            return False
        return cursors.later("VARCHAR", ours, theirs) == theirs

    def _merged(self, extracted: Extracted, read: Sequence[ParquetFile], base: tuple[FileRow, ...]) -> Merged:
        """Merge by key; see `contract.keyed_merge`."""
        if self.table.partitioned_by is not None:
            return self._merged_by_period(extracted, read, base, *self.table.partitioned_by)
        increment = Increment(
            new=[file.path for file in read],
            order=Order(self.table.primary_key, self.table.clustered_by),
            cursor=self.table.cursor_column,
            deleted=extracted.deleted,
            is_whole=extracted.is_whole,
        )
        return KeyedMerge(base, self._local, self._folder, self.memory_limit).run(increment)

    def _merged_by_period(
        self, extracted: Extracted, read: Sequence[ParquetFile], base: Sequence[FileRow], column: str, period: str
    ) -> Merged:
        """Merge each period of a table on its own; a row that moved to another period leaves the one that it was in.

        A row without a usable date is in a period of its own, which has an empty name.
        """
        order = Order(self.table.primary_key, self.table.clustered_by)
        scan, made = merging.scan([file.path for file in read]), dict[str, tuple[list[Path], list[Path]]]()
        with self._connect() as con, raised_as(SourceError):
            merging.check_order(con, [file.path for file in read], order)
            repeated = merging.repeated_keys(con, [file.path for file in read], order.key)
            pattern = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[period]
            moment = f"try_cast(cast({quote(column)} as varchar) as timestamp)"
            of_row = f"coalesce(case when isfinite({moment}) then strftime({moment}, {quote_text(pattern)}) end, '')"
            key = ", ".join(map(quote, order.key))
            periods = {str(name) for (name,) in con.execute(f"select distinct {of_row} from {scan}").fetchall()}
            for name in sorted(periods | {row.partition or "" for row in base}) or [""]:
                rows = parquet.write(con, f"select * from {scan} where {of_row} = {quote_text(name)}", self._folder())
                moved = f"select distinct {key} from {scan} where {of_row} <> {quote_text(name)}"
                made[name] = (rows, [*parquet.write(con, moved, self._folder()), *extracted.deleted])
        files = list[ParquetFile | FileRow]()
        for name, (rows, gone) in made.items():
            kept = tuple(row for row in base if (row.partition or "") == name)
            increment = Increment(new=rows, order=order, cursor=self.table.cursor_column, deleted=gone if kept else ())
            merged = KeyedMerge(kept, self._local, self._folder, self.memory_limit).run(increment)
            files += [replace(file, partition=name) if isinstance(file, ParquetFile) else file for file in merged.files]
        return Merged(tuple(file for file in files if file.rows) or tuple(files[:1]), repeated)

    def _added(
        self, con: "DuckDBPyConnection", read: Sequence[ParquetFile], base: Sequence[FileRow], extracted: Extracted
    ) -> Files:
        if not base:
            return tuple(read)
        if not any(file.rows for file in read):
            return tuple(base)
        new = [file.path for file in read]
        listed_twice = len({row.path for row in base}) < len(base)
        if listed_twice or _differ([columns_of(row) for row in base], [file.columns for file in read]):
            local = [self._local(row) for row in base]
            old = merging.going_with(con, local, new, self._folder(), is_whole=extracted.is_whole)
            stay, more = merging.appended(con, old, new, self._folder())
            united = merging.united_apart(con, [*stay, *more], self._folder())
            made: Files = tuple(file for file in (parquet.inspect(con, path) for path in united) if file.rows)
        else:
            near = {self._local(row): row.path for row in self._near(con, new, base)}
            stay, more = merging.appended(con, list(near), new, self._folder())
            replaced = {near[path] for path in near.keys() - set(stay)}
            kept = (row for row in base if row.path not in replaced)
            made = (*kept, *(file for file in (parquet.inspect(con, path) for path in more) if file.rows))
        self._check_repeated(read, base, made, extracted)
        return made

    def _check_repeated(
        self, read: Sequence[ParquetFile], base: Sequence[FileRow], made: Files, extracted: Extracted
    ) -> None:
        """Check that no row that was read counted as published already, if it may be another one."""
        before, new, after = (sum(file.rows for file in files) for files in (base, read, made))
        if extracted.may_repeat and after < before + new:
            raise RepeatedRowsError(f"{self.table.original} has rows that equal published ones; it is read in full")

    def _near(self, con: "DuckDBPyConnection", new: Sequence[Path], base: Sequence[FileRow]) -> Sequence[FileRow]:
        """Return the files of the base that may contain some of the new rows, by the greatest cursor of each."""
        column = self.table.cursor_column
        if column is None:
            return base
        least, has_odd = merging.least(con, new, column)
        near = list[FileRow]()
        for row in base:
            stats = row.column_stats.get(column, {})
            has_nulls = stats.get("nulls") != 0
            is_before = least is None or _is_before(stats, least)
            if not (is_before and "max" in stats) or (has_odd and has_nulls):
                near.append(row)
        return near

    def _new_table(
        self,
        extracted: Extracted,
        state: TableState,
        files: tuple[ParquetFile | FileRow, ...],
        parts: tuple[PartRow, ...],
        *,
        rows_read: int,
        cursor: Cursor = None,
        rebase: Rebase | None = None,
    ) -> NewTable:
        return NewTable(
            rows_read=rows_read,
            name=self.table.name,
            description=extracted.description or self.table.description,
            columns=extracted.columns,
            files=files,
            fingerprint=self.table.mark(is_complete=extracted.is_complete),
            cursor=cursor,
            base=state,
            read_at=min(self.read_at, extracted.read_at or self.read_at),
            rebase=rebase,
            registration=self.table.registration,
            parts=parts,
            inputs=self.table.inputs,
        )

    def _upload(self, new: NewTable, base: Sequence[FileRow], keep: Sequence[ParquetFile]) -> None:
        """Upload file by file, and delete each local copy unless a merge on another base would need it again."""
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
        return local_copy(
            self.store, row.path, self.home / "base" / row.path
        )  # by the whole key, since file names may repeat

    def _folder(self) -> Path:
        folder = self.home / f"merge-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def _connect(self) -> "DuckDBPyConnection":
        return duckdb_files.connect(memory_limit=self.memory_limit, temp_dir=self.home / "spill")


def _is_before(stats: Mapping[str, Any], least: str) -> bool:
    """Return whether the statistics of a column prove that all its values are before `least`."""
    greatest = stats.get("max")
    if isinstance(greatest, int):
        return greatest < Decimal(least) if _NUMBER.fullmatch(least) else False
    if stats.get("type") in ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE") and isinstance(greatest, str):
        return bool(_COMMON_TIME.fullmatch(least)) and greatest.rstrip("Z") < least.replace(" ", "T").removesuffix(
            "+00"
        )
    return False


def _differ(old: Iterable[Sequence[Column]], new: Iterable[Sequence[Column]]) -> bool:
    """Return whether a column that both sides have differs in type."""
    types = {column.name: column.type for columns in old for column in columns}
    return any(types.get(column.name, column.type) != column.type for columns in new for column in columns)
