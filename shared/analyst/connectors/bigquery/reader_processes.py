"""Orders to the processes that read BigQuery, and those processes; see `reader`."""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from typing import IO, Any, Final, Literal, Self, cast

import orjson
from pydantic import BaseModel, ConfigDict

from analyst.catalog import Column
from analyst.connectors.bigquery.access import CredentialsError
from analyst.connectors.bigquery.api import MissingError, RefusedError
from analyst.connectors.bigquery.columns import PlannedColumn
from analyst.errors import AnalystError, RateLimitedError, SourceError, UnavailableError
from analyst.query.live_rows import Patience
from analyst.query.pool import AbandonedError
from analyst.query.statement import refused

READERS: Final = 2
"""Tables that are read at the same time, by a process each."""

_WAIT: Final = 10.0
_LOOK: Final = 0.1


class BudgetError(SourceError):
    """A query would bill more bytes than it may."""

    code = "bigquery_budget"


class TooLargeError(SourceError):
    """There are more rows than may be read."""

    code = "bigquery_too_large"


_KINDS: Final[dict[str, type[AnalystError]]] = {
    kind.__name__: kind
    for kind in (
        *(BudgetError, CredentialsError, MissingError, RateLimitedError, RefusedError, SourceError, TooLargeError),
        UnavailableError,
    )
}


class Piece(BaseModel):
    """A part of a table that is read by itself: the rows that meet a condition, or all."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    restriction: str | None = None


class ReadLimit(BaseModel):
    """The maximum number of rows, and of bytes in memory. `advice` is for the person who requested more."""

    model_config = ConfigDict(frozen=True)

    rows: int
    bytes: int
    advice: str = ""


class OpenedSession(BaseModel):
    """A session of the Storage Read API: the names of its streams."""

    model_config = ConfigDict(frozen=True)

    streams: tuple[str, ...]


class Opened(BaseModel):
    """What was opened for an order, a session for each of its pieces, and what another process needs to read on from it.

    `arrow` is the schema of the rows, in base64. `columns` and the rest are those of a query's result, which is in the table
    `result`. Without sessions, new ones are opened on that.
    """

    model_config = ConfigDict(frozen=True)

    sessions: tuple[OpenedSession, ...]
    arrow: str
    columns: tuple[PlannedColumn, ...]
    estimate: int | None = None
    billed: int | None = None
    job: str | None = None
    result: str | None = None


class WrittenFile(BaseModel):
    """A parquet file that is complete: `rows` rows of a stream from the row `start` on.

    Streams are numbered across all sessions. `greatest` is the greatest value of the cursor column, `is_last` whether the
    stream ended with these rows.
    """

    model_config = ConfigDict(frozen=True)

    stream: int
    start: int
    rows: int
    path: str
    greatest: str | None = None
    is_last: bool = False


class Order(BaseModel):
    """What to read.

    `table` is a name for the Storage Read API; with `sql`, a query's result is read. The kind `rows` returns the values of a
    small result instead of writing files, `estimate` only the bytes that a query would process and its columns. `cap` is the
    most bytes that a query may bill; 0 for no cap. `cursor` is the column whose greatest value is returned. `label` names the
    table in messages. A query that was started as the `job` is not started again. Without `columns`, all of the query's are read, with `keeps_names` under BigQuery's own names.
    `only_select` refuses SQL that is not one SELECT. `limit` bounds how much is read, and `enough` is the number of
    rows that suffice.

    An order with an `id` can be cut: what was opened and written is reported before the result, and on demand it ends after
    the batches in progress. Another order continues with the sessions that it `opened`, in each stream from the row
    that was `reached`; streams without one are at their end. Files have at most `file_bytes` plus one batch.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["files", "rows", "estimate"] = "files"
    label: str
    billing: str
    api: str
    storage: str
    key_file: str | None = None
    location: str | None = None
    table: str | None = None
    sql: str | None = None
    job: str | None = None
    snapshot: str | None = None
    columns: tuple[PlannedColumn, ...] = ()
    pieces: tuple[Piece, ...] = (Piece(),)
    cursor: str | None = None
    cap: int = 0
    streams: int = 8
    into: str = ""
    keeps_names: bool = False
    only_select: bool = False
    limit: ReadLimit | None = None
    enough: int | None = None
    id: str = ""
    opened: Opened | None = None
    reached: tuple[int | None, ...] = ()
    file_bytes: int = 96 << 20


class ReadPiece(BaseModel):
    """The parquet files of a piece."""

    model_config = ConfigDict(frozen=True)

    name: str
    files: tuple[str, ...]
    rows: int


class Result(BaseModel):
    """What was read; all of it, unless the order was cut."""

    model_config = ConfigDict(frozen=True)

    pieces: tuple[ReadPiece, ...] = ()
    rows: int = 0
    bytes: int = 0
    cursor: str | None = None
    columns: tuple[Column, ...] = ()
    values: tuple[tuple[Any, ...], ...] = ()
    estimate: int | None = None
    billed: int | None = None
    job: str | None = None
    is_whole: bool = True


Hear = Callable[[Opened | WrittenFile], None]
"""Called with each report of an order before its result."""


