"""A BigQuery project: datasets, tables with rows as Arrow, views, jobs and sessions, as its REST and Storage Read APIs show them.

Queries and restrictions run in DuckDB, which understands enough GoogleSQL once backticks are quotes.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import duckdb
import pyarrow as pa

PROJECT = "shop-123456"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


_ARROW: Mapping[str, Any] = {
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "STRING": pa.string(),
    "GEOGRAPHY": pa.string(),
    "JSON": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "INTERVAL": pa.month_day_nano_interval(),
}


def arrow_type(field_: Mapping[str, Any]) -> Any:
    """Return the Arrow type that the Storage Read API has for a column."""
    kind = str(field_["type"])
    if kind == "RECORD":
        made = pa.struct([(str(one["name"]), arrow_type(one)) for one in field_["fields"]])
    elif kind == "RANGE":
        bound = _ARROW[field_["rangeElementType"]["type"]]
        made = pa.struct([("start", bound), ("end", bound)])
    else:
        made = _ARROW[kind]
    return pa.list_(made) if field_.get("mode") == "REPEATED" else made


def column(name: str, kind: str = "STRING", mode: str = "NULLABLE", **more: Any) -> dict[str, Any]:
    """Describe a column as a `TableFieldSchema`."""
    return {"name": name, "type": kind, "mode": mode, **more}


@dataclass
class Table:
    """A table or a view. `versions` are its rows with the times from which on they are."""

    dataset: str
    name: str
    fields: list[dict[str, Any]]
    versions: list[tuple[datetime, Any]] = field(default_factory=list)
    kind: str = "TABLE"
    sql: str | None = None
    description: str | None = None
    partitioning: dict[str, Any] = field(default_factory=dict)
    range_partitioning: dict[str, Any] = field(default_factory=dict)
    partition_times: dict[str, datetime] = field(default_factory=dict)
    is_streaming: bool = False
    policy: str = ""
    """The condition of a row access policy, as which rows the account is shown."""
    modified: datetime = START
    size_bytes: int | None = None
    batches: list[list[bytes]] | None = None
    """Ready-made serialized batches of each stream, for large tables; `count` is the number of their rows."""
    count: int = 0

    @property
    def id(self) -> str:
        return f"{self.dataset}.{self.name}"

    @property
    def schema(self) -> Any:
        return pa.schema([(str(one["name"]), arrow_type(one)) for one in self.fields])

    @property
    def rows(self) -> Any:
        return self.versions[-1][1]

    def at(self, moment: datetime | None) -> Any:
        """Return the rows that were there at a time."""
        known = [rows for since, rows in self.versions if moment is None or since <= moment]
        if not known:
            raise RefusalError(400, "invalid", f"the table {self.id} did not exist at {moment}")
        return known[-1]


@dataclass
class Job:
    id: str
    sql: str
    destination: Table | None = None
    error: dict[str, str] | None = None
    processed: int = 0
    dry_run: bool = False
    cap: int | None = None
    schema: list[dict[str, Any]] = field(default_factory=list)
    statement_type: str = "SELECT"
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Session:
    """A read session, as it was asked for."""

    name: str
    table: Table
    rows: Any
    selected: tuple[str, ...]
    restriction: str
    snapshot: datetime | None
    max_streams: int
    streams: list[tuple[int, int]]
    is_expired: bool = False


@dataclass
class Fault:
    """What befalls a request whose path or method matches, `times` times.

    `status` is answered. `after`: a stream ends with an error after so many responses. `code`: the name of its gRPC status.
    """

    path: str
    status: int = 0
    reason: str = "backendError"
    message: str = "try again"
    times: int = 1
    after: int | None = None
    code: str = "UNAVAILABLE"
    then: Callable[[], object] | None = None


@dataclass
class Project:
    """A project, and what its services were asked."""

    id: str = PROJECT
    now: datetime = START
    tables: dict[str, Table] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rows_per_stream: int = 3
    rows_per_batch: int = 2
    page: int = 1000
    resumed: list[tuple[str, int]] = field(default_factory=list)
    """Streams that were read from a row on, and that row."""
    turn: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterable[int] = field(default_factory=lambda: count(1))

    def tick(self, **by: float) -> datetime:
        """Advance the clock."""
        self.now += timedelta(**(by or {"hours": 1}))
        return self.now

    def expire(self) -> None:
        """Have all sessions expire, as they do after six hours."""
        for session in self.sessions:
            session.is_expired = True

    def table(
        self, id_: str, fields: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> Table:
        """Make a table."""
        dataset, _, name = id_.rpartition(".")
        made = Table(dataset, name, [dict(one) for one in fields], modified=self.now, **more)
        self.tables[id_] = made
        self.load(made, rows)
        return made

    def view(self, id_: str, sql: str, *, kind: str = "VIEW") -> Table:
        """Make a view; its columns are those of its query."""
        dataset, _, name = id_.rpartition(".")
        rows = self.query(sql)
        made = Table(dataset, name, fields_of(rows.schema), kind=kind, sql=sql, modified=self.now)
        self.tables[id_] = made
        return made

    def load(self, table: Table, rows: Sequence[Mapping[str, Any]], partition: str | None = None) -> None:
        """Replace the rows of a table."""
        arrow = pa.Table.from_pylist([dict(one) for one in rows], table.schema)
        table.versions.append((self.now, arrow))
        table.modified = self.now
        if partition is not None:
            table.partition_times[partition] = self.now

    def find(self, dataset: str, name: str) -> Table:
        found = self.tables.get(f"{dataset}.{name}")
        if found is None:
            raise RefusalError(404, "notFound", f"Not found: Table {self.id}:{dataset}.{name}")
        return found

    # ---- what the REST API says ------------------------------------------------------------------------------------

    def shown(self, table: Table, *, detail: bool) -> dict[str, Any]:
        """Show a table as the list does, or with all details."""
        resource: dict[str, Any] = {
            "kind": "bigquery#table",
            "id": f"{self.id}:{table.id}",
            "tableReference": {"projectId": self.id, "datasetId": table.dataset, "tableId": table.name},
            "type": table.kind,
            "creationTime": str(milliseconds(START)),
        }
        if table.partitioning:
            resource["timePartitioning"] = table.partitioning
        if table.range_partitioning:
            resource["rangePartitioning"] = table.range_partitioning
        if not detail:
            return resource
        resource |= {
            "schema": {"fields": table.fields},
            "lastModifiedTime": str(milliseconds(table.modified)),
            "location": "EU",
            "etag": f"etag-{milliseconds(table.modified)}",
        }
        if table.sql is None:
            rows = table.count if table.batches is not None else table.rows.num_rows
            resource |= {"numRows": str(rows), "numBytes": str(table.size_bytes or 8 * rows)}
        else:
            resource["view"] = {"query": table.sql, "useLegacySql": False}
        if table.description is not None:
            resource["description"] = table.description
        if table.is_streaming:
            resource["streamingBuffer"] = {"estimatedRows": "1", "estimatedBytes": "10"}
        return resource

    def insert(self, configuration: Mapping[str, Any], id_: str | None) -> Job:
        """Start a query. A dry run only tells what it would process."""
        order = configuration["query"]
        job = Job(
            id_ or f"job_{next(iter(self.numbers))}",
            order["query"],
            processed=self.processed(order["query"]),
            dry_run=bool(configuration.get("dryRun")),
            cap=int(order["maximumBytesBilled"]) if order.get("maximumBytesBilled") else None,
            labels=dict(configuration.get("labels") or {}),
        )
        if job.id in self.jobs:
            raise RefusalError(409, "duplicate", f"Already Exists: Job {self.id}:{job.id}")
        self.jobs[job.id] = job
        if job.cap is not None and job.processed > job.cap and not job.dry_run:
            message = f"Query exceeded limit for bytes billed: {job.cap}. {job.processed} or higher required."
            raise RefusalError(400, "bytesBilledLimitExceeded", message)
        job.statement_type = statement_type(job.sql)
        if job.statement_type != "SELECT":
            job.schema = []
            return job
        rows = self.query(job.sql)
        job.schema = fields_of(rows.schema)
        if not job.dry_run:
            name = f"anon{len(self.jobs)}"
            job.destination = Table("_anonymous", name, fields_of(rows.schema), [(self.now, rows)])
            self.tables[job.destination.id] = job.destination
        return job

    def processed(self, sql: str) -> int:
        """Return how many bytes a query would process: the sizes of its tables, and of those of its views."""
        total = 0
        for table in [*self.tables.values()]:
            if table.dataset != "_anonymous" and f"{self.id}.{table.id}`" in sql:
                rows = 0 if table.sql is not None else table.rows.num_rows
                total += self.processed(table.sql) if table.sql is not None else table.size_bytes or 8 * rows
        return total

    def query(self, sql: str) -> Any:
        """Run a query."""
        with duckdb.cursor() as con:  # another instance takes 13 ms to start
            con.execute("set TimeZone = 'UTC'")
            self._fill(con, sql)
            try:
                return con.execute(translated(sql)).to_arrow_table()
            except duckdb.Error as error:
                raise RefusalError(400, "invalidQuery", f"Syntax error: {str(error).splitlines()[0]}") from None

    def _fill(self, con: "duckdb.DuckDBPyConnection", sql: str) -> None:
        for table in [*self.tables.values()]:
            name = f"{self.id}.{table.id}"
            if name not in sql:
                continue
            if table.sql is not None:
                self._fill(con, table.sql)
                con.execute(f'create or replace temp view "{name}" as {translated(table.sql)}')
            else:
                con.register(name, _registrable(table.rows))
        for dataset in {table.dataset for table in self.tables.values()}:
            name = f"{self.id}.{dataset}.INFORMATION_SCHEMA.PARTITIONS"
            if name in sql:
                listed = [
                    {"table_name": table.name, "partition_id": id_, "last_modified_time": at, "total_rows": 1}
                    for table in self.tables.values()
                    if table.dataset == dataset
                    for id_, at in table.partition_times.items()
                ]
                kinds = [("table_name", pa.string()), ("partition_id", pa.string())]
                more = [("last_modified_time", pa.timestamp("us", "UTC")), ("total_rows", pa.int64())]
                con.register(name, pa.Table.from_pylist(listed, pa.schema([*kinds, *more])))

    # ---- the Storage Read API --------------------------------------------------------------------------------------

    def session(
        self, table: Table, selected: Sequence[str], restriction: str, snapshot: datetime | None, max_streams: int
    ) -> Session:
        """Open a session on the rows that were in the table at a time."""
        if table.kind not in ("TABLE", "SNAPSHOT"):
            raise RefusalError(400, "invalid", f"read API does not support the type {table.kind}")
        rows = None
        if table.batches is None:
            rows = table.at(snapshot)
            for condition in filter(None, (table.policy, restriction)):
                rows = _filtered(rows, condition)
            rows = rows.select(list(selected)) if selected else rows
            size = rows.num_rows
            number = min(max(-(-size // self.rows_per_stream), 0), max_streams or 1000)
            cuts = [size * place // number for place in range(number + 1)] if number else [0]
            streams = [(cuts[place], cuts[place + 1]) for place in range(number)]
        else:
            streams = [(0, 0)] * len(table.batches)
        made = Session(
            f"projects/{self.id}/locations/eu/sessions/s{len(self.sessions)}",
            table,
            rows,
            tuple(selected),
            restriction,
            snapshot,
            max_streams,
            streams,
        )
        self.sessions.append(made)
        return made


def _registrable(rows: Any) -> Any:
    """Return the columns that DuckDB can read."""
    return rows.select([one.name for one in rows.schema if "decimal256" not in str(one.type)])


def _filtered(rows: Any, restriction: str) -> Any:
    with duckdb.cursor() as con:
        con.execute("set TimeZone = 'UTC'")
        numbered = _registrable(rows).append_column("row number", pa.array(range(rows.num_rows), pa.int64()))
        con.register("t", numbered)
        try:
            kept = con.execute(f'select "row number" from t where {translated(restriction)} order by 1').fetchall()
        except duckdb.Error as error:
            raise RefusalError(400, "invalid", f"request failed: {str(error).splitlines()[0]}") from None
    return rows.take(pa.array([number for (number,) in kept], pa.int64()))


def statement_type(sql: str) -> str:
    """Return the kind of a statement as a dry run does."""
    if ";" in sql.strip().rstrip(";"):
        return "SCRIPT"
    first = re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL).split()
    word = first[0].upper().lstrip("(") if first else ""
    return "SELECT" if word in {"SELECT", "WITH", "FROM"} else f"{word}_TABLE" if word in {"CREATE", "DROP"} else word


def translated(sql: str) -> str:
    """Write GoogleSQL so that DuckDB understands it."""

    def name_or_text(found: re.Match[str]) -> str:
        if found[1] is not None:
            return '"' + found[1].replace('"', '""') + '"'
        return "'" + re.sub(r"\\(.)", r"\1", found[2]).replace("'", "''") + "'"

    text = re.sub(r"`((?:[^`\\]|\\.)*)`|'((?:[^'\\]|\\.)*)'", name_or_text, sql)
    text = re.sub(r"\bNUMERIC '([^']*)'", r"cast('\1' as decimal(38, 9))", text)
    return re.sub(r"\bDATETIME '", "TIMESTAMP '", re.sub(r"\bTIMESTAMP '([^']*\+00:00)'", r"TIMESTAMPTZ '\1'", text))


_KINDS: Sequence[tuple[Callable[[Any], bool], str]] = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_decimal, "NUMERIC"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_binary, "BYTES"),
)


def fields_of(schema: Any) -> list[dict[str, Any]]:
    """Describe the columns of a result."""
    return [_described(one.name, one.type) for one in schema]


def _described(name: str, kind: Any) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {**_described(name, kind.value_type), "mode": "REPEATED"}
    if pa.types.is_struct(kind):
        return column(name, "RECORD", fields=[_described(one.name, one.type) for one in kind])
    if pa.types.is_timestamp(kind):
        return column(name, "TIMESTAMP" if kind.tz else "DATETIME")
    return column(name, next((type_name for fits, type_name in _KINDS if fits(kind)), "STRING"))


def milliseconds(moment: datetime) -> int:
    """Write a time as the REST API does."""
    return int(moment.timestamp() * 1000)
