"""Orders to the processes that read BigQuery, and those processes; see `reader`."""

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
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
    """The most rows, and bytes in memory, that may be read. `advice` is for the person who asked for more."""

    model_config = ConfigDict(frozen=True)

    rows: int
    bytes: int
    advice: str = ""


class Order(BaseModel):
    """What to read.

    `table` is a name for the Storage Read API; with `sql`, a query's result is read. The kind `rows` returns the values of a
    small result instead of writing files, `estimate` only the bytes that a query would process and its columns. `cap` is the
    most bytes that a query may bill; 0 for no cap. `cursor` is the column whose greatest value is returned. `label` names the
    table in messages. Without `columns`, all of the query's are read, with `keeps_names` under BigQuery's own names.
    `only_select` refuses SQL that is not one SELECT. `limit` says how much may be read, and `enough` how many rows suffice.
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


class ReadPiece(BaseModel):
    """The parquet files of a piece."""

    model_config = ConfigDict(frozen=True)

    name: str
    files: tuple[str, ...]
    rows: int


class Result(BaseModel):
    """What was read."""

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

    def read(self, order: Order, patience: Patience | None = None) -> Result:
        """Carry out an order; with `patience`, as long as somebody waits for it.

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
            line = self._exchange(process, order, patience)
        finally:
            if not line and process is not None:
                self._end(process)
            self._free.put(process)
        said = orjson.loads(line) if line else {}
        if "result" in said:
            return Result.model_validate(said["result"])
        if not said:
            raise UnavailableError(
                f"the process that reads {order.label!r} died; it may have had too little memory; try again, or set streams "
                "to a smaller number"
            )
        kind, message = said["error"]["kind"], said["error"]["message"]
        if kind not in _KINDS:
            raise RuntimeError(f"reading {order.label!r} failed: {message}")
        raise _KINDS[kind](message)

    def _exchange(self, process: "subprocess.Popen[bytes]", order: Order, patience: Patience | None) -> bytes:
        written, read = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            written.write(order.model_dump_json().encode() + b"\n")
            written.flush()
            if patience is not None:
                _await(read, order, patience)
            return read.readline()
        except BrokenPipeError:
            return b""

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
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",  # otherwise each thread that reads a stream keeps memory of its own
            "MALLOC_MMAP_THRESHOLD_": "262144",  # otherwise what batches leave is kept, and does not fit the next ones
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command: Sequence[str] = [sys.executable, "-m", "analyst.connectors.bigquery.reader"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
        self._started.append(process)
        return process


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
