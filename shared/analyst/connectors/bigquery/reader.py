"""The process that reads BigQuery: it runs queries, and writes the streams of the Storage Read API to parquet.

It is a process of its own, because Google's clients load pyarrow and grpc, whose memory a process that serves functions
would keep. It reads orders from standard input, one JSON object a line, and writes an answer for each to standard output;
it ends when standard input does, so that it does not outlive the process that started it.
"""

import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
from google.api_core import exceptions as google_errors
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry, if_exception_type
from google.auth import exceptions as auth_errors
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from pyarrow import compute, parquet

from analyst.connectors.bigquery.access import Access, CredentialsError
from analyst.connectors.bigquery.api import Field, failure
from analyst.connectors.bigquery.columns import PlannedColumn, planned_columns, shown_value
from analyst.connectors.bigquery.conversion import converted
from analyst.connectors.bigquery.reader_processes import (
    BudgetError,
    Opened,
    OpenedSession,
    Order,
    Piece,
    ReadPiece,
    Result,
    TooLargeError,
    WrittenFile,
    order_to_cut,
    report_line,
)
from analyst.errors import AnalystError, SourceError, UnavailableError
from analyst.types import with_statistics

_GROUP_ROWS: Final = 100_000
_GROUP_BYTES: Final = 8 << 20
_ENCODERS: Final = 2
"""Row groups that are encoded at the same time; each keeps a processor busy, and takes about three times its size."""
_PATIENCE: Final = 120.0
"""Seconds for which a call is repeated while the service is unavailable."""
_CHANNEL: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.http2.bdp_probe", 0),  # otherwise the window of each stream grows with the speed of the network
    ("grpc.http2.lookahead_bytes", 4 << 20),  # 200 MB/s for each stream over 20 ms
]
_PASSING: Final = if_exception_type(
    google_errors.ServiceUnavailable, google_errors.TooManyRequests, google_errors.InternalServerError
)


def _retry() -> Any:
    return Retry(predicate=_PASSING, initial=0.1, maximum=10.0, timeout=_PATIENCE)


@dataclass(slots=True)
class Clients:
    """Google's clients for one access, made when they are needed."""

    access: Access
    _storage: list[Any] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def storage(self) -> Any:
        """Return the client of the Storage Read API."""
        with self._turn:
            if not self._storage:
                self._storage.append(self._made())
            return self._storage[0]

    def _made(self) -> Any:
        parts = urlsplit(self.access.storage)
        if parts.scheme == "http":
            import grpc

            channel = grpc.insecure_channel(parts.netloc, options=_CHANNEL)
        else:
            target = parts.netloc if parts.port else f"{parts.netloc}:443"
            channel = BigQueryReadGrpcTransport.create_channel(
                target, credentials=self.access.credentials(), options=_CHANNEL
            )
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))  # type: ignore[no-untyped-call]

    def jobs(self, project: str, location: str | None) -> Any:
        """Return the client of jobs, which the project pays for."""
        options = ClientOptions(api_endpoint=self.access.api)
        return bigquery.Client(
            project=project, credentials=self.access.credentials(), client_options=options, location=location
        )


