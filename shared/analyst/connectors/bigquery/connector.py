"""The connector of BigQuery: tables through the Storage Read API, views and queries through a job and its result.

A table is read at one moment of BigQuery's clock, which all streams share. `lastModifiedTime` shows which tables have
changed; views and queries have no such time, so they are read at each sync.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from analyst.catalog import Column
from analyst.connectors.bigquery.api import BigQueryApi, MissingError, TableInfo
from analyst.connectors.bigquery.columns import (
    PlannedColumn,
    in_partition,
    is_cursor,
    not_before,
    planned_columns,
    pushed_down,
    remote_type_of,
    selection,
    text_literal,
    texts_for_numbers,
    type_of,
)
from analyst.connectors.bigquery.long_reads import LongReads
from analyst.connectors.bigquery.options import BigQueryTableOptions, moment_of
from analyst.connectors.bigquery.reader_processes import Order, Piece, Readers, ReadLimit, Result, TooLargeError
from analyst.contract.checkpoints import TimeUpError
from analyst.contract.connector import Cursor, Extracted, Part, RemoteTable, SourceTable
from analyst.errors import SourceError
from analyst.names import quote
from analyst.query.live_rows import Patience, Wanted

_AT_ONCE: Final = 8
"""Tables that are looked up at the same time."""
_ORIGIN: Final = "of:"
_FEW: Final = 100_000
"""Rows that are read in one stream."""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class WantedTable:
    """A registered table: its dataset and name at BigQuery, and its options; `problem` says why they can't be used.

    A materialized one is the result of its `options.sql`.
    """

    name: str
    dataset: str
    table: str
    options: BigQueryTableOptions = field(default_factory=BigQueryTableOptions)
    problem: str | None = None
    is_remote: bool = False
    """Whether its rows stay in BigQuery, and readers attach it."""
    given_label: str = ""
    """Its name for people who must not know that at BigQuery."""

    @property
    def label(self) -> str:
        """Its name for people."""
        if self.given_label:
            return self.given_label
        return self.name if self.options.sql is not None else f"{self.dataset}.{self.table}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The project that pays, where queries run, the most bytes that one may bill (0: no cap), and the streams of a table."""

    billing: str
    location: str | None = None
    cap: int = 0
    streams: int = 8


