"""Rewriting small files into few, of the same rows in the same order, and publishing them.

That is done as an extract does it: no lock, the swap of `extract.duckdb`, a version on. Cursor and fingerprint stay, so
that the next increment goes on from there; a table that moved meanwhile is left for the next time, and an extract that
began before is put upon the few. Older snapshots and Delta versions have their files until the sweep's rules let go of them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files, logs, runs
from analyst.catalog import Column
from analyst.contract import merging, parquet, publishing
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import LONGEST
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import NewTable, Uploads
from analyst.contract.views import columns_of
from analyst.errors import ContractError, UnavailableError
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.store.transfer import local_copy
from analyst.sweep.compaction import Files, Scattered, is_set_back

_LOG = logging.getLogger(f"{logs.ROOT}.sweep")
_DOWNLOADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A table whose few files are in the bucket: each batch with what became of it, to be published.

    `began` is when that was begun, in seconds of a clock that never goes back.
    """

    table: Scattered
    few: Mapping[Files, Files]
    began: float

    def new_table(self) -> NewTable:
        """Make of it what is published: only the files are others. It gives way if the table has moved."""
        meta, state = self.table.meta, self.table.state
        if meta.extracted_at is None:
            raise ContractError(f"{self.table.source}.{meta.table} does not say when it was extracted")
        return NewTable(
            name=meta.table,
            description=meta.description,
            columns=self.table.columns,
            files=tuple(_put_in(self.few, self.table.files)),
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
    """What rewriting works with. `memory_limit` is what DuckDB may use."""

    store: Store
    snapshots: Snapshots
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None

    def rewrite(self, table: Scattered) -> Rewritten:
        """Write the rows of a table's small files into few, and upload these.

        Raises:
            ContractError: a file does not hold what is listed of it.
            SourceError: a file can't be read.
            UnavailableError: the store does not answer.
        """
        began = time.monotonic()
        with duckdb_files.scratch(self.scratch) as folder:
            few = {batch: tuple(self._few(table, batch, folder)) for batch in table.batches}
        return Rewritten(table, few, began)

    def publish(self, rewritten: Rewritten) -> bool:
        """Publish a table unless it has moved, or somebody went back to an earlier snapshot; tell whether that was done.

        Raises:
            ContractError: the extract can't be read or changed.
            UnavailableError: the store does not answer, or it is too late.
        """
        table, source = rewritten.table, rewritten.table.source
        with duckdb_files.scratch(self.scratch) as folder:
            if time.monotonic() - rewritten.began > LONGEST:
                raise UnavailableError("it took longer than 12 hours, so what was rewritten is not published")
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
            )
        if published.superseded:
            return False
        fields = {"source": source, "table": table.meta.table, "files": table.count, "bytes": table.size_bytes}
        _LOG.info("small files became few", extra={"fields": fields})
        return True

    def _few(self, table: Scattered, batch: Files, folder: Path) -> Iterator[FileRow]:
        """Write the rows of a batch into as few files as they fit in, and upload those."""
        with duckdb_files.scratch(folder) as home:
            into = home / "few"
            into.mkdir()
            with duckdb_files.connect(memory_limit=self.memory_limit, temp_dir=home / "spill") as con:
                paths = merging.united(con, self._local(batch, home), into)
                files = [parquet.inspect(con, path) for path in paths]
            _check(batch, files)
            for file in files:
                key = self._uploads(table.source).key_of(table.meta.table, file)
                yield FileRow(key, batch[0].partition, file.rows, file.size_bytes, file.sha256, file.stats)

    def _uploads(self, source: str) -> Uploads:
        """Make what knows of no upload yet: equal files need names of their own too, for a table lists none twice."""
        return Uploads(self.store, source, lambda: str(ULID()))

    def _local(self, batch: Files, home: Path) -> list[Path]:
        """Have the files of a batch on this machine's disk."""
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            return list(pool.map(lambda row: local_copy(self.store, row.path, home / Path(row.path).name), batch))


def _put_in(few: Mapping[Files, Files], files: Files) -> Iterator[FileRow]:
    """Give the files of a table, with the few in the places of the batches that they were made of."""
    first = {batch[0].path: rows for batch, rows in few.items()}
    gone = {row.path for batch in few for row in batch}
    for file in files:
        yield from first.get(file.path, () if file.path in gone else (file,))


def _check(batch: Files, files: Sequence[ParquetFile]) -> None:
    """Make sure that nothing was lost."""
    what = f"{batch[0].path} and the {len(batch) - 1} files after it"
    listed, written = sum(row.rows for row in batch), sum(file.rows for file in files)
    if listed != written:
        raise ContractError(f"{what} hold {written} rows, and are listed with {listed}")
    columns = _united(columns_of(row) for row in batch)
    if any(file.columns != columns for file in files):
        raise ContractError(f"{what} have other columns than they are listed with")


def _united(columns: Iterable[Sequence[Column]]) -> tuple[Column, ...]:
    """Unite columns by name, in the order in which they come."""
    return tuple({column.name: column for listed in columns for column in listed}.values())
