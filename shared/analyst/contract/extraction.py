"""Running a connector: unchanged tables are skipped, the others are read in parallel and published together."""

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files, logs
from analyst.catalog import Column
from analyst.contract import publishing
from analyst.contract.checkpoints import TimeUpError
from analyst.contract.connector import Connector, Extracted, Part, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.merging import WidenError
from analyst.contract.model import SCHEMA, Extract, FileRow, TableState
from analyst.contract.publishing import NewTable, TableRun, Uploads
from analyst.contract.staging import RepeatedRowsError, Staging
from analyst.contract.verdicts import Checker, with_warning
from analyst.contract.views import columns_of
from analyst.errors import AnalystError, SourceError, UnavailableError
from analyst.names import did_you_mean, is_name
from analyst.runs import Reading, Run, RunRecord, TableResult
from analyst.store import Store

_LOG = logging.getLogger(f"{logs.ROOT}.extract")
LONGEST = 12 * 3600.0
"""Seconds after which a run publishes nothing, because the sweep deletes unreferenced files after a day."""

_SEEN = ", rows were last seen "
_EMPTY = "; check whatever writes them"
"""The end of the note on a table that received no rows."""

_ATTEMPTS = 4
"""How often a table is read because columns turn out to be text."""

SIDE_BY_SIDE = 2
"""Tables that are read at the same time; each keeps one processor busy."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of an extract: its record, and the current version of the source's extract.duckdb.

    If tables are `left` because the time was up, the record is not written: the run continues with these. `base` is the
    version with which it began.
    """

    record: RunRecord
    version: str | None
    left: tuple[str, ...] = ()
    base: str | None = None


FanOut = Callable[[Sequence[SourceTable]], Sequence[TableResult] | None]
"""Has changed tables extracted elsewhere and returns their results; `None` if they are to be extracted here.

Tables without a result are left to the next part of the run.
"""