@dataclass(slots=True)
class _Files:
    """The parquet files of one stream. A row group ends after a number of rows or bytes, whichever comes first."""

    folder: Path
    prefix: str
    schema: Any
    encoders: threading.BoundedSemaphore
    most: int
    ended: Callable[[Path, int], None] = lambda path, rows: None  # noqa: ARG005
    """Called with each complete file, and its number of rows."""
    paths: list[Path] = field(default_factory=list)
    rows: int = 0
    _own_rows: int = 0
    _waiting: list[Any] = field(default_factory=list)
    _size: int = 0
    _count: int = 0
    _sink: Any = None
    _writer: Any = None

    def add(self, batch: Any) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._size += batch.nbytes
        self._count += batch.num_rows
        if self._count >= _GROUP_ROWS or self._size >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows."""
        if self._waiting:
            self._flush()
        self._end()

    def _flush(self) -> None:
        if self._writer is None:
            self.paths.append(self.folder / f"{self.prefix}-{len(self.paths):04}.parquet")
            self._sink = pa.OSFile(str(self.paths[-1]), "wb")
            self._writer = _writer(self._sink, self.schema)
        with self.encoders:
            table = pa.Table.from_batches(self._waiting, self.schema)
            self._waiting = []
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
            del table
        self.rows += self._count
        self._own_rows += self._count
        self._waiting, self._size, self._count = [], 0, 0
        if self._sink.tell() >= self.most:
            self._end()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._writer = None
            self.ended(self.paths[-1], self._own_rows)
            self._own_rows = 0


def _writer(sink: Any, schema: Any) -> Any:
    ordered = with_statistics(schema)
    return parquet.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, store_schema=False, write_statistics=ordered
    )


@dataclass(slots=True)
class _Amount:
    """How much the streams of an order have read together. Thread-safe."""

    order: Order
    rows: int = 0
    bytes: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, batch: Any) -> Any:
        """Count a batch; return the part of it that is still needed.

        Raises:
            TooLargeError: there are more rows than may be read.
        """
        enough, limit = self.order.enough, self.order.limit
        with self._turn:
            if enough is not None:
                batch = batch.slice(0, max(0, enough - self.rows))
            self.rows += batch.num_rows
            self.bytes += batch.nbytes
            if limit is not None and self.rows > limit.rows:
                raise TooLargeError(
                    f"more than {limit.rows:,} rows of {self.order.label!r} are needed, the most that a query may read "
                    f"(QUERY_REMOTE_ROWS); {limit.advice}"
                )
            if limit is not None and self.bytes > limit.bytes:
                raise TooLargeError(
                    f"more than {limit.bytes // 1_000_000:,} MB of {self.order.label!r} are needed, the most that a query may "
                    f"read (QUERY_REMOTE_BYTES); {limit.advice}"
                )
        return batch

    @property
    def is_enough(self) -> bool:
        """Whether no more rows are needed."""
        return self.order.enough is not None and self.rows >= self.order.enough


@dataclass(frozen=True, slots=True)
class Reading:
    """One order."""

    order: Order
    clients: Clients
    is_cut: Callable[[], bool] = lambda: False
    report: Callable[[Opened | WrittenFile], None] = lambda event: None  # noqa: ARG005
    encoders: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_ENCODERS))
    amount: _Amount = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", _Amount(self.order))

    def result(self) -> Result:
        """Carry out the order.

        Raises:
            SourceError: what the owner of the source must fix.
            UnavailableError: BigQuery does not respond.
        """
        order = self.order
        if order.kind == "rows":
            job, _ = self._job(order.sql or "")
            return Result(values=[[_plain(value) for value in row.values()] for row in job.result()])
        if order.kind == "estimate":
            dry = self._dry(order.sql or "")
            return Result(
                estimate=int(dry.total_bytes_processed or 0), columns=[one.column for one in self._columns(dry)]
            )
        if (begun := order.opened) is not None:
            billing = {"estimate": begun.estimate, "job": begun.job, "billed": begun.billed}
            if not begun.sessions and begun.result is not None:
                begun = self._opened(begun.result, begun.columns, result=begun.result, **billing)
            return self._read(begun).model_copy(update=billing)
        if order.sql is None:
            return self._read(self._opened(order.table or "", order.columns))
        job, estimate = self._job(order.sql)
        job.result(max_results=0)
        columns = order.columns or self._columns(job)
        found = job.destination
        path = f"projects/{found.project}/datasets/{found.dataset_id}/tables/{found.table_id}"
        billing = {"estimate": estimate, "job": job.job_id, "billed": job.total_bytes_billed or 0}
        return self._read(self._opened(path, columns, result=path, **billing)).model_copy(update=billing)

    def _columns(self, job: Any) -> tuple[PlannedColumn, ...]:
        """Return the columns of a query's result."""
        fields = tuple(Field.of(one.to_api_repr()) for one in job.schema or ())
        if self.order.keeps_names:
            return tuple(PlannedColumn(one, one.name) for one in fields)
        return planned_columns(fields, self.order.label)

    def _dry(self, sql: str) -> Any:
        """Let BigQuery check a query without running it.

        Raises:
            BudgetError: it would process more bytes than it may bill.
        """
        order = self.order
        job = self._query(sql, bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
        if order.only_select and job.statement_type != "SELECT":
            raise SourceError(
                f"the SQL of {order.label!r} is {job.statement_type or 'not a query'}, and only one SELECT can be run; write it "
                "as one query without DDL, DML or scripts"
            )
        estimate = int(job.total_bytes_processed or 0)
        if order.cap and estimate > order.cap:
            raise BudgetError(
                f"the query of {order.label!r} would process {estimate:,} bytes, and may bill {order.cap:,}; it was not "
                "run; read fewer columns or partitions, or raise max_bytes_billed"
            )
        return job

    def _job(self, sql: str) -> tuple[Any, int]:
        """Start a query, unless it would process more bytes than it may bill."""
        order, estimate = self.order, int(self._dry(sql).total_bytes_processed or 0)
        config = bigquery.QueryJobConfig(labels={"application": "ai-data-analyst"})
        if order.cap:
            config.maximum_bytes_billed = order.cap
        return self._started(sql, config) or self._query(sql, config), estimate

    def _started(self, sql: str, config: Any) -> Any:
        """Start a query as the job of the order, or return it if it was started before; `None` if that one failed.

        A job that failed is not billed, and its id can't be used again.
        """
        order, retry = self.order, DEFAULT_RETRY.with_timeout(_PATIENCE)
        if order.job is None:
            return None
        client = self.clients.jobs(order.billing, order.location)
        try:
            job = client.query(sql, job_config=config, job_id=order.job, retry=retry, job_retry=None)
        except google_errors.Conflict:
            try:
                job = client.get_job(order.job, retry=retry)
            except google_errors.NotFound:  # it ran in a location that is not known
                return None
        try:
            job.result(max_results=0)
        except google_errors.GoogleAPICallError:
            if not job.done(retry=retry):
                raise
            return None
        return job

    def _query(self, sql: str, config: Any) -> Any:
        client = self.clients.jobs(self.order.billing, self.order.location)
        again = DEFAULT_JOB_RETRY.with_timeout(_PATIENCE)
        return client.query(sql, job_config=config, retry=DEFAULT_RETRY.with_timeout(_PATIENCE), job_retry=again)

    def _opened(self, path: str, columns: Sequence[PlannedColumn], **billing: Any) -> Opened:
        """Open a session for each piece of a table."""
        with ThreadPoolExecutor(self.order.streams) as pool:
            sessions = list(pool.map(lambda piece: self._session(path, columns, piece), self.order.pieces))
        opened = Opened(
            sessions=[OpenedSession(streams=[stream.name for stream in session.streams]) for session in sessions],
            arrow=base64.b64encode(sessions[0].arrow_schema.serialized_schema).decode(),
            columns=tuple(columns),
            **billing,
        )
        if self.order.id:
            self.report(opened)
        return opened

    def _read(self, opened: Opened) -> Result:
        """Read the pieces of a table, several at a time."""
        order, columns = self.order, opened.columns
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(opened.arrow)))
        streams = [(owner, name) for owner, session in enumerate(opened.sessions) for name in session.streams]
        reached = order.reached or (0,) * len(streams)
        with ThreadPoolExecutor(order.streams) as pool:
            jobs = [
                (owner, pool.submit(self._stream, number, name, start, schema, columns))
                for number, ((owner, name), start) in enumerate(zip(streams, reached, strict=True))
                if start is not None
            ]
            try:
                done = [(owner, *job.result()) for owner, job in jobs]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        made = []
        for number, piece in enumerate(order.pieces):
            own = [files for owner, files, _, _ in done if owner == number]
            paths = [path for files in own for path in files.paths] or [self._nothing(schema, columns, number)]
            made.append(ReadPiece(name=piece.name, files=list(map(str, paths)), rows=sum(files.rows for files in own)))
        greatest = [value for _, _, value, _ in done if value is not None]
        cursor = shown_value(max(greatest)) if greatest else None
        return Result(
            pieces=made,
            rows=sum(one.rows for one in made),
            bytes=self.amount.bytes,
            cursor=None if cursor is None else str(cursor),
            columns=[one.column for one in columns],
            is_whole=all(is_last for _, _, _, is_last in done),
        )

    def _session(self, path: str, columns: Sequence[PlannedColumn], piece: Piece) -> Any:
        options = types.ReadSession.TableReadOptions(
            selected_fields=[one.field.name for one in columns],
            row_restriction=piece.restriction or "",
            arrow_serialization_options=types.ArrowSerializationOptions(
                buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
            ),
        )
        session = types.ReadSession(table=path, data_format=types.DataFormat.ARROW, read_options=options)
        if self.order.snapshot is not None and self.order.sql is None:
            session.table_modifiers = types.ReadSession.TableModifiers(snapshot_time=self.order.snapshot)
        return self.clients.storage().create_read_session(
            parent=f"projects/{self.order.billing}",
            read_session=session,
            max_stream_count=self.order.streams,
            retry=_retry(),
        )

    def _stream(
        self, number: int, name: str, start: int, schema: Any, columns: Sequence[PlannedColumn]
    ) -> tuple[_Files, Any, bool]:
        """Write one stream from a row on; the client resumes one that breaks at the row that it has reached.

        Also return the greatest value of the cursor column, and whether the stream was read to its end.
        """
        order, values, is_last = self.order, list[Any](), False
        is_left = bool(self.amount.rows) and self.is_cut()
        greatest: Any = None
        reached = start

        def ended(path: Path, rows: int) -> None:
            nonlocal greatest, reached
            value = max(values, default=None)
            greatest = value if greatest is None or (value is not None and value > greatest) else greatest
            values.clear()
            if order.id:
                shown = None if value is None else str(shown_value(value))
                self.report(
                    WrittenFile(
                        stream=number, start=reached, rows=rows, path=str(path), greatest=shown, is_last=is_last
                    )
                )
            reached += rows

        files = _Files(
            *(
                Path(order.into),
                f"{number:06}",
                _written_schema(schema, columns),
                self.encoders,
                order.file_bytes,
                ended,
            )
        )
        for batch in () if is_left else self._batches(schema, name, start):
            if order.cursor is not None and batch.num_rows:
                value = compute.max(batch.column(order.cursor)).as_py()
                values += [] if value is None else [value]
            files.add(_published(self.amount.take(batch), columns))
            if self.amount.is_enough or self.is_cut():
                break
        else:
            is_last = not is_left
        files.close()
        return files, greatest, is_last or self.amount.is_enough

    def _batches(self, schema: Any, stream: str, start: int) -> Iterator[Any]:
        for response in self.clients.storage().read_rows(stream, offset=start, retry=_retry()):
            data = response._pb.arrow_record_batch.serialized_record_batch  # noqa: SLF001 - without a copy
            yield pa.ipc.read_record_batch(pa.py_buffer(data), schema)

    def _nothing(self, schema: Any, columns: Sequence[PlannedColumn], number: int) -> Path:
        """Write a file without rows, which has the columns."""
        path = Path(self.order.into) / f"{number:05}-none.parquet"
        with pa.OSFile(str(path), "wb") as sink, _writer(sink, _written_schema(schema, columns)):
            pass
        return path


