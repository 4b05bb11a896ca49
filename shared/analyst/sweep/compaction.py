"""Compaction of a table: its small files are rewritten into few with the same rows in the same order, and published.

It publishes like an extract: without a lock, by a swap of `extract.duckdb`, as a new version. Cursor and fingerprint stay,
so the next increment continues. If the table changed in the meantime, that change stays and the next sweep tries again; an
extract that started before continues on the compacted files. Earlier snapshots and Delta versions keep their files until
the sweep deletes them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files, logs, runs
from analyst.catalog import Column
from analyst.contract import key_ranges, merging, parquet, publishing
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import LONGEST
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import NewTable, Uploads
from analyst.contract.views import columns_of
from analyst.errors import ContractError, UnavailableError
from analyst.snapshots import Snapshots
from analyst.store import Store, in_parallel
from analyst.store.transfer import local_copy
from analyst.sweep.compaction_rule import Files, Scattered, is_set_back

_LOG = logging.getLogger(f"{logs.ROOT}.sweep")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A rewritten table whose files are uploaded. `files` are those of the table with the batches replaced.

    `began` is the start of the rewrite, in seconds of the monotonic clock.
    """

    table: Scattered
    files: Files
    began: float

    def new_table(self) -> NewTable:
        """Return the table to publish, which differs only in its files. A table that has changed is not replaced."""
        meta, state = self.table.meta, self.table.state
        if meta.extracted_at is None:
            raise ContractError(f"'{self.table.source}.{meta.table}' has no extraction time")
        return NewTable(
            name=meta.table,
            description=meta.description,
            columns=self.table.columns,
            files=self.files,
            fingerprint=state.fingerprint,
            cursor=state.cursor,
            base=state,
            read_at=meta.extracted_at,
            rebase=lambda *_: None,
            same_rows=True,
            registration=state.registration,
        )


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The dependencies of a rewrite. `memory_limit` is that of DuckDB."""

    store: Store
    snapshots: Snapshots
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None

    def rewrite(self, table: Scattered) -> Rewritten:
        """Rewrite a table's small files into few, and upload those.

        Raises:
            ContractError: a file differs from its row of `_files`.
            SourceError: a file can't be read.
            UnavailableError: the store does not respond.
        """
        began = time.monotonic()
        with duckdb_files.scratch(self.scratch) as folder:
            few = {batch: tuple(self._few(table, batch, folder)) for batch in table.batches}
            files = tuple(_put_in(few, table.files))
            if table.order is not None:
                with duckdb_files.lent() as con:
                    groups = key_ranges.in_order(con, files, table.order)
                    files = tuple(file for group in groups for file in group)
        return Rewritten(table, files, began)

    def publish(self, rewritten: Rewritten) -> bool:
        """Publish a table unless it has changed or its source was rolled back; return whether it was published.

        Raises:
            ContractError: the extract can't be read or changed.
            UnavailableError: the store does not respond, or the rewrite took too long.
        """
        table, source = rewritten.table, rewritten.table.source
        with duckdb_files.scratch(self.scratch) as folder:
            if time.monotonic() - rewritten.began > LONGEST:
                raise UnavailableError(
                    "the rewrite took longer than 12 hours, after which a sweep may delete its files; it is not "
                    "published"
                )
            if is_set_back(self.snapshots.current(), source, *read_extract(self.store, source, folder)):
                return False
            published = publishing.publish(
                self.store,
                source,
                [rewritten.new_table()],
                (),
                run_id=runs.new_run_id(),
                uploads=self._uploads(source),
                now=self.now,
                folder=folder,
                check=None,
            )
        if published.superseded:
            return False
        fields = {"source": source, "table": table.meta.table, "files": table.count, "bytes": table.size_bytes}
        _LOG.info("a table was compacted", extra={"fields": fields})
        return True

    def _few(self, table: Scattered, batch: Files, folder: Path) -> Iterator[FileRow]:
        """Rewrite a batch into as few files as possible, and upload those."""
        with duckdb_files.scratch(folder) as home:
            into = home / "few"
            into.mkdir()
            with duckdb_files.connect(memory_limit=self.memory_limit, temp_dir=home / "spill") as con:
                local, order = self._local(batch, home), table.order
                if order is None:
                    files = [parquet.inspect(con, path) for path in merging.united(con, local, into)]
                else:
                    paths = merging.sorted_by(con, local, into, order=order, file_bytes=table.file_bytes)
                    files = [key_ranges.recorded(con, parquet.inspect(con, path), order) for path in paths]
            _check(batch, files)
            for file in files:
                key = self._uploads(table.source).key_of(table.meta.table, file)
                yield FileRow(key, batch[0].partition, file.rows, file.size_bytes, file.sha256, file.stats)

    def _uploads(self, source: str) -> Uploads:
        """Return a record without any upload: even equal files need separate names, because a table can't list one twice."""
        return Uploads(self.store, source, lambda: str(ULID()))

    def _local(self, batch: Files, home: Path) -> list[Path]:
        """Return the files of a batch on this machine's disk."""
        return in_parallel(lambda row: local_copy(self.store, row.path, home / Path(row.path).name), batch)


def _put_in(few: Mapping[Files, Files], files: Files) -> Iterator[FileRow]:
    """Yield the files of a table, with each batch replaced in place."""
    first = {batch[0].path: rows for batch, rows in few.items()}
    gone = {row.path for batch in few for row in batch}
    for file in files:
        yield from first.get(file.path, () if file.path in gone else (file,))


def _check(batch: Files, files: Sequence[ParquetFile]) -> None:
    """Check that the rewritten files have the rows and columns of the originals."""
    what = f"{batch[0].path} and the {len(batch) - 1} files after it"
    listed, written = sum(row.rows for row in batch), sum(file.rows for file in files)
    if listed != written:
        raise ContractError(f"{what} have {written} rows, but are listed with {listed}")
    columns = _united(columns_of(row) for row in batch)
    if any(file.columns != columns for file in files):
        raise ContractError(f"{what} have columns other than those listed")


def _united(columns: Iterable[Sequence[Column]]) -> tuple[Column, ...]:
    """Return the union of columns by name, in the order of their first occurrence."""
    return tuple({column.name: column for listed in columns for column in listed}.values())
