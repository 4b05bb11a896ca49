"""A Keboola project: buckets, tables with rows, jobs and files, as the Storage API shows them."""

import csv
import gzip
import io
import json
import operator
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Literal

import duckdb

TOKEN = "12-345-SecretOfTheDouble"
PROJECT_ID = "345"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)

Provider = Literal["gcp", "aws", "azure"]
Cell = str | None


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str = "storage.error", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


@dataclass
class Column:
    """A column; `type` and `length` are those of a typed table's definition."""

    name: str
    type: str = "VARCHAR"
    length: str | None = None
    nullable: bool = True
    basetype: str | None = None

    @property
    def duckdb(self) -> str:
        """Return as what the column is in exported parquet."""
        kind = self.type.upper()
        if kind in ("NUMBER", "NUMERIC", "DECIMAL"):
            return (
                f"DECIMAL({self.length or '38,0'})" if "," in (self.length or "38,0") else f"DECIMAL({self.length},0)"
            )
        known = {
            "INTEGER": "DECIMAL(38,0)",
            "BIGINT": "DECIMAL(38,0)",
            "INT64": "BIGINT",
            "FLOAT": "DOUBLE",
            "FLOAT64": "DOUBLE",
            "BOOLEAN": "BOOLEAN",
            "BOOL": "BOOLEAN",
            "DATE": "DATE",
            "TIMESTAMP_NTZ": "TIMESTAMP",
            "DATETIME": "TIMESTAMP",
            "TIMESTAMP_TZ": "TIMESTAMPTZ",
            "TIMESTAMP_LTZ": "TIMESTAMPTZ",
            "BINARY": "BLOB",
        }
        return known.get(kind, "VARCHAR")


@dataclass
class Row:
    values: dict[str, Cell]
    at: datetime


@dataclass
class Table:
    """A table. Values are texts, as Keboola's CSV spells them; `None` is NULL."""

    bucket: str
    name: str
    columns: list[Column]
    primary_key: tuple[str, ...] = ()
    is_typed: bool = False
    rows: list[Row] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    column_metadata: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    source: "Table | None" = None
    created: datetime = START
    changed: datetime = START
    slices: list[bytes] | None = None
    """Ready-made slices, for large tables; `count` is the number of their rows."""
    count: int | None = None

    @property
    def id(self) -> str:
        return f"{self.bucket}.{self.name}"


@dataclass
class File:
    id: int
    name: str
    objects: list[bytes]
    is_sliced: bool
    provider: Provider
    generation: int = 0
    """How often credentials were given; only the newest are accepted once those before are expired."""

    @property
    def prefix(self) -> str:
        return f"exp-15/{self.id}/{self.name}"

    def object(self, key: str) -> bytes | None:
        """Find an object by its key; the manifest is one, too."""
        if key == f"{self.prefix}manifest":
            return None
        if not self.is_sliced:
            return self.objects[0] if key == self.prefix else None
        found = re.fullmatch(re.escape(self.prefix) + r"(\d+)(?:_part)?(?:\.csv)?(?:\.gz|\.parquet)?", key)
        number = int(found[1]) if found else -1
        return self.objects[number] if 0 <= number < len(self.objects) else None


@dataclass
class Job:
    id: int
    table: str
    polls: int
    error: dict[str, str] | None = None
    file: int | None = None
    cache_hit: bool = False


@dataclass
class Fault:
    """What befalls a request whose path matches, `times` times.

    `status` is answered; `cut` ends the connection after so many bytes; `body` is answered instead.
    """

    path: str
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    times: int = 1
    wrong_length: int = 0
    replace: Callable[[bytes], bytes] | None = None
    method: str | None = None
    after: Callable[[], object] | None = None


