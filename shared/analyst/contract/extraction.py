"""Running a connector: what is unchanged is left alone, the rest is read side by side and published at once."""

import errno
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files, logs, runs
from analyst.contract import publishing
from analyst.contract.connector import Connector, Cursor, SourceTable
from analyst.contract.editing import read_extract
from analyst.contract.model import SCHEMA, Extract, TableState
from analyst.contract.publishing import NewTable, TableRun, Uploads
from analyst.contract.staging import Staging
from analyst.errors import AnalystError, SourceError, UnavailableError
from analyst.names import is_name
from analyst.runs import RunRecord, RunStatus, TableResult
from analyst.store import Store

_LOG = logging.getLogger(f"{logs.ROOT}.extract")
LONGEST = 12 * 3600.0
"""Seconds after which a run publishes nothing any more: the sweep takes a day for enough."""

SIDE_BY_SIDE = 2
"""Tables that are read at the same time; each keeps one processor busy."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an extract ended: its record, and the version of the source's extract.duckdb as it is now."""

    record: RunRecord
    version: str | None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an extract works with. `memory_limit` is per table, `scratch` a local folder or the system's place."""

    store: Store
    source: str
    run_id: str
    now: Callable[[], datetime]
    memory_limit: str = "300MB"
    scratch: Path | None = None

    def run(self, connector: Callable[[], Connector], only: frozenset[str] | None = None) -> Ended:
        """Make a connector, extract its tables (all, or `only` those of these names) and keep a record of it.

        A table that fails keeps its last good version and does not hold up the others. Nothing is raised for what is
        wrong with the source: the record tells it.
        """
        started = self.now()
        results: list[TableResult] = []
        notes: list[str] = []
        version = error = None
        try:
            with duckdb_files.scratch(self.scratch) as folder:
                results, version = self._extract(connector(), only, folder, notes)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the run ends with a record of it
            error = self._explain(failure)
        record = RunRecord(
            run_id=self.run_id,
            kind="extract",
            source=self.source,
            status="failed" if error else _status(results),
            started_at=started,
            finished_at=self.now(),
            tables=tuple(results),
            error=error,
            notes=tuple(notes),
        )
        runs.write(self.store, record)
        return Ended(record, version)

    def _extract(
        self, connector: Connector, only: frozenset[str] | None, folder: Path, notes: list[str]
    ) -> tuple[list[TableResult], str | None]:
        began = time.monotonic()
        base, version = read_extract(self.store, self.source, folder)
        tables = _without_twins([table for table in connector.tables() if only is None or table.name in only])
        changed = [table for table in tables if base.state(table.name).fingerprint != table.fingerprint]
        uploads = Uploads(self.store, self.source, lambda: str(ULID()))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            read = list(pool.map(lambda table: self._read(connector, table, base, uploads, folder), changed))
        if time.monotonic() - began > LONGEST:
            raise UnavailableError(
                "it took longer than 12 hours, so what was read is not published; extract less at once"
            )
        results, published = self._publish(read, uploads, folder, notes)
        unchanged = [_unchanged(table, base) for table in tables if table not in changed]
        missing = [_missing(name) for name in sorted((only or frozenset()) - {table.name for table in tables})]
        return sorted([*results, *unchanged, *missing], key=lambda result: result.table), published or version

    def _read(
        self, connector: Connector, table: SourceTable, base: Extract, uploads: Uploads, folder: Path
    ) -> tuple[TableResult, NewTable | None]:
        began = time.monotonic()
        try:
            home = _new_home(folder, table)
            staging = Staging(self.store, uploads, table, home, self.memory_limit, table.read_at or self.now())
            state = base.state(table.name)
            extracted = connector.extract(table, _since(table, state), _new_folder(home))
            made = staging.stage(extracted, state, base.own_files(table.name))
        except Exception as failure:  # noqa: BLE001 - one table's trouble, whatever it is, ends no other's reading
            return TableResult(table=table.name, status="failed", error=self._explain(failure), ms=_ms(began)), None
        result = TableResult(
            table=table.name,
            status="ok",
            rows=sum(file.rows for file in made.files),
            size_bytes=sum(file.size_bytes for file in made.files),
            rejected=extracted.rejected,
            rejects=extracted.rejects,
            ms=_ms(began),
        )
        return result, made

    def _explain(self, failure: Exception) -> str:
        """Tell what went wrong in words for the source's owner; what only we can mend goes to the log."""
        if isinstance(failure, AnalystError):
            return str(failure)
        if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
            return "the disk is full; see to SCRATCH_DIR"
        fields = {"run_id": self.run_id, "source": self.source}
        _LOG.error("an extract failed unexpectedly", exc_info=failure, extra={"fields": fields})
        return f"an unexpected error, which the log tells under run {self.run_id}"

    def _publish(
        self,
        read: Sequence[tuple[TableResult, NewTable | None]],
        uploads: Uploads,
        folder: Path,
        notes: list[str],
    ) -> tuple[list[TableResult], str | None]:
        results = [result for result, _table in read]
        tables = [table for _result, table in read if table is not None]
        if not tables:
            return results, None
        published = publishing.publish(
            self.store,
            self.source,
            tables,
            [_run_row(result) for result in results],
            run_id=self.run_id,
            uploads=uploads,
            now=self.now,
            folder=folder,
        )
        notes += published.notes.values()
        gave_way = {"status": "superseded"}
        return [
            result.model_copy(update=gave_way) if result.table in published.superseded else result for result in results
        ], published.version


def _without_twins(tables: Sequence[SourceTable]) -> Sequence[SourceTable]:
    """Make sure that every table has a name of its own.

    Raises:
        SourceError: two have the same; names both.
    """
    originals: dict[str, str] = {}
    for table in tables:
        if table.name in originals:
            both = f"{originals[table.name]!r} and {table.original!r}"
            raise SourceError(f"{both} would both be called {table.name!r}; rename one of them")
        originals[table.name] = table.original
    return tables


def _since(table: SourceTable, state: TableState) -> Cursor:
    return state.cursor if table.sync_strategy == "incremental" else None


def _new_home(folder: Path, table: SourceTable) -> Path:
    if not is_name(table.name):
        raise SourceError(f"{table.name!r} is no name of a table; a name has a-z, 0-9 and _ only")
    if table.name in SCHEMA:
        raise SourceError(f"extract.duckdb has a table {table.name!r} of its own; give this one another name")
    home = folder / table.name
    home.mkdir()
    return home


def _new_folder(home: Path) -> Path:
    folder = home / "new"
    folder.mkdir()
    return folder


def _unchanged(table: SourceTable, base: Extract) -> TableResult:
    meta = base.meta.get(table.name)
    rows, size = (meta.rows, meta.size_bytes) if meta else (None, None)
    return TableResult(table=table.name, status="unchanged", rows=rows, size_bytes=size)


def _missing(name: str) -> TableResult:
    return TableResult(table=name, status="missing", error="the source has no such table")


def _run_row(result: TableResult) -> TableRun:
    return TableRun(
        table=result.table,
        status=result.status,
        rows=result.rows,
        size_bytes=result.size_bytes,
        rejected=result.rejected,
        error=result.error,
        ms=result.ms,
    )


def _status(results: Sequence[TableResult]) -> RunStatus:
    """All, some or none failed are three different outcomes; nothing to do is a fourth."""
    failed = [result for result in results if result.status in ("failed", "missing")]
    if failed:
        return "failed" if len(failed) == len(results) else "partial"
    return "ok" if any(result.status == "ok" for result in results) else "unchanged"


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
