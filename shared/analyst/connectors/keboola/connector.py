"""The connector of Keboola: what changed in a project is exported, and read slice by slice.

One call lists the tables of the whole project; a table whose `lastChangeDate` has not changed since the last sync is
not exported. An incremental table is exported with `changedSince`, which shows no deleted rows: those are noticed by
the number of rows, and removed by reading the whole table.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self

from analyst.connectors.keboola.api import Project, StorageApi, TableInfo, moment_of
from analyst.connectors.keboola.columns import (
    PlannedColumn,
    as_published,
    missing_columns,
    planned_columns,
    schema_change,
)
from analyst.connectors.keboola.exports import FRESH, Export, Exports
from analyst.connectors.keboola.extension import Catalog, obstacle, read_catalog
from analyst.connectors.keboola.http import MissingError
from analyst.connectors.keboola.options import KeboolaTableOptions, seconds
from analyst.connectors.keboola.slices import CONVERSIONS, Conversion, FileType, Room, Written, read_export
from analyst.connectors.unique_names import column_names
from analyst.contract.checkpoints import Checkpoints, Pieces, TimeUpError
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.source_jobs import SourceJobs
from analyst.duckdb_files import shared
from analyst.errors import AnalystError, SourceError, UnavailableError
from analyst.http_client import HttpClient


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


_FEW: Final = 3
"""Up to this number, tables are requested one by one, instead of listing the project."""
_NAMED: Final = 5
_PLACE: Final = "from:"
_PARTIAL: Final = "partial"
_CHUNK_SECONDS: Final = 1200.0
"""The time after which a first load in windows publishes what it has read so far."""


@dataclass(frozen=True, slots=True)
class WantedTable:
    """A registered table: its id at Keboola and its options; `problem` says why they can't be used."""

    name: str
    id: str
    options: KeboolaTableOptions = field(default_factory=KeboolaTableOptions)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an incremental table was read, kept as its cursor: a text that begins with `until`, so it sorts by time.

    `until` is the time of the last change that was read, by Keboola's clock, `whole` that of the last whole read, by ours.
    `options` is a hash of what the rows depend on, `place` one of the project and branch that they come from; older cursors
    have none. A first load in windows `is_partial` until its last one.
    """

    until: datetime
    whole: datetime
    options: str
    is_partial: bool = False
    place: str = ""

    @classmethod
    def parse(cls, cursor: Cursor) -> Self | None:
        """Read a cursor; `None` if it is not of this kind."""
        parts = str(cursor or "").split(" ")
        if len(parts) not in (3, 4, 5):
            return None
        until, whole = moment_of(parts[0]), moment_of(parts[1])
        if until is None or whole is None:
            return None
        place = next((part.removeprefix(_PLACE) for part in parts[3:] if part.startswith(_PLACE)), "")
        return cls(until, whole, parts[2], is_partial=_PARTIAL in parts[3:], place=place)

    def __str__(self) -> str:
        """Return the cursor."""
        parts = [_stamp(self.until), _stamp(self.whole), self.options]
        parts += [f"{_PLACE}{self.place}"] * bool(self.place) + [_PARTIAL] * self.is_partial
        return " ".join(parts)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class _Reading:
    """One table that is being read: Keboola's description of it, and its registration."""

    wanted: WantedTable
    info: TableInfo
    columns: tuple[PlannedColumn, ...]
    key: tuple[str, ...]
    table: SourceTable
    into: Path
    notes: list[str] = field(default_factory=list)
    is_behind: bool = False
    """Whether it is read as it was when its reading began, and has changed since."""
    resumed: list[datetime] = field(default_factory=list)
    """The times at which earlier runs started the exports that it is read from."""

    @property
    def options(self) -> KeboolaTableOptions:
        return self.wanted.options