Stage = tuple[Callable[[], Connector], frozenset[str] | None]
"""A connector, and which of its tables to extract by name (`None`: all)."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """One extract of a source. `memory_limit` is per table; `scratch` is a local folder, by default the system's.

    `registrations` returns the uuids of the registered tables by name, as of when the connector was created. A published
    table that the connector does not list has vanished, unless the connector lists only a part of the source
    (`is_partial`).
    """

    store: Store
    source: str
    run_id: str
    now: Callable[[], datetime]
    memory_limit: str = "300MB"
    scratch: Path | None = None
    registrations: Callable[[], Mapping[str, str]] = field(default=dict)
    is_partial: bool = False
    side_by_side: int = SIDE_BY_SIDE
    """Tables that are read at the same time; no more than `SIDE_BY_SIDE` of them are merged at the same time."""
    fan_out: "FanOut | None" = None
    """Hands the changed tables to other processes, if they are many."""
    check: Checker | None = None
    is_time_up: Callable[[], bool] = lambda: False
    """Whether tables that nobody reads yet are left to the next part of the run; one is always read, or a piece of it."""
    before: RunRecord | None = None
    """What the earlier parts of the run did."""
    _merges: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(SIDE_BY_SIDE))

    def run(self, connector: Callable[[], Connector], only: frozenset[str] | None = None) -> Ended:
        """Create a connector, extract its tables (all, or `only` those of these names) and write the run's record.

        A table that fails keeps its last good version and does not block the others. Problems of the source are not
        raised but recorded.
        """
        return self.run_in_turn([(connector, only)])

    def run_in_turn(self, stages: Iterable["Stage"]) -> Ended:
        """Run connectors of the source one after the other, each with its tables, as one run.

        The tables of a stage are published before the next stage is taken.
        """
        run = Run.begin(self.store, self.now, "extract", self.source, run_id=self.run_id)
        if self.before is not None:
            run.started_at, run.notes = self.before.started_at, [*self.before.notes]
            run.add(*self.before.tables)
        version, base, is_first = None, None, True
        left: tuple[str, ...] = ()
        try:
            with Reading(run) as reading:
                for connector, only in stages:
                    if left:  # the time is up, so all that comes later is left, too
                        left += tuple(sorted(only or ()))
                        continue
                    with duckdb_files.scratch(self.scratch) as folder:
                        opened = connector()
                        results, before, version, left = self._extract(opened, only, folder, run, reading)
                        base, is_first = before if is_first else base, False
                        run.add(*results)
                        run.notes += opened.notes()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the run ends with a record of it
            run.error = self._explain(failure)
        if left and run.error is None:
            return Ended(run.record(), version, left, base)
        return Ended(run.end(), version, base=base)

    def _extract(
        self, connector: Connector, only: frozenset[str] | None, folder: Path, run: Run, reading: Reading
    ) -> tuple[list[TableResult], str | None, str | None, tuple[str, ...]]:
        """Extract the tables of a connector; return their results, the version before, the version after, and what is left."""
        began = time.monotonic()
        base, version = read_extract(self.store, self.source, folder, with_details=True)
        listed = [table for table in connector.tables() if only is None or table.name in only]
        tables, twins = _without_twins(listed)
        uuids = self.registrations()
        tables = [replace(table, registration=uuids.get(table.name)) for table in tables]
        base = base.without_predecessors({table.name: table.registration for table in tables})
        changed = [table for table in tables if _is_changed(table, base)]
        spread = None if self.fan_out is None else self.fan_out(changed)
        if spread is not None:
            unchanged = [_unchanged(table, base) for table in tables if table not in changed]
            after, done = read_extract(self.store, self.source, folder)[1], {result.table for result in spread}
            left = tuple(table.name for table in changed if table.name not in done)
            return [*spread, *unchanged, *twins], version, after, left
        uploads = Uploads(self.store, self.source, lambda: str(ULID()))
        reading.expect(len(changed))
        with ThreadPoolExecutor(self.side_by_side) as pool:

            def read_one(table: SourceTable) -> tuple[TableResult, NewTable | None] | None:
                if table is not changed[0] and self.is_time_up():
                    return None
                reading.begin(table.name)
                try:
                    result, made = self._read(connector, table, base, uploads, folder)
                except TimeUpError:
                    return None
                reading.end(result)
                return result, made

            attempted = list(pool.map(read_one, changed))
        read = [one for one in attempted if one is not None]
        left = tuple(table.name for table, one in zip(changed, attempted, strict=True) if one is None)
        if time.monotonic() - began > LONGEST:
            raise UnavailableError(
                "the extract took longer than 12 hours, so nothing is published; extract fewer tables at once"
            )
        unchanged = [_unchanged(table, base) for table in tables if table not in changed]
        absent = {table.name for table in listed}
        gone = [] if self.is_partial or only is not None else [name for name in base.meta if name not in absent]
        vanished = [_vanished(self.source, name, base) for name in gone if not base.state(name).is_imported]
        results, published = self._publish(read, uploads, folder, _noted(base, [*unchanged, *vanished]), run.notes)
        missing = [
            _missing(self.source, name, base, absent | base.meta.keys())
            for name in sorted((only or frozenset()) - absent)
        ]
        return [*results, *unchanged, *vanished, *missing, *twins], version, published or version, left

    def _read(
        self, connector: Connector, table: SourceTable, base: Extract, uploads: Uploads, folder: Path
    ) -> tuple[TableResult, NewTable | None]:
        began = time.monotonic()
        try:
            if table.problem:
                raise SourceError(table.problem)  # noqa: TRY301 - reported like an error of reading it
            state = base.state(table.name)
            if not state.is_imported:  # the names of another system say nothing about the source
                table = replace(table, originals=base.originals.get(table.name, {}))
            listed = base.own_parts(table.name, is_replaced=table.sync_strategy == "full_refresh")
            parts = tuple(Part(part.name, part.mark, part.about) for part in listed)
            table = replace(table, parts=parts, records=tuple(part.about for part in parts))
            home = _new_home(folder, table)
            staging = Staging(self.store, uploads, table, home, self.memory_limit, table.read_at or self.now())
            is_replaced = table.sync_strategy == "full_refresh" and table.name in base.refused
            files = () if is_replaced else base.own_files(table.name)
            extracted, made = _staged(connector, staging, state, files, self._merges)
        except TimeUpError:
            raise
        except Exception as failure:  # noqa: BLE001 - a table's failure, whatever it is, must not stop the others
            return TableResult(table=table.name, status="failed", error=self._explain(failure), ms=_ms(began)), None
        if (kept := _kept_import(self.source, table, base, made)) is not None:
            return kept, None
        result = TableResult(
            table=table.name,
            status="ok",
            rows=sum(file.rows for file in made.files),
            size_bytes=sum(file.size_bytes for file in made.files),
            rejected=extracted.rejected,
            rejects=extracted.rejects,
            notes=(*extracted.notes, *_repeated(table, made)),
            passed_over=extracted.passed_over,
            note=_note(table, base, extracted, made),
            ms=_ms(began),
        )
        return result, made

    def _explain(self, failure: Exception) -> str:
        """Return the reason for the source's owner; details of an unexpected error go to the log."""
        if isinstance(failure, AnalystError):
            return str(failure)
        if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
            return "the disk is full; free space in SCRATCH_DIR, or set it to a larger disk"
        fields = {"run_id": self.run_id, "source": self.source}
        _LOG.error("an extract failed unexpectedly", exc_info=failure, extra={"fields": fields})
        return f"unexpected error; see the log entry of run {self.run_id}"

    def _publish(
        self,
        read: Sequence[tuple[TableResult, NewTable | None]],
        uploads: Uploads,
        folder: Path,
        noted: Sequence[TableRun],
        notes: list[str],
    ) -> tuple[list[TableResult], str | None]:
        results = [result for result, _table in read]
        tables = [table for _result, table in read if table is not None]
        if not tables and not noted:
            return results, None
        published = publishing.publish(
            self.store,
            self.source,
            tables,
            [*(_run_row(result, is_empty=_is_noted(result, table)) for result, table in read), *noted],
            run_id=self.run_id,
            uploads=uploads,
            now=self.now,
            folder=folder,
            check=self.check,
        )
        notes += published.notes.values()
        return [self._ended(result, published) for result in results], published.version

    def _ended(self, result: TableResult, published: publishing.Published) -> TableResult:
        if result.table in published.superseded:
            return result.model_copy(update={"status": "superseded"})
        if (failure := published.failed.get(result.table)) is not None:
            return TableResult(table=result.table, status="failed", error=self._explain(failure), ms=result.ms)
        if (warning := published.warned.get(result.table)) is not None:
            return result.model_copy(update={"note": with_warning(result.note, warning)})
        return result


