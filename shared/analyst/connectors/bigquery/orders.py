"""Orders to the processes that read BigQuery, and those processes; see `reader`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import LifoQueue
from typing import IO, Any, Final, Literal, Self, cast

import orjson
from pydantic import BaseModel, ConfigDict

from analyst.catalog import Column
from analyst.connectors.bigquery.access import CredentialsError
from analyst.connectors.bigquery.api import MissingError, RefusedError
from analyst.connectors.bigquery.columns import PlannedColumn
from analyst.errors import AnalystError, RateLimitedError, SourceError, UnavailableError

READERS: Final = 2
"""Tables that are read at the same time, by a process each."""


class BudgetError(SourceError):
    """A query would bill more bytes than it may."""

    code = "bigquery_budget"


_KINDS: Final[dict[str, type[AnalystError]]] = {
    kind.__name__: kind
    for kind in (
        *(BudgetError, CredentialsError, MissingError, RateLimitedError, RefusedError, SourceError, UnavailableError),
    )
}


class Piece(BaseModel):
    """A part of a table that is read by itself: the rows that meet a condition, or all."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    restriction: str | None = None


class Order(BaseModel):
    """What to read.

    `table` is a name for the Storage Read API; with `sql`, a query's result is read. The kind `rows` returns the values of a
    small result instead of writing files, `estimate` only the bytes that a query would process. `cap` is the most bytes that
    a query may bill; 0 for no cap. `cursor` is the column whose greatest value is returned. `label` names the table in
    messages. Without `columns`, all of the query's are read.
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
        """End the processes, also in the middle of an order."""
        for process in self._started:
            with suppress(OSError):
                cast("IO[bytes]", process.stdin).close()
            process.wait()
            cast("IO[bytes]", process.stdout).close()

    def read(self, order: Order) -> Result:
        """Carry out an order.

        Raises:
            SourceError: what the owner of the source must fix.
            UnavailableError: BigQuery does not respond, or the process died, as it does without memory.
        """
        process = self._free.get()
        try:
            if process is None or process.poll() is not None:
                process = self._start()
            line = self._exchange(process, order)
            if not line:
                process.kill()
                process.wait()
        finally:
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

    def _exchange(self, process: "subprocess.Popen[bytes]", order: Order) -> bytes:
        written, read = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            written.write(order.model_dump_json().encode() + b"\n")
            written.flush()
            return read.readline()
        except BrokenPipeError:
            return b""

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
