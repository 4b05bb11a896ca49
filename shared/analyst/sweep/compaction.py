"""Which tables lie scattered in many small files, and which of these become few.

A table that grows by small increments has a file for each; DuckDB takes 0.1 ms to open one, and a store in a cloud a
request or two. Keyed tables are never scattered: each increment writes them anew, in files as large as they may be.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from analyst.catalog import Column
from analyst.contract.model import FILE_NAME, Extract, FileRow, Meta, TableState, data_prefix
from analyst.contract.parquet import MAX_FILE_BYTES
from analyst.contract.views import columns_of, described_columns
from analyst.errors import ContractError, SourceError
from analyst.types import portable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from analyst.snapshots import Snapshot

Files = tuple[FileRow, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which files become few, and how many of them in one sweep.

    They are at least `fewest` files in a row, of one partition, each smaller than `small_bytes`. They are rewritten in
    batches of at most `batch_files` and `batch_bytes`, which bound memory and disk, and of one sweep's tables at most
    `most_tables` and `most_bytes`.
    """

    fewest: int = 32
    small_bytes: int = MAX_FILE_BYTES // 4
    batch_files: int = 1_000
    batch_bytes: int = 2 * MAX_FILE_BYTES
    most_bytes: int = 4 * MAX_FILE_BYTES
    most_tables: int = 20

    def batches(self, files: Iterable[FileRow]) -> Iterator[Files]:
        """Give the files of a table that become few, in their order."""
        for (is_small, _), in_a_row in groupby(files, lambda file: (self._is_small(file), file.partition)):
            found = tuple(in_a_row)
            if is_small and len(found) >= self.fewest:
                yield from (batch for batch in self._cut(found) if len(batch) > 1)

    def _is_small(self, file: FileRow) -> bool:
        return file.size_bytes < self.small_bytes

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
    """A table of many small files as it was read; `batches` are those that become few."""

    source: str
    meta: Meta
    state: TableState
    columns: tuple[Column, ...]
    files: Files
    batches: tuple[Files, ...]

    @property
    def count(self) -> int:
        """How many files become few."""
        return sum(map(len, self.batches))

    @property
    def size_bytes(self) -> int:
        """How large these are."""
        return sum(map(_size, self.batches))


def find(con: "DuckDBPyConnection", source: str, extract: Extract, rule: Rule) -> Iterator[Scattered]:
    """Find the scattered tables of a source, whose extract is attached as `extract`."""
    for table, files in extract.files.items():
        batches, meta, state = tuple(rule.batches(files)), extract.meta.get(table), extract.state(table)
        if batches and meta is not None and _is_ours(source, meta, state, files) and _types_stay(con, files):
            columns = described_columns(con, "extract", table)
            yield Scattered(source, meta, state, columns, files, batches)


def choose(found: Iterable[Scattered], rule: Rule) -> list[Scattered]:
    """Choose what one sweep does: those of the most files first, as far as the rule's bounds reach."""
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
    """Tell whether somebody went back to an earlier snapshot, so that the newest shows a source as it was before.

    It stays so until the source publishes anew, and a compaction is no reason to end it.
    """
    if version is None or newest.built_from.get(source) != version:
        return False  # the next rebuild takes the source as it is
    broken = {problem.table for problem in newest.catalog.problems if problem.source == source}
    shown = {table.name: table.version for table in newest.catalog.tables if table.source == source}
    there = {table: extract.state(table).version for table in extract.meta}
    return any(shown.get(name) != there.get(name) for name in (shown.keys() | there.keys()) - broken)


def _is_ours(source: str, meta: Meta, state: TableState, files: Files) -> bool:
    """Tell whether a table was published as ours are; files of other names belong to whoever wrote them."""
    name = re.compile(re.escape(data_prefix(source, meta.table)) + FILE_NAME)
    is_published = state.version > 0 and meta.query_mode == "local" and meta.extracted_at is not None
    paths = {file.path for file in files}  # one that stands twice is there once for readers of Delta
    return is_published and len(paths) == len(files) and all(map(name.fullmatch, paths))


def _types_stay(con: "DuckDBPyConnection", files: Files) -> bool:
    """Tell whether each column is of one type in all files, which is the one that it would be written as."""
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


def _size(files: Sequence[FileRow]) -> int:
    return sum(file.size_bytes for file in files)