@dataclass(frozen=True, slots=True)
class BigQueryConnector:
    """The registered tables of one project. `only` names those that the run is about."""

    api: BigQueryApi
    wanted: Sequence[WantedTable]
    readers: Readers
    limits: Limits
    only: frozenset[str] | None = None
    now: Callable[[], datetime] = utc_now
    alias: str = "bigquery"
    """The name under which readers of remote tables attach the project; no source may have it."""
    long: LongReads | None = None
    """Keeps the rows read of tables that take longer than a request; without it, no table is cut."""
    _infos: dict[str, TableInfo] = field(default_factory=dict, init=False)
    _billed: list[tuple[str, int]] = field(default_factory=list, init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)

    def tables(self) -> Iterable[SourceTable]:
        """Look up the registered tables, several at a time.

        Raises:
            SourceError: the credentials are not accepted.
            UnavailableError: BigQuery does not respond.
        """
        wanted = [one for one in self.wanted if self.only is None or one.name in self.only]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._source_table, wanted))

    def notes(self) -> tuple[str, ...]:
        """Report what queries billed, or that no table is registered."""
        if not self.wanted:
            return ("no table is registered; to list those of the project and register them, run: da admin discover",)
        if not self._billed:
            return ()
        total = sum(size for _, size in self._billed)
        return (f"{len(self._billed):,} queries billed {total:,} bytes: {', '.join(name for name, _ in self._billed)}",)

    def _source_table(self, wanted: WantedTable) -> SourceTable:
        if wanted.problem is not None:
            return SourceTable(
                wanted.name, wanted.label, fingerprint=f"problem: {wanted.problem}", problem=wanted.problem
            )
        options = wanted.options
        info = None
        if options.sql is None:
            try:
                info = self.api.table(wanted.dataset, wanted.table)
            except MissingError:
                problem = (
                    f"BigQuery has no table '{wanted.label}' in the project '{self.api.project}' that the account can see; "
                    "the published rows stay; restore the table or the account's role, or remove the table: da admin tables "
                    "remove"
                )
                return SourceTable(wanted.name, wanted.label, fingerprint=f"problem: {problem}", problem=problem)
            self._infos[wanted.name] = info
        return SourceTable(
            name=wanted.name,
            original=wanted.label,
            fingerprint=_remote_mark(info, options)
            if info is not None and wanted.is_remote
            else f"{self._origin_of(wanted)}{_fingerprint(options, info, self.now())}",
            description=None if info is None else info.description,
            primary_key=options.primary_key if options.is_incremental else (),
            sync_strategy="incremental" if options.is_incremental else "full_refresh",
            cursor_column=options.cursor_column if options.is_incremental else None,
            allow_fewer=options.allow_fewer,
            basis=self._basis_of(wanted, info),
            read_at=self.now(),
        )

    def _origin_of(self, wanted: WantedTable) -> str:
        """Return how the fingerprint of an incremental table begins: rows of another project, table or filter are not merged."""
        if not wanted.options.is_incremental:
            return ""
        content = [self.api.project, wanted.dataset, wanted.table, wanted.options.row_filter]
        return f"{_ORIGIN}{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]} "

    def _basis_of(self, wanted: WantedTable, info: TableInfo | None) -> str:
        """Return a hash of what decides which rows are read, which may be the day or the time; of a remote table, none are."""
        options = wanted.options.model_dump(mode="json", exclude={"max_bytes_billed", "allow_fewer"})
        sql = (wanted.options.row_filter, wanted.options.sql, None if info is None else info.sql)
        texts = () if wanted.is_remote else sql
        moments = [moment for text in texts if (moment := moment_of(text, self.now())) is not None]
        content = [self.api.project, wanted.dataset, wanted.table, options, *moments]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Read one table into parquet files: all rows, those from a cursor on, or those of changed partitions.

        Raises:
            SourceError: BigQuery rejects the read, or a query would bill too much.
            UnavailableError: BigQuery does not respond.
        """
        wanted = next(one for one in self.wanted if one.name == table.name)
        info = None
        if wanted.options.sql is None:
            info = self._infos.get(wanted.name) or self.api.table(wanted.dataset, wanted.table)
            if wanted.is_remote:
                return self._remote(info, wanted.options)
        reading = _Reading(self, wanted, table, info, into)
        if self.long is None:
            return self._read(reading, since)
        cuts = self.long.checkpoints
        reading.begun = cuts.cut(table.name, reading.origin)
        try:
            extracted = self._read(reading, since)
        except TimeUpError:
            cuts.note_cut(table.name, reading.origin, reading.state)
            raise
        if reading.begun is not None:
            cuts.forget_cut(table.name)
        return replace(extracted, read_at=reading.since)

    def _read(self, reading: "_Reading", since: Cursor) -> Extracted:
        wanted, table, info = reading.wanted, reading.table, reading.info
        if info is None:
            return self._query_result(reading)
        options = wanted.options
        needed = [*options.primary_key, *([options.cursor_column] if options.cursor_column else [])]
        columns = planned_columns(info.schema, info.id, options.columns, needed)
        if options.by_partition:
            return self._partitions(reading, info, columns)
        changed = None
        if since is not None:
            before = table.fingerprint_before or ""
            if before.startswith(_ORIGIN) and not before.startswith(self._origin_of(wanted)):
                changed = "the source reads another project or table, or other rows of it"
            elif _has_changed(columns, table):
                changed = "the columns of the table changed"
        since = None if changed else since
        cursor = _cursor_of(columns, options, info.id)
        condition = self._condition(options, cursor, table, since)
        order = self._order(wanted, reading.into, columns, cursor=None if cursor is None else cursor.field.name)
        result = reading.result(_of_table(order, info, columns, condition))
        made = self._extracted(reading, columns, result, since, is_whole=since is None)
        if changed:
            made = replace(made, replaces=True, notes=(*made.notes, f"all rows were read: {changed}"))
        return made

    def _remote(self, info: TableInfo, options: BigQueryTableOptions) -> Extracted:
        """Describe a table whose rows stay in BigQuery, for readers with DuckDB's extension `bigquery`."""
        billing = "" if self.limits.billing == info.project else f" billing_project={self.limits.billing}"
        origin = (self.alias, info.dataset, info.name)
        fields = [one.field for one in planned_columns(info.schema, info.id, options.columns)]
        columns = tuple(Column(name=one.name, type=remote_type_of(one), description=one.description) for one in fields)
        return Extracted(
            files=(), columns=columns, remote=RemoteTable(origin, "bigquery", f"project={info.project}{billing}")
        )

    def remote_rows(
        self, wanted: WantedTable, needed: Wanted, into: Path, limit: ReadLimit, patience: Patience
    ) -> Result:
        """Read the rows of a remote table that a statement needs into parquet files.

        Columns and conditions are applied by BigQuery. A view is read by a query, under the cap of the source. The columns keep
        BigQuery's names.

        Raises:
            SourceError: a column does not exist, there are too many rows, or the query would bill too much.
            UnavailableError: BigQuery does not respond.
        """
        info = self.api.table(wanted.dataset, wanted.table)
        fields = {one.name.lower(): one for one in info.schema}
        if missing := [name for name in needed.columns if name.lower() not in fields]:
            raise SourceError(
                f"{wanted.label!r} no longer has the column {missing[0]!r}; sync its source {needed.table.source!r} again"
            )
        planned = tuple(PlannedColumn(fields[name.lower()], name) for name in needed.columns)
        condition, is_exact = _needed_condition(info, needed)
        if wanted.options.row_filter:
            condition = " AND ".join(filter(None, [f"({wanted.options.row_filter})", condition and f"({condition})"]))
        enough = needed.most if is_exact else None
        if enough is None and condition is None and info.way == "storage" and (info.rows or 0) > limit.rows:
            raise TooLargeError(
                f"all {info.rows:,} rows of {wanted.label!r} are needed, and a query may read {limit.rows:,} "
                f"(QUERY_REMOTE_ROWS); {limit.advice}"
            )
        order = self._order(wanted, into, planned).model_copy(update={"limit": limit, "enough": enough})
        if enough is not None and enough <= _FEW:
            order = order.model_copy(update={"streams": 1})
        order = _of_table(order, info, planned, condition)
        if order.sql is not None and enough is not None:
            order = order.model_copy(update={"sql": f"{order.sql} LIMIT {enough:d}"})
        return self.readers.read(order, patience)

    def native_order(self, label: str, sql: str, into: Path, limit: ReadLimit) -> Order:
        """Return the order for the result of one SELECT in GoogleSQL, under the cap of the source."""
        order = self._order(WantedTable(label, "", label, BigQueryTableOptions(sql=sql)), into, ())
        return order.model_copy(update={"sql": sql, "keeps_names": True, "only_select": True, "limit": limit})

    def _condition(
        self, options: BigQueryTableOptions, cursor: PlannedColumn | None, table: SourceTable, since: Cursor
    ) -> str | None:
        conditions = [f"({options.row_filter})"] if options.row_filter else []
        if cursor is not None and since is not None and not table.lacks_cursors:
            newer = not_before(cursor.field, since, options.cursor_lag)
            conditions += [newer] if newer is not None else []
        return " AND ".join(conditions) or None

    def _partitions(self, reading: "_Reading", info: TableInfo, columns: tuple[PlannedColumn, ...]) -> Extracted:
        """Read the partitions that changed since they were published; the others keep their files."""
        partitioning = info.partitioning
        if partitioning is None or info.way == "query":
            raise SourceError(f"{info.id!r} is not a partitioned table; set by_partition to false")
        wanted, listed = reading.wanted, reading.partitions()
        published = {part.name: part.mark for part in reading.table.parts}
        mark = _options_mark(wanted.options, columns, reading.moment)
        marks = {name: f"{when} {mark}" for name, when in listed}
        if info.is_streaming:  # rows arrive in any partition, and its time stays
            marks = {name: f"{one} {self.now().isoformat()}" for name, one in marks.items()}
        changed = [name for name in marks if published.get(name) != marks[name]]
        files: dict[str, tuple[Path, ...]] = {}
        if changed or not marks:
            pieces = []
            for name in changed or ["empty"]:
                inside = in_partition(partitioning, info.schema, name) if changed else "FALSE"
                extra = f" AND ({wanted.options.row_filter})" if wanted.options.row_filter else ""
                pieces.append(Piece(name=name, restriction=f"{inside}{extra}"))
            order = self._order(wanted, reading.into, columns).model_copy(update={"pieces": tuple(pieces)})
            result = reading.result(_at_snapshot(order, info))
            files = {one.name: tuple(map(Path, one.files)) for one in result.pieces}
        names = list(marks) or ["empty"]
        parts = tuple(Part(name, marks.get(name, ""), "{}", files.get(name)) for name in names)
        return Extracted(
            files=tuple(path for part in parts for path in part.files or ()),
            columns=tuple(one.column for one in columns),
            notes=(*reading.notes, *_big_numbers(columns)),
            parts=parts,
            is_complete=not reading.is_behind,
        )

    def listed_partitions(self, wanted: WantedTable, info: TableInfo) -> list[tuple[str, str]]:
        """Return the ids of the partitions, in their order, with the times at which they changed."""
        schema = f"`{info.project}.{info.dataset}.INFORMATION_SCHEMA.PARTITIONS`"
        sql = (
            f"SELECT partition_id, CAST(last_modified_time AS STRING) FROM {schema} "
            f"WHERE table_name = {text_literal(info.name)} AND total_rows > 0 ORDER BY partition_id"
        )
        order = self._order(wanted, Path(), ()).model_copy(
            update={"kind": "rows", "sql": sql, "location": info.location, "label": f"the partitions of {info.id}"}
        )
        return [(str(name), str(when)) for name, when in self.readers.read(order).values]

    def _query_result(self, reading: "_Reading") -> Extracted:
        """Run the query of a materialized table and read its result."""
        wanted = reading.wanted
        sql = wanted.options.sql or ""
        result = reading.result(self._order(wanted, reading.into, ()).model_copy(update={"sql": sql}))
        self._note_billed(wanted, result)
        notes = () if result.rows else ("the query returned no rows",)
        return Extracted(files=_files(result), columns=result.columns, notes=(*reading.notes, *notes))

    def _extracted(
        self,
        reading: "_Reading",
        columns: Sequence[PlannedColumn],
        result: Result,
        since: Cursor,
        *,
        is_whole: bool,
    ) -> Extracted:
        self._note_billed(reading.wanted, result)
        is_incremental, info = reading.wanted.options.is_incremental, reading.info
        return Extracted(
            files=_files(result),
            columns=tuple(one.column for one in columns),
            cursor=(result.cursor or since) if is_incremental else None,
            notes=(*reading.notes, *_big_numbers(columns)),
            is_whole=is_incremental and is_whole,
            is_complete=not reading.is_behind,
            counted=None if info is None or reading.wanted.options.row_filter else info.rows,
        )

    def _note_billed(self, wanted: WantedTable, result: Result) -> None:
        if result.billed is not None:
            with self._turn:
                self._billed.append((wanted.name, result.billed))

    def _order(
        self, wanted: WantedTable, into: Path, columns: tuple[PlannedColumn, ...], *, cursor: str | None = None
    ) -> Order:
        access, limits, options = self.api.access, self.limits, wanted.options
        return Order(
            label=wanted.label,
            billing=limits.billing,
            api=access.api,
            storage=access.storage,
            key_file=access.key_file,
            location=limits.location,
            columns=columns,
            cursor=cursor,
            cap=limits.cap if options.max_bytes_billed is None else options.max_bytes_billed,
            streams=limits.streams,
            into=str(into),
        )


