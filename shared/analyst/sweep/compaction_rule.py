"""The choice of tables to compact: those with many small files.

A table that grows by small increments has a file for each; DuckDB takes 0.1 ms to open one, and a store in a cloud a
request or two. The files of a keyed table are smaller, so that an increment rewrites little; it is compacted when many
are still smaller than that, together with the files whose ranges overlap theirs, so that it stays clustered by its key.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from analyst.catalog import Column
from analyst.contract import key_ranges, stable_cuts
from analyst.contract.key_ranges import FileSizes, Order
from analyst.contract.model import FILE_NAME, Extract, FileRow, Meta, TableState, data_prefix
from analyst.contract.parquet import MAX_FILE_BYTES
from analyst.contract.views import columns_of, described_columns
from analyst.errors import ContractError, SourceError
from analyst.types import portable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from analyst.snapshots import Snapshot

Files = tuple[FileRow, ...]

_FEWER = 4
"""Files with the same columns are compacted apart from others if at most a quarter as many remain."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which files are compacted, and how many in one sweep.

    They are at least `fewest` consecutive files of one partition, each smaller than `small_bytes`, which were not cut
    by content (`stable_files`). They are rewritten in batches of at most `batch_files` and `batch_bytes`, which bound
    memory and disk. One sweep rewrites at most `most_tables` and `most_bytes`.
    """

    fewest: int = 32
    small_bytes: int = MAX_FILE_BYTES // 4
    batch_files: int = 1_000
    batch_bytes: int = 2 * MAX_FILE_BYTES
    most_bytes: int = 4 * MAX_FILE_BYTES
    most_tables: int = 20
    keyed: FileSizes = field(default_factory=FileSizes)

    def batches(self, files: Iterable[FileRow]) -> Iterator[Files]:
        """Yield the batches of a table's files to rewrite, in their order."""
        for (is_small, _), in_a_row in groupby(files, lambda file: (self._is_small(file), file.partition)):
            found = tuple(in_a_row)
            if is_small and len(found) >= self.fewest:
                yield from (batch for alike in _alike(found) for batch in self._cut(alike) if len(batch) > 1)

    def _is_small(self, file: FileRow) -> bool:
        """Files that were cut by content stay: merging replaces all of them, now and after each full refresh."""
        return file.size_bytes < self.small_bytes and not stable_cuts.is_marked(file.stats)

    def keyed_batches(self, con: "DuckDBPyConnection", files: Files, order: Order) -> Iterator[Files]:
        """Yield the files of a keyed table to rewrite: at least `fewest` of less than half the size of its files.

        Files whose ranges overlap theirs are rewritten with them if all fit into one batch.
        """
        limit = self.keyed.file_bytes(_size(files)) // 2
        small = {file.path for file in files if file.size_bytes < limit}
        if len(small) < self.fewest:
            return
        try:
            groups = key_ranges.in_order(con, files, order)
        except SourceError:  # bounds that are no values of their columns are not ours
            return
        chosen = [file for group in groups if any(file.path in small for file in group) for file in group]
        if _size(chosen) > self.batch_bytes or len(chosen) > self.batch_files:
            chosen = [file for group in groups for file in group if file.path in small]
        yield from (batch for batch in self._cut(tuple(chosen)) if len(batch) > 1)

    def _cut(self, files: Files) -> Iterator[Files]:
        start = size = 0
        for end, file in enumerate(files):
            size += file.size_bytes
            if end - start == self.batch_files or size > self.batch_bytes:
                yield files[start:end]
                start, size = end, file.size_bytes
        yield files[start:]


@dataclass(frozen=True, slots=True)
class Scattered:
    """A table with many small files; `batches` are the files to rewrite."""

    source: str
    meta: Meta
    state: TableState
    columns: tuple[Column, ...]
    files: Files
    batches: tuple[Files, ...]
    order: Order | None = None
    """The order of a keyed table, which the rewritten files keep."""
    file_bytes: int = MAX_FILE_BYTES

    @property
    def count(self) -> int:
        """The number of files to rewrite."""
        return sum(map(len, self.batches))

    @property
    def size_bytes(self) -> int:
        """Their total size in bytes."""
        return sum(map(_size, self.batches))