@dataclass(frozen=True, slots=True)
class KeboolaConnector:
    """The registered tables of one project. `only` names those that the run is about.

    `most` is the most exports at the same time; `None` asks the project. `memory_limit` is shared by the conversions.
    """

    api: StorageApi
    wanted: Sequence[WantedTable]
    http: HttpClient
    memory_limit: str = "300MB"
    only: frozenset[str] | None = None
    most: int | None = None
    endpoint: str | None = None
    now: Callable[[], datetime] = utc_now
    catalog: Catalog | None = None
    """The project as a catalog, by the DuckDB extension; tables that it can't read exactly are exported."""
    jobs: SourceJobs | None = None
    """The exports that were started, which the run after one that died resumes."""
    checkpoints: Checkpoints | None = None
    """Keeps the batches of exports that take longer than a request; without it, none is cut."""
    room: Room = field(default_factory=Room)
    """What the downloads and conversions of all tables share."""
    _ways: dict[str, str | None] = field(default_factory=dict, init=False)
    _projects: list[Project] = field(default_factory=list, init=False)
    _infos: dict[str, TableInfo] = field(default_factory=dict, init=False)
    _listed: list[TableInfo] = field(default_factory=list, init=False)
    _slots: list[threading.BoundedSemaphore] = field(default_factory=list, init=False)
    _csv_only: set[str] = field(default_factory=set, init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)

    def tables(self) -> Iterable[SourceTable]:
        """List the registered tables, by one call for the whole project, or one for each of a few tables.

        Raises:
            SourceError: the token is not accepted.
            UnavailableError: Keboola does not respond.
        """
        wanted = [one for one in self.wanted if self.only is None or one.name in self.only]
        found = self._look_up(wanted)
        return [self._source_table(one, found.get(one.id)) for one in wanted]

    def listed(self) -> list[TableInfo]:
        """List all tables of the project once."""
        if not self._listed:
            self._listed[:] = self.api.tables()
        return self._listed

    def use(self, infos: Sequence[TableInfo]) -> None:
        """Use a list of the project's tables that was just made."""
        self._listed[:] = infos

    def notes(self) -> tuple[str, ...]:
        """Report that no table is registered."""
        if self.wanted:
            return self._ways_in_words()
        return ("no table is registered; to list those of the project and register them, run: da admin discover",)

    def _ways_in_words(self) -> tuple[str, ...]:
        """Report how many tables were read through the extension, and why others were not."""
        if self.catalog is None or not self._ways:
            return ()
        exported = {name: reason for name, reason in self._ways.items() if reason is not None}
        parts = [f"{len(self._ways) - len(exported):,} tables were read through the DuckDB extension keboola"]
        for reason in sorted(set(exported.values())):
            names = sorted(name for name, why in exported.items() if why == reason)
            parts.append(f"{len(names):,} were exported because {reason}: {', '.join(names[:_NAMED])}")
        return ("; ".join(parts),)

    def _look_up(self, wanted: Sequence[WantedTable]) -> Mapping[str, TableInfo]:
        if not wanted:
            return {}
        if self.only is not None and len(wanted) <= _FEW and not self._listed:
            return {one.id: info for one in wanted if (info := self._asked(one.id)) is not None}
        return {info.id: info for info in self.listed()}

    def _asked(self, table: str) -> TableInfo | None:
        try:
            return self.api.table(table)
        except MissingError:
            return None

    def _source_table(self, wanted: WantedTable, info: TableInfo | None) -> SourceTable:
        if wanted.problem or info is None:
            absent = (
                f"Keboola has no table {wanted.id!r} that the token can see; the published rows stay; restore the table "
                f"or the token's permission for its bucket, or remove the table: da admin tables remove"
            )
            problem = wanted.problem or absent
            return SourceTable(wanted.name, wanted.id, fingerprint=f"problem: {problem}", problem=problem)
        self._infos[wanted.name] = info
        key = _key(wanted.options, info)
        return SourceTable(
            name=wanted.name,
            original=info.id,
            fingerprint=_fingerprint(wanted.options, info, self.now()),
            description=info.description,
            primary_key=key if wanted.options.is_incremental else (),
            sync_strategy="incremental" if wanted.options.is_incremental else "full_refresh",
            clustered_by=_clustering(wanted.options, key),
            partitioned_by=_periods(wanted.options),
            allow_fewer=wanted.options.allow_fewer,
            basis=wanted.options.basis(self.now(), self.api.connection.url, self.api.branch, info.id),
            read_at=self.now(),
        )

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Export one table, whole or what changed, and read the export into parquet files.

        Raises:
            SourceError: Keboola rejects the export or fails it, or the rows are not what the table says.
            UnavailableError: Keboola or its file storage does not respond.
            TimeUpError: the time was up; what was read is kept.
        """
        wanted = next(one for one in self.wanted if one.name == table.name)
        info = self.api.table(wanted.id)
        origin = self._origin(wanted, table)
        begun = None if self.checkpoints is None else self.checkpoints.cut(table.name, origin)
        is_behind = begun is not None and begun != _state(info)
        if begun is not None:
            info = replace(info, changed=begun["mark"], rows=begun["rows"])
        try:
            extracted = self._read(wanted, info, table, since, into, is_behind=is_behind)
        except TimeUpError:
            if self.checkpoints is not None:
                self.checkpoints.note_cut(table.name, origin, _state(info))
            raise
        if self.checkpoints is not None and begun is not None:
            self.checkpoints.forget_cut(table.name)
        return extracted

    def _read(
        self, wanted: WantedTable, info: TableInfo, table: SourceTable, since: Cursor, into: Path, *, is_behind: bool
    ) -> Extracted:
        planned = planned_columns(
            info, wanted.options.columns, wanted.options.types, _original_key(wanted.options, info)
        )
        columns = as_published(planned, table.before, wanted.options.schema_changes, info.id)
        reading = _Reading(wanted, info, columns, table.primary_key, table, into, is_behind=is_behind)
        if not wanted.options.is_incremental:
            return self._whole(reading)
        progress = Progress.parse(since)
        reason = self._reload_reason(reading, planned, progress)
        if reason is not None or progress is None:
            if table.before:
                reading.notes.append(f"all rows were read: {reason}")
            return self._windows(reading, None) if wanted.options.chunk_days else self._whole(reading)
        if progress.is_partial:
            return self._windows(reading, progress)
        return self._changes(reading, progress)

    def _reload_reason(
        self, reading: _Reading, planned: Sequence[PlannedColumn], progress: Progress | None
    ) -> str | None:
        """Return why an incremental table is read as a whole; `None` if its changes are enough."""
        options = reading.options
        if progress is None:
            return "the table was not incremental before, or rows were deleted in Keboola"
        if progress.options != _options_mark(options, reading.key):
            return "its options changed"
        if progress.place not in ("", self._place_mark()):
            return "the source reads another project or branch"
        if options.schema_changes == "evolve" and schema_change(planned, reading.table.before):
            return "its columns changed"
        if options.full_reload != "never" and not progress.is_partial:
            age = (self.now() - progress.whole).total_seconds()
            if age >= seconds(options.full_reload):
                return f"it was last read as a whole {age / 86400:.0f} days ago"
        return None

    def _whole(self, reading: _Reading) -> Extracted:
        """Read all rows of a table, which replace the published ones."""
        info, options = reading.info, reading.options
        if info.rows == 0 and not info.is_alias:
            written, is_stable = self._conversion(reading, "csv").nothing(reading.into / "empty"), True
        else:
            order: dict[str, Any] = {}
            if options.row_limit is not None:
                order["limit"] = options.row_limit
            if options.max_history_days is not None:
                order["changedSince"] = int(_days_ago(self.now(), options.max_history_days).timestamp())
            written, is_stable = self._by_catalog(reading) or self._exported(reading, order, "whole")
        if is_stable and self._is_countable(reading) and written.rows != info.rows:
            raise UnavailableError(
                f"the export of {info.id!r} has {written.rows:,} rows, but the table has {info.rows:,}; it is not "
                "published; try again, or set check_rows to false if Keboola's number is wrong"
            )
        until = moment_of(info.mark) or self.now()
        progress = Progress(until, self.now(), _options_mark(options, reading.key), place=self._place_mark())
        return self._extracted(reading, written, progress, replaces=True)

    def _by_catalog(self, reading: _Reading) -> tuple[Written, bool] | None:
        """Read a table through the extension; `None` if it can't be used for this table."""
        if self.catalog is None:
            return None
        info, name = reading.info, reading.wanted.name
        why = obstacle(self._project(), info, reading.columns, reading.options)
        if why is None and self._keeps_absent(reading):
            why = "its schema_changes are discard"
        self._ways[name] = why
        if why is not None:
            return None
        try:
            with self.room.whole():
                written = read_catalog(self.catalog, info, reading.columns, reading.into / "catalog", self.memory_limit)
        except SourceError as error:
            self._ways[name] = str(error)
            return None
        return written, self._is_countable(reading) and self.api.table(info.id).mark == info.mark

    def _project(self) -> Project:
        with self._turn:
            if not self._projects:
                self._projects.append(self.api.verify())
            return self._projects[0]

    def _changes(self, reading: _Reading, progress: Progress) -> Extracted:
        """Read the rows that changed since the last sync, and some before."""
        since = progress.until - timedelta(seconds=seconds(reading.options.overlap))
        written, is_stable = self._exported(reading, {"changedSince": int(since.timestamp())}, "changes")
        until = moment_of(reading.info.mark) or self.now()
        moved = replace(progress, until=max(until, progress.until), place=self._place_mark())
        expected = reading.info.rows if is_stable and self._is_countable(reading) else None
        return self._extracted(reading, written, moved, expected=expected)

    def _windows(self, reading: _Reading, progress: Progress | None) -> Extracted:
        """Read a table in windows of changes, from the oldest on, for as long as there is time; the next sync resumes.

        A row that changes in the meantime appears again in a later window, which is merged by the key.
        """
        info, options = reading.info, reading.options
        deadline = self.api.connection.patience.monotonic() + _CHUNK_SECONDS
        end = moment_of(info.mark) or self.now()
        start = end if progress is None else progress.until
        if progress is None:
            start = moment_of(info.created) or end - timedelta(days=3660)
            if options.max_history_days is not None:
                start = max(start, end - timedelta(days=options.max_history_days))
        days = timedelta(days=options.chunk_days or 1)
        parts: list[Written] = []
        is_stable = True
        while True:
            stop = start + days
            is_last = stop > end
            order = {"changedSince": int(start.timestamp())} | (
                {} if is_last else {"changedUntil": int(stop.timestamp())}
            )
            part, is_stable = self._exported(reading, order, f"window-{len(parts)}")
            parts.append(part)
            start = end if is_last else stop
            if is_last or self.api.connection.patience.monotonic() > deadline:
                break
        written = _joined(parts)
        whole = self.now() if progress is None else progress.whole
        mark, place = _options_mark(options, reading.key), self._place_mark()
        made = Progress(start, whole, mark, is_partial=not is_last, place=place)
        is_countable = is_last and is_stable and self._is_countable(reading)
        return self._extracted(
            reading,
            written,
            made,
            replaces=progress is None,
            expected=info.rows if is_countable else None,
            is_complete=is_last,
        )

    def _is_countable(self, reading: _Reading) -> bool:
        """Return whether Keboola's number of rows is that of the rows that are published."""
        return (
            reading.options.check_rows
            and not reading.options.is_partial
            and not reading.info.is_alias
            and reading.info.rows is not None
        )

    def _extracted(
        self,
        reading: _Reading,
        written: Written,
        progress: Progress,
        *,
        replaces: bool = False,
        expected: int | None = None,
        is_complete: bool = True,
    ) -> Extracted:
        misfits = written.explained(reading.columns)
        if unfit := [misfits[name] for name in reading.key if name in misfits]:
            raise SourceError(f"the primary key is not known: {unfit[0]}")
        description = reading.info.description
        if reading.options.is_incremental and not self._is_countable(reading):
            unknown = (
                f"Rows that were deleted at the source since {progress.whole:%Y-%m-%d %H:%M} UTC may still be here."
            )
            description = f"{description.rstrip()}\n\n{unknown}" if description else unknown
        absent = missing_columns(reading.columns, reading.table.before) if self._keeps_absent(reading) else ()
        return Extracted(
            files=written.files,
            columns=(*(one.column for one in reading.columns), *absent),
            cursor=str(progress) if reading.options.is_incremental else None,
            notes=(*reading.notes, *misfits.values()),
            replaces=replaces,
            expected_rows=expected,
            is_complete=is_complete and not reading.is_behind and not self._is_fresh(reading.info),
            is_first_part=progress.is_partial,
            counted=reading.info.rows if progress.is_partial and self._is_countable(reading) else None,
            description=description,
            read_at=min(reading.resumed, default=None),
        )

    def _is_fresh(self, info: TableInfo) -> bool:
        """Return whether the table may change again without a new `lastChangeDate`, which has seconds only."""
        changed = moment_of(info.mark)
        return changed is not None and timedelta() <= self.now() - changed < FRESH

    def _keeps_absent(self, reading: _Reading) -> bool:
        return reading.options.schema_changes == "discard"

    def _conversion(self, reading: _Reading, file_type: FileType) -> Conversion:
        absent = missing_columns(reading.columns, reading.table.before) if self._keeps_absent(reading) else ()
        return Conversion(
            table=reading.info.id,
            columns=reading.columns,
            absent=absent,
            backend=reading.info.backend,
            file_type=file_type,
            memory_limit=shared(self.memory_limit, CONVERSIONS),
        )

    def _exported(self, reading: _Reading, order: Mapping[str, Any], name: str) -> tuple[Written, bool]:
        """Export a table and read the export; also return whether the table stayed the same during the export."""
        options, info = reading.options, reading.info
        asked = {
            "columns": ",".join(one.original for one in reading.columns),
            **order,
            **(
                {"whereFilters": [one.order(self.now()) for one in options.where_filters]}
                if options.where_filters
                else {}
            ),
        }
        exports, table = (
            Exports(self.api, self.http, self.endpoint, self.now, self.jobs, self._csv_only, self._place()),
            reading.wanted.name,
        )
        with self._slot():
            export = exports.begin(table, info, asked, options.file_type)
        if export.resumed is not None:
            reading.resumed.append(export.resumed)
            reading.notes.append(f"the export that an earlier run started at {export.resumed:%H:%M} UTC was resumed")
        conversion = self._conversion(reading, export.type)
        pieces, began = self._pieces(reading, export, conversion), time.monotonic()
        try:
            written = read_export(export.file, conversion, reading.into / name, self.room, pieces)
            if not self._is_countable(reading):
                return written, False
            is_stable = self.api.table(info.id).mark == info.mark
            if is_stable and "changedSince" not in order and written.rows != info.rows:
                exports.forget(table, export)
        except TimeUpError:
            raise
        except UnavailableError:
            is_further = pieces is not None and pieces.has_grown(time.monotonic() - began)
            if export.resumed is not None and not is_further:  # an export that failed twice may be damaged permanently
                exports.forget(table, export)
            raise
        except AnalystError:
            exports.forget(table, export)
            raise
        return written, is_stable

    def _pieces(self, reading: _Reading, export: Export, conversion: Conversion) -> Pieces | None:
        """Return what keeps the batches of an export; `None` if the next call could not resume it."""
        if self.checkpoints is None or self.jobs is None or reading.info.mark is None:
            return None
        origin = self._origin(reading.wanted, reading.table)
        return self.checkpoints.pieces(reading.wanted.name, [origin, export.file.id, conversion.mark])

    def _origin(self, wanted: WantedTable, table: SourceTable) -> dict[str, Any]:
        """Return what a table is, whatever it is called here: ids of jobs and files are unique only at one address."""
        return {**self._place(), "table": wanted.id, "registration": table.registration}

    def _place(self) -> dict[str, Any]:
        """Return what the ids of tables belong to: projects have equal ones, and so have the branches of a project."""
        return {"url": self.api.connection.url, "project": self._project().id, "branch": self.api.branch}

    def _place_mark(self) -> str:
        return hashlib.sha256(json.dumps(self._place(), sort_keys=True).encode()).hexdigest()[:16]

    def parallel(self) -> int:
        """Return the number of exports at the same time: the project's limit, or a lower one of the source."""
        jobs = self._project().jobs
        return min(self.most or jobs, jobs)

    def _slot(self) -> threading.BoundedSemaphore:
        """Return the semaphore of the jobs that may run at the same time; the project is asked before the first export."""
        jobs = self.parallel()
        with self._turn:
            if not self._slots:
                self._slots.append(threading.BoundedSemaphore(jobs))
            return self._slots[0]