def _without_twins(tables: Sequence[SourceTable]) -> tuple[list[SourceTable], list[TableResult]]:
    """Return the tables with a unique name, and failures for those that share a name."""
    originals: dict[str, list[str]] = {}
    for table in tables:
        originals.setdefault(table.name, []).append(table.original)
    failed = [
        TableResult(
            table=name,
            status="failed",
            error=f"{shared[0]!r} and {shared[1]!r} would both be called {name!r}; rename one of them",
        )
        for name, shared in originals.items()
        if len(shared) > 1
    ]
    return [table for table in tables if len(originals[table.name]) == 1], failed


def _is_changed(table: SourceTable, base: Extract) -> bool:
    """Return whether a table must be read: it differs from what was published, or that can't be used."""
    return table.name in base.refused or not table.is_as(base.state(table.name).fingerprint)


def _new_home(folder: Path, table: SourceTable) -> Path:
    if not is_name(table.name):
        raise SourceError(f"{table.name!r} is not a valid table name; names consist of a-z, 0-9 and _")
    if table.name in SCHEMA:
        raise SourceError(
            f"{table.name!r} is the name of a table of the contract in extract.duckdb; give this table another name"
        )
    home = folder / table.name
    home.mkdir()
    return home


def _staged(
    connector: Connector,
    staging: Staging,
    state: TableState,
    files: tuple[FileRow, ...],
    merges: threading.BoundedSemaphore,
) -> tuple[Extracted, NewTable]:
    """Read and stage one table; if published values do not fit a column's new type, read it again as text.

    All rows are read if the published cursor was reached in another place, or by another key or column. They are read again
    if rows that equal published ones may be others, or if the merged table has another number of rows than the source,
    because rows were deleted there.
    """
    table, since = replace(staging.table, before=_all_columns(files), fingerprint_before=state.fingerprint), None
    if _is_incremental(table):
        table = replace(table, published=_published(files), lacks_cursors=staging.lacks_cursors(files))
        if table.grows_like(state.fingerprint):
            since = state.cursor
        else:
            table = replace(table, parts=())
    for attempt in range(_ATTEMPTS):
        extracted = connector.extract(table, since, _new_folder(staging.home, f"new-{attempt}"))
        try:
            with merges:
                made = staging.stage(extracted, state, files)
            rows = sum(file.rows for file in made.files)
            if extracted.expected_rows in (None, rows) or since is None:
                return extracted, made
            since = None
        except WidenError as error:
            columns = [column for column in table.published if column.name not in error.columns]
            texts = (Column(name=name, type="VARCHAR") for name in error.columns)
            wider = replace(table, published=(*columns, *texts))
            if wider == table or attempt == _ATTEMPTS - 1:
                raise
            table = replace(wider, parts=())
        except RepeatedRowsError:
            table = replace(table, parts=())
    raise SourceError(f"{table.original} gave rows that contradict each other in {_ATTEMPTS} attempts; sync it again")