def find(con: "DuckDBPyConnection", source: str, extract: Extract, rule: Rule) -> Iterator[Scattered]:
    """Find the tables to compact of a source, whose extract is attached as `extract`."""
    for table, files in extract.files.items():
        order, meta, state = key_ranges.common_order(files), extract.meta.get(table), extract.state(table)
        batches = tuple(rule.batches(files) if order is None else rule.keyed_batches(con, files, order))
        if batches and meta is not None and _is_ours(source, meta, state, files) and _types_stay(con, files):
            columns = described_columns(con, "extract", table)
            size = MAX_FILE_BYTES if order is None else rule.keyed.file_bytes(_size(files))
            yield Scattered(source, meta, state, columns, files, batches, order, size)


def choose(found: Iterable[Scattered], rule: Rule) -> list[Scattered]:
    """Choose the tables of one sweep within the rule's limits, those with the most files first."""
    chosen: list[Scattered] = []
    left = rule.most_bytes
    for table in sorted(found, key=lambda table: -table.count):
        if len(chosen) == rule.most_tables:
            break
        batches: list[Files] = []
        for batch in table.batches:
            if _size(batch) > left:
                break
            batches.append(batch)
            left -= _size(batch)
        if batches:
            chosen.append(replace(table, batches=tuple(batches)))
    return chosen


def is_set_back(newest: "Snapshot", source: str, extract: Extract, version: str | None) -> bool:
    """Return whether the newest snapshot shows a source as it was earlier, because of a rollback.

    It stays so until the source publishes again; a compaction must not end that.
    """
    if version is None or newest.built_from.get(source) != version:
        return False  # the next rebuild reads the source anyway
    broken = {problem.table for problem in newest.catalog.problems if problem.source == source}
    shown = {table.name: table.version for table in newest.catalog.tables if table.source == source}
    published = {table: extract.state(table).version for table in extract.meta}
    return any(shown.get(name) != published.get(name) for name in (shown.keys() | published.keys()) - broken)


def _is_ours(source: str, meta: Meta, state: TableState, files: Files) -> bool:
    """Return whether we published a table; files with other names belong to third-party connectors."""
    name = re.compile(re.escape(data_prefix(source, meta.table)) + FILE_NAME)
    is_published = state.version > 0 and meta.query_mode == "local" and meta.extracted_at is not None
    paths = {file.path for file in files}  # Delta readers count a file that is listed twice only once
    return is_published and len(paths) == len(files) and all(map(name.fullmatch, paths))


def _types_stay(con: "DuckDBPyConnection", files: Files) -> bool:
    """Return whether each column has the same type in all files, and a rewrite would keep that type."""
    import duckdb

    types: dict[str, str] = {}
    try:
        for columns in map(columns_of, files):
            if not columns or any(types.setdefault(column.name, column.type) != column.type for column in columns):
                return False
        kinds = {name: con.sqltype(kind) for name, kind in types.items()}
        return all(con.sqltype(portable(name, kind).type) == kind for name, kind in kinds.items())
    except (duckdb.Error, ContractError, SourceError):
        return False


def _alike(files: Files) -> list[Files]:
    """Cut files where their columns change, so that it stays known which rows were read without a column.

    Files whose columns change again and again stay together: apart, they would be as many as before.
    """
    runs = [tuple(run) for _, run in groupby(files, _column_names)]
    return runs if len(runs) * _FEWER <= len(files) else [files]


def _column_names(file: FileRow) -> frozenset[str] | None:
    """Return the names of a file's columns; `None` if its statistics, those of another writer, can't be read."""
    try:
        return frozenset(column.name for column in columns_of(file))
    except ContractError:
        return None


def _size(files: Sequence[FileRow]) -> int:
    return sum(file.size_bytes for file in files)