@dataclass(slots=True)
class Readers:
    """Processes that carry out orders, one at a time each, started when they are needed. Safe to use from many threads."""

    most: int = READERS
    _free: "LifoQueue[subprocess.Popen[bytes] | None]" = field(init=False)
    _started: "list[subprocess.Popen[bytes]]" = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._free = LifoQueue()
        for _ in range(self.most):
            self._free.put(None)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that were started."""
        return [process.pid for process in self._started]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, also in the middle of an order."""
        for process in self._started:
            with suppress(OSError):
                cast("IO[bytes]", process.stdin).close()
            process.wait()
            cast("IO[bytes]", process.stdout).close()

    def read(
        self,
        order: Order,
        patience: Patience | None = None,
        hear: Hear | None = None,
        is_time_up: Callable[[], bool] = lambda: False,
    ) -> Result:
        """Carry out an order; with `patience`, as long as somebody waits for it. One with an id is cut when the time is up.

        Raises:
            SourceError: what the owner of the source must fix.
            StatementError: it is not read in time.
            AbandonedError: nobody waits for it any more.
            UnavailableError: BigQuery does not respond, or the process died, as it does without memory.
        """
        try:
            process = self._free.get(timeout=None if patience is None else min(patience.left, _WAIT))
        except Empty:
            raise UnavailableError(
                f"{order.label!r} was not read, because all {self.most} processes that read sources are busy; try again in a "
                "few seconds",
                retry_after=2,
            ) from None
        line = b""
        try:
            if process is None or process.poll() is not None:
                process = self._start()
            with _cutting(process, order, is_time_up):
                line = self._exchange(process, order, patience, hear)
        finally:
            if not line and process is not None:
                self._end(process)
            self._free.put(process)
        answer = orjson.loads(line) if line else {}
        if "result" in answer:
            return Result.model_validate(answer["result"])
        if not answer:
            raise UnavailableError(
                f"the process that reads {order.label!r} died; it may have had too little memory; try again, or set streams "
                "to a smaller number"
            )
        kind, message = answer["error"]["kind"], answer["error"]["message"]
        if kind not in _KINDS:
            raise RuntimeError(f"reading {order.label!r} failed: {message}")
        raise _KINDS[kind](message)

    def _exchange(
        self, process: "subprocess.Popen[bytes]", order: Order, patience: Patience | None, hear: Hear | None
    ) -> bytes:
        written, read = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            written.write(order.model_dump_json().encode() + b"\n")
            written.flush()
            if patience is not None:
                _await(read, order, patience)
            while (line := read.readline()).startswith(_REPORT):
                event = orjson.loads(line)
                if hear is not None and event["of"] == order.id:  # else of one that failed
                    kind: type[Opened | WrittenFile] = Opened if "sessions" in event["report"] else WrittenFile
                    hear(kind.model_validate(event["report"]))
        except BrokenPipeError:
            return b""
        return line

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """End a process, also in the middle of an order."""
        process.kill()
        process.wait()
        self._started.remove(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                cast("IO[bytes]", pipe).close()

    def _start(self) -> "subprocess.Popen[bytes]":
        environ = {
            **os.environ,
            "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",  # it reuses pages, for a sixth less processor time in total
            "JE_ARROW_MALLOC_CONF": "narenas:2",  # otherwise each thread that reads a stream keeps memory of its own
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": "262144",  # otherwise memory of batches is kept, and does not fit the next ones
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command: Sequence[str] = [sys.executable, "-m", "analyst.connectors.bigquery.reader"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
        self._started.append(process)
        return process


@contextmanager
def _cutting(process: "subprocess.Popen[bytes]", order: Order, is_time_up: Callable[[], bool]) -> Iterator[None]:
    """Until the block ends, watch the time, and cut an order with an id when it is up."""
    if not order.id:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not is_time_up():
            if ended.wait(_LOOK):
                return
        with suppress(OSError, ValueError):
            written = cast("IO[bytes]", process.stdin)
            written.write(cut_line(order.id).encode())
            written.flush()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


_REPORT: Final = b'{"of": '
_CUT: Final = "cut "


def cut_line(id_: str) -> str:
    """Return the line that requests the cut of an order."""
    return f"{_CUT}{id_}\n"


def order_to_cut(line: str) -> str | None:
    """Return the id of the order that a line requests to cut; `None` if the line is an order itself."""
    return line.removeprefix(_CUT).strip() if line.startswith(_CUT) else None


def report_line(order: Order, event: Opened | WrittenFile) -> str:
    """Return the line that reports something before the result of an order."""
    return json.dumps({"of": order.id, "report": event.model_dump(mode="json")})


def _await(read: IO[bytes], order: Order, patience: Patience) -> None:
    """Wait for an answer.

    Raises:
        AbandonedError: nobody waits for it any more.
        StatementError: it did not come in time.
    """
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while not poll.poll(min(patience.left, _LOOK) * 1000):
        if patience.is_gone():
            raise AbandonedError("the client closed the connection, so its query was stopped")
        if not patience.left:
            raise refused(
                f"the statement was stopped, because {order.label!r} was not read within its time; select fewer columns, "
                "compare more of them with constants in WHERE, or set a larger timeout_s",
                "timeout",
            )