def _is_incremental(table: SourceTable) -> bool:
    return table.sync_strategy == "incremental"


def _published(files: Sequence[FileRow]) -> tuple[Column, ...]:
    """Return the columns of files, without those that have no value yet and therefore no type."""
    found: dict[str, Column] = {}
    for file in files:
        for name, stats in (
            file.column_stats.items() if file.rows else ()
        ):  # which is parsed each time that it is asked for
            if stats.get("nulls") != file.rows:
                found[name] = Column(name=name, type=stats["type"])
    return tuple(found.values())


def _all_columns(files: Sequence[FileRow]) -> tuple[Column, ...]:
    return tuple({column.name: column for file in files for column in columns_of(file)}.values())


def _new_folder(home: Path, name: str) -> Path:
    folder = home / name
    folder.mkdir()
    return folder


def _unchanged(table: SourceTable, base: Extract) -> TableResult:
    meta = base.meta.get(table.name)
    rows, size = (meta.rows, meta.size_bytes) if meta else (None, None)
    notice = base.notices.get(table.name)
    note = notice.text if notice is not None and notice.status == "empty" else None
    return TableResult(table=table.name, status="unchanged", rows=rows, size_bytes=size, note=note)


def _vanished(source: str, name: str, base: Extract) -> TableResult:
    """Report a table whose files are gone; the text stays the same until they are back."""
    known, meta = base.notices.get(name), base.meta[name]
    text = known.text if known is not None and known.status == "vanished" else _gone(source, name, base)
    return TableResult(table=name, status="vanished", rows=meta.rows, size_bytes=meta.size_bytes, note=text)


def _gone(source: str, name: str, base: Extract) -> str:
    return (
        f"its files are no longer in the source (last seen {_last_seen(base, name)}); the published rows stay readable; "
        f"put the files back, or remove the table: da admin tables remove {source}.{name}"
    )


def _last_seen(base: Extract, name: str) -> str:
    meta = base.meta.get(name)
    return "never" if meta is None or meta.extracted_at is None else f"{meta.extracted_at:%Y-%m-%d %H:%M} UTC"


def _missing(source: str, name: str, base: Extract, known: Iterable[str]) -> TableResult:
    error = "the source does not have this table"
    if name in base.meta:
        error = f"{error} anymore: {_gone(source, name, base)}"
    else:
        advice = f"; to list its tables, run: da admin sources preview {source}"
        error = f"{error}{did_you_mean(name, known) or advice}"
    return TableResult(table=name, status="missing", error=error)