@dataclass(slots=True)
class _Reading:
    """One table that is being read. `info` is what BigQuery says about it now; a query has none.

    `begun` is the state that it had when its reading began, if that was cut; `since` is when that was, if it was resumed.
    """

    of: BigQueryConnector
    wanted: WantedTable
    table: SourceTable
    info: TableInfo | None
    into: Path
    begun: Mapping[str, Any] | None = None
    since: datetime | None = None
    notes: list[str] = field(default_factory=list)
    _listed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def origin(self) -> dict[str, Any]:
        """What the table is, whatever it is called here, how it is read, and for whom."""
        api, wanted = self.of.api, self.wanted
        return {
            "api": api.access.api,
            "project": api.project,
            "account": api.access.account(),
            "table": [wanted.dataset, wanted.table],
            "options": wanted.options.model_dump(mode="json", exclude={"max_bytes_billed", "allow_fewer"}),
            "registration": self.table.registration,
        }

    @property
    def state(self) -> dict[str, Any]:
        """What its rows depend on, of what changes with them: as of when its reading began, or now."""
        if self.begun is not None:
            return dict(self.begun)
        return {**_state(self.info), "partitions": self._listed, "moment": self._moment}

    @property
    def is_behind(self) -> bool:
        """Whether it is read as it was when its reading began, and has changed since."""
        now = {**_state(self.info), "moment": self._moment}
        return self.begun is not None and any(self.begun.get(key) != value for key, value in now.items())

    @property
    def moment(self) -> str | None:
        """What its filter depends on besides its rows, as of when its reading began."""
        return self._moment if self.begun is None else self.begun.get("moment")

    @property
    def _moment(self) -> str | None:
        return moment_of(self.wanted.options.row_filter, self.table.read_at or self.of.now())

    def partitions(self) -> list[tuple[str, str]]:
        """List its partitions, as of when its reading began."""
        if self.begun is not None:
            return [(str(name), str(when)) for name, when in self.begun["partitions"]]
        if self.info is not None:
            self._listed[:] = self.of.listed_partitions(self.wanted, self.info)
        return self._listed

    def result(self, order: Order) -> Result:
        """Carry out an order, or resume one that was cut, or whose process died if the table shows that it is the same."""
        if self.of.long is None:
            return self.of.readers.read(order)
        info = self.info
        has_mark = info is not None and info.way == "storage" and info.modified is not None and not info.is_streaming
        found = self.of.long.read(
            self.table.name, [self.origin, self.state], order, may_resume=has_mark or self.begun is not None
        )
        self.since = found.since
        if found.since is not None:
            self.notes.append(f"the reading that began at {found.since:%H:%M} UTC was resumed")
        return found.result