def _published(batch: Any, columns: Sequence[PlannedColumn]) -> Any:
    arrays = [converted(batch.column(one.field.name), one.field) for one in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[one.name for one in columns])


def _written_schema(schema: Any, columns: Sequence[PlannedColumn]) -> Any:
    empty = pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)
    return _published(empty, columns).schema


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else shown_value(value)


def _explained(error: Exception, label: str) -> AnalystError:  # noqa: PLR0911 - one for each kind
    """Return an error of Google's clients as one of ours."""
    if isinstance(error, AnalystError):
        return error
    if isinstance(error, google_errors.RetryError):
        return UnavailableError(
            f"BigQuery does not respond, here for {label!r}: {_first_line(error.cause)}; try again later"
        )
    if isinstance(error, google_errors.GoogleAPICallError):
        fields: Mapping[str, Any] = error.errors[0] if error.errors and isinstance(error.errors[0], dict) else {}
        message = str(fields.get("message") or error.message)
        if fields.get("reason") == "bytesBilledLimitExceeded":
            return BudgetError(f"BigQuery did not run the query of {label!r}: {message}")
        return failure(int(error.code or 500), str(fields.get("reason") or ""), message, repr(label))
    if isinstance(error, auth_errors.TransportError | auth_errors.TimeoutError):
        return UnavailableError(f"Google returned no token: {_first_line(error)}")
    if isinstance(error, auth_errors.GoogleAuthError):
        return CredentialsError(f"Google does not accept the credentials: {_first_line(error)}")
    if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError):
        return SourceError(f"the rows of {label!r} can't be written as parquet: {_first_line(error)}")
    if isinstance(error, OSError):
        return UnavailableError(
            f"{label!r} can't be written: {os.strerror(error.errno or 0)}; free space in SCRATCH_DIR"
        )
    raise error