def _state(info: TableInfo) -> dict[str, Any]:
    """Return what an export of a table depends on, of what changes with its rows."""
    return {"mark": info.mark, "rows": info.rows}


def _joined(parts: Sequence[Written]) -> Written:
    files = [path for part in parts if part.rows for path in part.files]
    rows = sum(part.rows for part in parts)
    misfits = {name: found for part in parts for name, found in part.misfits.items()}
    return Written(tuple(files) or parts[0].files[:1], rows, misfits)


def _days_ago(now: datetime, days: int) -> datetime:
    """Return the beginning of a day, so that an export of the same day is the same order."""
    return (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)


def _key(options: KeboolaTableOptions, info: TableInfo) -> tuple[str, ...]:
    """Return the published names of the key: that of the options, else Keboola's."""
    if options.primary_key or not info.primary_key:
        return options.primary_key
    names = column_names(info.columns)
    return tuple(names[column] for column in info.primary_key if column in names)


def _original_key(options: KeboolaTableOptions, info: TableInfo) -> tuple[str, ...]:
    """Return the columns that are always read: the key, and the column of the partitions."""
    more = (options.partition_by,) if options.partition_by else ()
    return (*(_key(options, info) if options.is_incremental else ()), *more)


def _clustering(options: KeboolaTableOptions, key: Sequence[str]) -> tuple[str, ...]:
    if options.sync_strategy != "partitioned" or options.partition_by is None or options.partition_by in key[:1]:
        return ()
    return (options.partition_by,)