def _state(info: TableInfo | None) -> dict[str, Any]:
    modified = None if info is None or info.modified is None else info.modified.isoformat()
    return {"modified": modified, "rows": None if info is None else info.rows}


def _has_changed(columns: Sequence[PlannedColumn], table: SourceTable) -> bool:
    """Return whether columns are new or have other types than those that are published; then old rows have no values in them."""
    before = {column.name: column.type for column in table.before}
    return bool(before) and any(before.get(one.name) != one.type for one in columns)


def _of_table(order: Order, info: TableInfo, columns: Sequence[PlannedColumn], condition: str | None) -> Order:
    """Complete an order by how the table is read: a table directly, a view by a query."""
    if info.way == "storage":
        return _at_snapshot(order.model_copy(update={"pieces": (Piece(restriction=condition),)}), info)
    sql = selection(info, columns, condition)
    return order.model_copy(update={"sql": sql, "location": info.location or order.location})


def _needed_condition(info: TableInfo, needed: Wanted) -> tuple[str | None, bool]:
    """Return what BigQuery can apply of the conditions on a table's rows, and whether that is all of them."""
    fields = {one.name.lower(): one for one in info.schema}
    types = {one.name: one.type for one in needed.table.columns}
    made, is_exact = [], True
    for conditions in needed.alternatives:
        applied = []
        for one in conditions:
            field = fields.get(one.column.lower())
            is_same = field is not None and remote_type_of(field) == types.get(one.column)
            text = pushed_down(field, one) if field is not None and is_same else None
            applied += [] if text is None else [text]
            is_exact = is_exact and text is not None
        if not applied:
            return None, False
        made.append(" AND ".join(applied))
    if not made:
        return None, is_exact
    return (made[0] if len(made) == 1 else " OR ".join(f"({each})" for each in dict.fromkeys(made))), is_exact