@dataclass
class Project:
    """A project, and what its API was asked."""

    provider: Provider = "gcp"
    backend: str = "snowflake"
    parquet: bool = True
    name: str = "Shop"
    token: str = TOKEN
    job_limit: int = 5
    polls: int = 0
    """How often a job is looked at before it has ended."""
    slice_rows: int | None = 2
    """Rows of a slice; `None`: files are single."""
    permissions: dict[str, str] | None = None
    features: tuple[str, ...] = ()
    branch: str | None = None
    now: datetime = START
    tables: dict[str, Table] = field(default_factory=dict)
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    files: dict[int, File] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)
    exports: list[dict[str, Any]] = field(default_factory=list)
    job_error: Callable[[Table], dict[str, str] | None] = lambda _: None
    maintenance: int = 0
    """How many requests are answered with maintenance."""
    expired: bool = False
    """Whether the credentials given last are no longer accepted."""
    running: int = 0
    most_running: int = 0
    cache: dict[str, int] = field(default_factory=dict)
    turn: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterable[int] = field(default_factory=lambda: count(1001))

    def tick(self, **by: float) -> datetime:
        """Advance the clock."""
        self.now += timedelta(**(by or {"hours": 1}))
        return self.now

    def bucket(self, id_: str, **more: Any) -> None:
        """Make a bucket."""
        stage, _, name = id_.partition(".")
        self.buckets[id_] = {
            "id": id_,
            "name": name,
            "displayName": name.removeprefix("c-"),
            "stage": stage,
            "description": "",
            "backend": self.backend,
            **more,
        }

    def table(
        self,
        id_: str,
        columns: Sequence[str | Column],
        rows: Iterable[Sequence[Cell]] = (),
        *,
        key: Sequence[str] = (),
        typed: bool = False,
        types: Mapping[str, Mapping[str, str]] | None = None,
        **more: Any,
    ) -> Table:
        """Make a table; `types` are datatypes in the metadata of columns, by column, of the provider user."""
        bucket, _, name = id_.rpartition(".")
        if bucket not in self.buckets:
            self.bucket(bucket)
        listed = [Column(one) if isinstance(one, str) else one for one in columns]
        table = Table(bucket, name, listed, tuple(key), typed, created=self.now, changed=self.now, **more)
        for column, metadata in (types or {}).items():
            for part, value in metadata.items():
                self.describe(table, column, f"KBC.datatype.{part}", value)
        self.tables[id_] = table
        self.insert(table, rows)
        return table

    def alias(self, id_: str, of: Table) -> Table:
        """Make an alias of a table."""
        bucket, _, name = id_.rpartition(".")
        if bucket not in self.buckets:
            self.bucket(bucket)
        self.tables[id_] = Table(bucket, name, of.columns, of.primary_key, of.is_typed, source=of)
        return self.tables[id_]

    def describe(self, table: Table, column: str | None, key: str, value: str, provider: str = "user") -> None:
        """Write an entry of metadata of a table, or of one of its columns."""
        entry = {
            "id": str(next(iter(self.numbers))),
            "key": key,
            "value": value,
            "provider": provider,
            "timestamp": stamp(self.now),
        }
        (table.metadata if column is None else table.column_metadata.setdefault(column, [])).append(entry)

    def insert(self, table: Table, rows: Iterable[Sequence[Cell]]) -> None:
        """Import rows: one with the key of another replaces it."""
        names = [column.name for column in table.columns]
        index = (
            {self._key(table, row.values): place for place, row in enumerate(table.rows)} if table.primary_key else {}
        )
        for given in rows:
            values = dict(zip(names, given, strict=True))
            key = self._key(table, values)
            if table.primary_key and key in index:
                table.rows[index[key]] = Row(values, self.now)
            else:
                index[key] = len(table.rows)
                table.rows.append(Row(values, self.now))
        table.changed = self.now

    def delete(self, table: Table, is_gone: Callable[[dict[str, Cell]], bool]) -> None:
        """Delete rows."""
        table.rows = [row for row in table.rows if not is_gone(row.values)]
        table.changed = self.now

    def _key(self, table: Table, values: Mapping[str, Cell]) -> tuple[Cell, ...]:
        return tuple(values[column] for column in table.primary_key)

    # ---- what the API says -----------------------------------------------------------------------------------------

    def verify(self) -> dict[str, Any]:
        permissions = self.permissions if self.permissions is not None else dict.fromkeys(self.buckets, "read")
        return {
            "id": "12",
            "token": "…",
            "description": "da",
            "expires": None,
            "bucketPermissions": permissions or [],
            "canReadAllFileUploads": True,
            "canManageBuckets": False,
            "owner": {
                "id": int(PROJECT_ID),
                "name": self.name,
                "defaultBackend": self.backend,
                "fileStorageProvider": self.provider,
                "features": list(self.features),
                "limits": {"storage.jobsParallelism": {"name": "storage.jobsParallelism", "value": self.job_limit}},
            },
        }

    def visible(self) -> list[Table]:
        allowed = self.permissions
        return [table for table in self.tables.values() if allowed is None or table.bucket in allowed]

    def find(self, id_: str) -> Table:
        table = self.tables.get(id_)
        if table is None:
            message = f'The table "{id_.rpartition(".")[2]}" was not found in the bucket "{id_.rpartition(".")[0]}" in the project "{PROJECT_ID}"'
            raise RefusalError(404, message, "storage.tables.notFound")
        if table not in self.visible():
            raise RefusalError(403, f"You don't have access to the resource {id_}", "accessDenied")
        return table

    def shown(self, table: Table, include: Iterable[str], *, detail: bool = False) -> dict[str, Any]:
        """Show a table as the list does, or with all details."""
        data = table.source or table
        include = {"columns", "columnMetadata", "metadata", "buckets"} if detail else set(include)
        resource: dict[str, Any] = {
            "uri": f"https://connection.keboola.com/v2/storage/tables/{table.id}",
            "id": table.id,
            "name": table.name,
            "displayName": table.name,
            "transactional": False,
            "primaryKey": list(table.primary_key),
            "created": stamp(table.created),
            "lastImportDate": stamp(data.changed),
            "lastChangeDate": stamp(data.changed),
            "rowsCount": len(data.rows) if data.count is None else data.count,
            "dataSizeBytes": 1000 * len(data.rows),
            "isAlias": table.source is not None,
            "isAliasable": True,
            "isTyped": table.is_typed,
        }
        if "columns" in include:
            resource["columns"] = [column.name for column in table.columns]
        if "metadata" in include:
            resource["metadata"] = table.metadata
        if "columnMetadata" in include:
            resource["columnMetadata"] = table.column_metadata or []
        if "buckets" in include:
            resource["bucket"] = self.buckets[table.bucket]
        if table.source is not None:
            resource["sourceTable"] = {
                "id": table.source.id,
                "name": table.source.name,
                "project": {"id": int(PROJECT_ID), "name": self.name},
                **({"columnMetadata": table.source.column_metadata or []} if detail else {}),
            }
        if detail and table.is_typed:
            resource["definition"] = {
                "primaryKeysNames": list(table.primary_key),
                "columns": [
                    {
                        "name": column.name,
                        "definition": {
                            "type": column.type,
                            "nullable": column.nullable,
                            **({} if column.length is None else {"length": column.length}),
                        },
                        "basetype": column.basetype or _BASETYPES.get(column.type.upper(), "STRING"),
                        "canBeFiltered": True,
                    }
                    for column in table.columns
                ],
            }
        return resource

    def export(self, table: Table, order: Mapping[str, Any]) -> Job:
        """Start an export; everything that is wrong with the order is said at once."""
        file_type = str(order.get("fileType") or "csv")
        if file_type not in ("csv", "parquet"):
            raise RefusalError(400, "Invalid request: fileType must be csv or parquet", "storage.tables.validation")
        if file_type == "parquet" and not self.parquet:
            message = f"Export to parquet is not supported on backend {self.backend}"
            raise RefusalError(400, message, "storage.tables.validation")
        names = [column.name for column in table.columns]
        wanted = order.get("columns") or names
        columns = wanted.split(",") if isinstance(wanted, str) else list(wanted)
        if unknown := [name for name in columns if name not in names]:
            raise RefusalError(400, f"Table {table.id} has no column {unknown[0]}", "storage.tables.validation")
        filters = order.get("whereFilters") or []
        for clause in filters:
            if clause["column"] not in names:
                raise RefusalError(400, f"Column {clause['column']} not found", "storage.tables.validation")
            if clause["operator"] not in ("eq", "ne") and self.backend != "snowflake":
                raise RefusalError(400, f"Operator {clause['operator']} is not supported", "storage.tables.validation")
        self.exports.append({"table": table.id, **order})
        number = next(iter(self.numbers))
        job = Job(number, table.id, self.polls, self.job_error(table))
        self.jobs[number] = job
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        if job.error is None:
            data = table.source or table
            cached = json.dumps([table.id, data.changed.isoformat(), order], sort_keys=True, default=str)
            job.cache_hit = cached in self.cache
            if not job.cache_hit:
                self.cache[cached] = self._file(table, columns, filters, order, file_type)
            job.file = self.cache[cached]
        return job

    def job(self, number: int) -> dict[str, Any]:
        job = self.jobs.get(number)
        if job is None:
            raise RefusalError(404, f"Job {number} not found", "storage.jobs.notFound")
        resource: dict[str, Any] = {
            "id": job.id,
            "operationName": "tableExport",
            "tableId": job.table,
            "createdTime": stamp(self.now),
        }
        if job.polls > 0:
            job.polls -= 1
            return {**resource, "status": "processing" if job.polls else "waiting", "results": None}
        if job.polls == 0:
            job.polls = -1
            self.running -= 1
        if job.error is not None:
            return {**resource, "status": "error", "error": job.error, "results": []}
        return {**resource, "status": "success", "results": {"file": {"id": job.file}, "cacheHit": job.cache_hit}}

    def _file(
        self, table: Table, columns: Sequence[str], filters: Sequence[Any], order: Mapping[str, Any], file_type: str
    ) -> int:
        data = table.source or table
        is_gzip = file_type == "csv" and str(order.get("gzip", "")).lower() in ("true", "1")
        number = next(iter(self.numbers))
        if data.slices is not None:
            objects, is_sliced = data.slices, True
        else:
            rows = [row.values for row in data.rows if _is_wanted(row, filters, order)]
            if order.get("limit"):
                rows = rows[: int(order["limit"])]
            is_sliced = self.slice_rows is not None
            size = self.slice_rows or max(len(rows), 1)
            pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
            if not is_sliced and not pieces:
                pieces = [[]]
            kinds = {column.name: column for column in table.columns}
            if file_type == "parquet":
                objects = [_parquet(piece, columns, kinds, is_typed=table.is_typed) for piece in pieces]
            else:
                header = not is_sliced
                quoting = "bigquery" if self.backend == "bigquery" else "snowflake"
                objects = [_csv(piece, columns, table, quoting, header=header) for piece in pieces]
                objects = [gzip.compress(one, 1) for one in objects] if is_gzip else objects
        name = f"{table.bucket}.{table.name}.{file_type}" + (".gz" if is_gzip else "")
        self.files[number] = File(number, name, list(objects), is_sliced, self.provider)
        return number