def _periods(options: KeboolaTableOptions) -> tuple[str, Literal["day", "month", "year"]] | None:
    if options.sync_strategy != "partitioned" or options.partition_by is None:
        return None
    return options.partition_by, options.partition_granularity


def _options_mark(options: KeboolaTableOptions, key: Sequence[str]) -> str:
    """Return a hash of the options on which the rows of an incremental table depend."""
    names = {
        "columns",
        "where_filters",
        "types",
        "max_history_days",
        "sync_strategy",
        "partition_by",
        "partition_granularity",
    }
    content = options.model_dump(mode="json", include=names)
    return hashlib.sha256(json.dumps([content, list(key)], sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(options: KeboolaTableOptions, info: TableInfo, now: datetime) -> str:
    """Return what changes when the rows of a table, or how they are read, may have changed.

    A table without a time of change in Keboola is read every time.
    """
    types = [
        [column, entry.provider, entry.key, entry.value]
        for column, entries in sorted(info.column_metadata.items())
        for entry in entries
        if entry.key.startswith("KBC.datatype.")
    ]
    filters = [one.order(now) for one in options.where_filters]
    content = options.model_dump(mode="json", by_alias=True, exclude={"where_filters", "full_reload", "overlap"})
    parts = [info.id, info.mark or now.isoformat(), info.rows, info.columns, info.primary_key, types, filters, content]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