def _at_snapshot(order: Order, info: TableInfo) -> Order:
    """Read at the moment at which BigQuery described the table, so that all streams and the fingerprint agree."""
    moments = [moment for moment in (info.seen, info.modified) if moment is not None]
    snapshot = max(moments).isoformat() if moments else None
    return order.model_copy(update={"table": info.path, "snapshot": snapshot})


def _remote_mark(info: TableInfo, options: BigQueryTableOptions) -> str:
    """Return what changes with the columns of a table; changes of its rows do not concern the views of readers."""
    chosen = [list(options.columns)] if options.columns else []
    return hashlib.sha256(json.dumps(["remote", info.project, info.id, _schema(info), *chosen]).encode()).hexdigest()


def _schema(info: TableInfo) -> list[Any]:
    return [[one.name, type_of(one), one.description] for one in info.schema]


def _files(result: Result) -> tuple[Path, ...]:
    return tuple(Path(path) for piece in result.pieces for path in piece.files)


def _big_numbers(columns: Sequence[PlannedColumn]) -> tuple[str, ...]:
    if not (names := texts_for_numbers(columns)):
        return ()
    listed = ", ".join(map(quote, names))
    return (
        f"numbers of more than 38 digits are texts in {listed}, because no DECIMAL holds them; cast them in queries",
    )