def _noted(base: Extract, results: Sequence[TableResult]) -> list[TableRun]:
    """Return the rows of `_runs` that change for tables that were not read: new notices, and those that ended."""
    vanished = {name for name, notice in base.notices.items() if notice.status == "vanished"}
    return [_run_row(result) for result in results if (result.status == "vanished") != (result.table in vanished)]


def _kept_import(source: str, table: SourceTable, base: Extract, made: NewTable) -> TableResult | None:
    """Return the result that keeps an imported table, if its source has no rows to replace the imported ones with.

    A source that is connected after an import often starts empty, or points to the wrong place. Its first sync must not
    replace the only copy of the data by nothing; once it has rows, it replaces the import.
    """
    meta = base.meta.get(table.name)
    if (
        made.rows_read
        or made.remote is not None
        or meta is None
        or not meta.rows
        or not base.state(table.name).is_imported
    ):
        return None
    note = (
        f"the source has no rows, so the {meta.rows:,} imported rows stay; add rows to it, or delete the table with DELETE "
        f"/api/admin/tables/{source}.{table.name}"
    )
    return TableResult(table=table.name, status="unchanged", rows=meta.rows, size_bytes=meta.size_bytes, note=note)


def _is_empty(table: SourceTable, made: NewTable, old: Sequence[FileRow]) -> bool:
    """Return whether a table received nothing: no row at all, or only rows that an incremental table has already."""
    same = [(file.sha256, file.partition) for file in made.files] == [(file.sha256, file.partition) for file in old]
    return made.rows_read == 0 or (_is_incremental(table) and same)


def _note(table: SourceTable, base: Extract, extracted: Extracted, made: NewTable) -> str | None:
    """Return the note on a table that was read: rows that came too late, or no rows."""
    if made.remote is not None:
        return None
    old, known = base.own_files(table.name), base.notices.get(table.name)
    late = extracted.passed_over + made.rows_read - sum(file.rows for file in made.files)
    if late > 0 and not table.primary_key:
        return f"at least {late} rows arrived late, with a cursor before {made.base.cursor}, and were skipped; set cursor_lag to read that far back, or sync once with sync_strategy full_refresh"
    if not _is_empty(table, made, old):
        return None
    what = "its files contain no rows"
    if extracted.passed_over:
        what = f"its increment was empty: {extracted.passed_over} rows are before the cursor {made.base.cursor} and were skipped, and no other row is new or changed"
    elif _is_incremental(table) and (made.rows_read or old):
        what = "its increment was empty: its files changed, but no row is new or changed"
    _, mark, seen = known.text.partition(_SEEN) if known is not None and known.status == "empty" else ("", "", "")
    if mark:
        return f"{what}{mark}{seen}"
    return f"{what}{_SEEN}{_last_seen(base, table.name)}{_EMPTY}" if old else f"{what}{_EMPTY}"


def _repeated(table: SourceTable, made: NewTable) -> tuple[str, ...]:
    """Report that rows share a key, and which of them is published."""
    if not made.repeated_keys:
        return ()
    last = "the last row, in the order of the files' names"
    which = f"the one with the greatest {table.cursor_column!r}, else {last}" if table.cursor_column else last
    key = ", ".join(table.primary_key)
    return (f"{made.repeated_keys} values of the key {key} occur in several rows; {which}, is published",)


def _is_noted(result: TableResult, made: NewTable | None) -> bool:
    """Return whether the note is stored with the table, as that of an empty one is."""
    return made is not None and result.note is not None and _EMPTY in result.note


def _run_row(result: TableResult, *, is_empty: bool = False) -> TableRun:
    return TableRun(
        table=result.table,
        status="empty" if is_empty else result.status,
        rows=result.rows,
        size_bytes=result.size_bytes,
        rejected=result.rejected,
        error=result.error or result.note,
        ms=result.ms,
    )


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