def _first_line(error: BaseException | None) -> str:
    return str(error).split("\n")[0][:300]


@dataclass(slots=True)
class _Output:
    """Standard output, to which the threads of an order write a line each."""

    turn: threading.Lock = field(default_factory=threading.Lock)

    def write(self, line: str) -> None:
        with self.turn:
            print(line, flush=True)  # noqa: T201 - the answer


def answer(line: str, known: dict[Access, Clients], cut: set[str], output: _Output) -> dict[str, Any]:
    """Carry out one order, given as JSON; return the answer: the result, or the error. `cut` has the ids of those to cut."""
    order = Order.model_validate_json(line)
    access = Access(order.api, order.storage, order.key_file)
    reading = Reading(
        order,
        known.setdefault(access, Clients(access)),
        lambda: order.id in cut,
        lambda event: output.write(report_line(order, event)),
    )
    try:
        return {"result": reading.result().model_dump(mode="json")}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process raises it
        try:
            found = _explained(error, order.label)
        except Exception as unknown:  # noqa: BLE001
            return {"error": {"kind": "unexpected", "message": f"{type(unknown).__name__}: {_first_line(unknown)}"}}
        return {"error": {"kind": type(found).__name__, "message": str(found)}}
    finally:
        cut.discard(order.id)  # each order has an id of its own


def main() -> None:
    """Carry out orders until standard input ends."""
    orders: SimpleQueue[str] = SimpleQueue()
    cut = set[str]()

    def listen() -> None:
        for line in sys.stdin:
            if (id_ := order_to_cut(line)) is None:
                orders.put(line)
            else:
                cut.add(id_)
        os._exit(0)  # the process that sent the order is gone, so nobody needs the result

    threading.Thread(target=listen, daemon=True).start()
    known: dict[Access, Clients] = {}
    output = _Output()
    while True:
        output.write(json.dumps(answer(orders.get(), known, cut, output)))


if __name__ == "__main__":
    main()