def _cursor_of(columns: Sequence[PlannedColumn], options: BigQueryTableOptions, table: str) -> PlannedColumn | None:
    if not options.is_incremental:
        return None
    found = next(one for one in columns if options.cursor_column in (one.name, one.field.name))
    if not is_cursor(found.field):
        raise SourceError(
            f"the cursor column {found.field.name!r} of {table!r} has the type {found.field.type}; use a whole number, a NUMERIC, a "
            "date, a time or a text"
        )
    return found


def _options_mark(options: BigQueryTableOptions, columns: Sequence[PlannedColumn], moment: str | None) -> str:
    content: list[Any] = [options.row_filter, [[one.name, one.type] for one in columns]]
    content += [] if moment is None else [moment]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _fingerprint(options: BigQueryTableOptions, info: TableInfo | None, now: datetime) -> str:
    """Return what changes when the rows of a table, or how they are read, may have changed.

    A view, a query, an external table, and a table into which rows are streamed, is read every time. So is a table whose
    filter depends on the time, or once a day if it depends on the day.
    """
    content = options.model_dump(mode="json", by_alias=True, exclude={"max_bytes_billed"})
    parts: list[Any] = [content]
    if (moment := moment_of(options.row_filter, now)) is not None:
        parts.append(moment)
    if info is None or info.way == "query" or info.is_streaming or info.modified is None:
        parts.append(now.isoformat())
    if info is not None:
        schema = [[one.name, one.type, one.mode, one.description] for one in info.schema]
        modified = None if info.modified is None else info.modified.isoformat()
        parts += [info.project, info.id, info.kind, modified, info.rows, schema]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