def _is_wanted(row: Row, filters: Sequence[Any], order: Mapping[str, Any]) -> bool:
    if order.get("changedSince") and row.at.timestamp() < float(order["changedSince"]):
        return False
    if order.get("changedUntil") and row.at.timestamp() >= float(order["changedUntil"]):
        return False
    return all(_meets(row.values[one["column"]], one) for one in filters)


def _meets(value: Cell, condition: Mapping[str, Any]) -> bool:
    values = list(map(str, condition["values"]))
    if condition["operator"] in ("eq", "ne"):
        return bool((value in values) == (condition["operator"] == "eq"))
    number = condition.get("dataType") in ("INTEGER", "DOUBLE", "BIGINT", "REAL", "DECIMAL")
    one, other = (float(value or "nan"), float(values[0])) if number else (value or "", values[0])
    return bool(getattr(operator, condition["operator"])(one, other))


def _csv(
    rows: Sequence[Mapping[str, Cell]],
    columns: Sequence[str],
    table: Table,
    quoting: str,
    *,
    header: bool,
) -> bytes:
    """Write RFC 4180 as the backends do: Snowflake quotes everything but NULL, BigQuery what needs it, and empty texts."""
    out = io.StringIO()
    if header:
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(columns)
    for row in rows:
        cells = []
        for name in columns:
            value = row[name]
            if value is None:
                cells.append("" if table.is_typed else '""')
            elif quoting == "snowflake" or value == "" or any(mark in value for mark in ',"\n\r'):
                cells.append('"' + value.replace('"', '""') + '"')
            else:
                cells.append(value)
        out.write(",".join(cells) + "\n")
    return out.getvalue().encode()


def _parquet(
    rows: Sequence[Mapping[str, Cell]], columns: Sequence[str], kinds: Mapping[str, Column], *, is_typed: bool
) -> bytes:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    with duckdb.cursor() as con, tempfile.TemporaryDirectory() as folder:
        con.execute("set TimeZone = 'UTC'")
        con.execute(f"create temp table t ({', '.join(f'{quoted(name)} varchar' for name in columns)})")
        if rows:
            texts = [[(row[name] if is_typed or row[name] is not None else "") for name in columns] for row in rows]
            con.executemany(f"insert into t values ({', '.join('?' * len(columns))})", texts)
        path = Path(folder) / "t.parquet"
        casts = ", ".join(_typed(quoted(name), kinds[name]) if is_typed else quoted(name) for name in columns)
        con.execute(f"copy (select {casts} from t) to '{path}' (format parquet, compression snappy)")
        return path.read_bytes()


def _typed(name: str, column: Column) -> str:
    value = f"unhex({name})" if column.duckdb == "BLOB" else f"cast({name} as {column.duckdb})"
    return f"{value} as {name}"


_BASETYPES = {
    "NUMBER": "NUMERIC",
    "NUMERIC": "NUMERIC",
    "DECIMAL": "NUMERIC",
    "INTEGER": "INTEGER",
    "BIGINT": "INTEGER",
    "INT64": "INTEGER",
    "FLOAT": "FLOAT",
    "FLOAT64": "FLOAT",
    "BOOLEAN": "BOOLEAN",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "TIMESTAMP_TZ": "TIMESTAMP",
    "TIMESTAMP_LTZ": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
}


def stamp(moment: datetime) -> str:
    """Write a time as the Storage API does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S%z")
