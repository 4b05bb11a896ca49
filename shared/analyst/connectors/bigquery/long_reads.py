"""Tables that take longer to read than one request may: cut, and resumed by the next task where their streams were left.

A session of the Storage Read API has its rows for six hours, each at a number in its stream. What was opened is remembered as a
job of the source, and each parquet file that is complete as a piece, with its stream and first row. A read that ends soon keeps
nothing, so it costs nothing. When the session has expired, the table is read from its beginning: of a query, from that of its
result, which BigQuery keeps for a day, so a run is billed for a query once.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import ValidationError
from ulid import ULID

from analyst.connectors.bigquery.api import MissingError
from analyst.connectors.bigquery.columns import greatest_shown
from analyst.connectors.bigquery.reader_processes import Opened, Order, Readers, ReadPiece, Result, WrittenFile
from analyst.contract.checkpoints import Checkpoints, Piece, Pieces, TimeUpError
from analyst.contract.source_jobs import SourceJobs
from analyst.errors import AnalystError

_LASTS: Final = timedelta(hours=5, minutes=30)
"""The age from which on a session is not resumed: it expires after six hours."""
_SOON: Final = 300.0
"""Seconds after which the files of a read are kept; they are stored twice for a day."""
_AT_ONCE: Final = 4
_ROW_BITS: Final = 42
"""Bits of the number of a piece that are its first row; those before are its stream."""
_ROWS_DEPEND_ON: Final = {"table", "sql", "columns", "pieces", "cursor", "keeps_names", "billing"}


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of an order; `since` is the time at which their reading began, if that was in an earlier call."""

    result: Result
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class LongReads:
    """The reads of one source. `file_bytes` is the size of a file, `soon` the seconds for which none is kept.

    `runs` are the names of the run, if its calls are repeated under one of them: within it, a query is started once.
    """

    readers: Readers
    jobs: SourceJobs
    checkpoints: Checkpoints
    runs: tuple[str, ...] = ()
    soon: float = _SOON
    file_bytes: int = Order.model_fields["file_bytes"].default

    def read(self, table: str, origin: Any, order: Order, *, may_resume: bool) -> Found:
        """Carry out an order, or what an earlier call left of it, if that `may_resume`. `origin` is JSON, the table and its state.

        Raises:
            SourceError: what the owner of the source must fix.
            UnavailableError: BigQuery or the store does not respond.
            TimeUpError: the time was up; what was read is kept.
        """
        key = {"origin": origin, "order": order.model_dump(mode="json", include=_ROWS_DEPEND_ON)}
        job_id = None if order.sql is None else self._job_id(table, key)
        order = order.model_copy(update={"file_bytes": self.file_bytes, "job": job_id})
        for since, id_, opened in self._left(table, key, may_resume=may_resume):
            into = Path(order.into) / id_
            into.mkdir()
            own = order.model_copy(update={"into": str(into)})
            try:
                return Found(_Read(self, table, key, own, id_, opened, since).result(), since)
            except AnalystError as error:
                is_result = opened.result is not None and not opened.sessions
                if error.retryable or (is_result and not isinstance(error, MissingError)):
                    raise
                # The session is gone, or the new one fails as well; in that case a later call finds the kept pieces.
                order = order.model_copy(update={"job": None})
        try:
            return Found(_Read(self, table, key, order, str(ULID())).result())
        except MissingError:
            if order.job is None:
                raise
            # An earlier call of this name ran the query more than a day ago: BigQuery has the job, but no longer its
            # result.
            return Found(_Read(self, table, key, order.model_copy(update={"job": None}), str(ULID())).result())

    def _left(self, table: str, key: Any, *, may_resume: bool) -> Iterator[tuple[datetime, str, Opened]]:
        """Yield what an earlier call opened, if it may still be there: its sessions, and the result of its query."""
        job = self.jobs.find(table, key)
        if job is None or not (may_resume or not {*self.runs}.isdisjoint(job.about.get("runs") or ())):
            return
        try:
            opened = Opened.model_validate(job.about)
            since = datetime.fromisoformat(job.about.get("since") or job.started.isoformat())
        except (ValidationError, ValueError):
            return
        if self.jobs.now() - job.started < _LASTS:
            yield since, job.id, opened
        if opened.result is not None:
            yield since, str(ULID()), opened.model_copy(update={"sessions": ()})

    def _job_id(self, table: str, key: Any) -> str | None:
        """Return the id of the job of a query; `None` if the run has no name."""
        if not self.runs:
            return None
        content = orjson.dumps([self.runs[0], self.checkpoints.source, table, key], option=orjson.OPT_SORT_KEYS)
        return f"da_{hashlib.sha256(content).hexdigest()[:40]}"


@dataclass(slots=True)
class _Read:
    """One call that reads an order, or resumes what was `opened` for it as the job `id`."""

    of: LongReads
    table: str
    key: Mapping[str, Any]
    order: Order
    id: str
    opened: Opened | None = None
    since: datetime | None = None
    """The time at which the reading began, if that was in an earlier call."""
    pieces: Pieces = field(init=False)
    chain: dict[int, Piece] = field(default_factory=dict)
    """The pieces that earlier calls kept, without a gap from the first row of each stream on, by number."""
    written: list[WrittenFile] = field(default_factory=list)
    keeping: list[Future[Piece]] = field(default_factory=list)
    is_remembered: bool = False
    started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.of.jobs.now()
        self.pieces = self.of.checkpoints.pieces(self.table, [self.key, self.id])
        self.is_remembered = self.opened is not None and bool(self.opened.sessions)

    def result(self) -> Result:
        # A new id, because late reports and cuts of an earlier order for this job do not concern this one.
        order, began = self.order.model_copy(update={"id": str(ULID())}), time.monotonic()
        if self.opened is not None:
            self.chain, reached = _reached(self.opened, self.pieces.found())
            order = order.model_copy(update={"opened": self.opened, "reached": reached})
        with ThreadPoolExecutor(_AT_ONCE) as uploads:

            def hear(event: Opened | WrittenFile) -> None:
                if isinstance(event, Opened):
                    self.opened = event
                    if event.result is not None and not self.is_remembered:  # the query was billed
                        self._remember(event)
                    return
                self.written.append(event)
                if time.monotonic() - began >= self.of.soon:
                    self._keep(uploads)

            result = self.of.readers.read(order, hear=hear, is_time_up=self.pieces.is_time_up)
            is_left = bool(self.chain and self.written) and self.pieces.is_time_up()
            if not result.is_whole or is_left:
                self._keep(uploads)
            for kept in self.keeping:
                kept.result()
        if not result.is_whole or is_left:
            raise TimeUpError(f"the time was up while {self.order.label!r} was read; the next task resumes there")
        return self._united(result, self.opened) if self.opened is not None and self.chain else result

    def _keep(self, uploads: ThreadPoolExecutor) -> None:
        """Keep the complete files, after recording the sessions that were opened for them."""
        if not self.is_remembered and self.opened is not None:
            self._remember(self.opened)
        self.keeping += [uploads.submit(self._kept, one) for one in self.written[len(self.keeping) :]]

    def _remember(self, opened: Opened) -> None:
        details = {**opened.model_dump(mode="json"), "runs": list(self.of.runs)}
        if self.since is not None:
            details["since"] = self.since.isoformat()
        self.of.jobs.remember(self.table, self.key, self.id, started=self.started, **details)
        self.is_remembered = True

    def _kept(self, one: WrittenFile) -> Piece:
        details = {"greatest": one.greatest, "is_last": one.is_last}
        return self.pieces.keep(one.stream << _ROW_BITS | one.start, [Path(one.path)], one.rows, details)

    def _united(self, result: Result, opened: Opened) -> Result:
        """Unite what earlier calls kept with what this one wrote, in the order of the rows."""
        home = Path(self.order.into)
        fetched = self.pieces.fetch(self.chain, lambda number: home / f"kept-{number:016x}")
        files = {number: paths[0] for number, paths in zip(self.chain, fetched, strict=True)}
        files |= {one.stream << _ROW_BITS | one.start: Path(one.path) for one in self.written}
        rows = {number: piece.rows for number, piece in self.chain.items()}
        rows |= {one.stream << _ROW_BITS | one.start: one.rows for one in self.written}
        owners = [owner for owner, session in enumerate(opened.sessions) for _ in session.streams]
        made = []
        for place, piece in enumerate(result.pieces):
            own = sorted(number for number in files if owners[number >> _ROW_BITS] == place)
            paths = tuple(str(files[number]) for number in own) or piece.files
            made.append(ReadPiece(name=piece.name, files=paths, rows=sum(rows[number] for number in own)))
        shown = [piece.about.get("greatest") for piece in self.chain.values()]
        return result.model_copy(
            update={
                "pieces": tuple(made),
                "rows": sum(rows.values()),
                "cursor": self._cursor(opened, [*shown, *(one.greatest for one in self.written)]),
            }
        )

    def _cursor(self, opened: Opened, shown: Sequence[str | None]) -> str | None:
        """Return the greatest value of the cursor column in all files."""
        found = [one.field for one in opened.columns if one.field.name == self.order.cursor]
        return greatest_shown(found[0], [text for text in shown if text is not None]) if found else None


def _reached(opened: Opened, found: Mapping[int, Piece]) -> tuple[dict[int, Piece], tuple[int | None, ...]]:
    """Return the pieces that form the beginning of each stream, and the row from which on it is read; `None` at its end.

    Two processes may have cut the same stream at other rows; then the pieces of one of them have gaps, and are not used.
    """
    chain: dict[int, Piece] = {}
    reached: list[int | None] = []
    for stream in range(sum(len(session.streams) for session in opened.sessions)):
        at, is_last = 0, False
        while not is_last and (piece := found.get(number := stream << _ROW_BITS | at)) is not None and piece.rows:
            chain[number] = piece
            at, is_last = at + piece.rows, bool(piece.about.get("is_last"))
        reached.append(None if is_last else at)
    return chain, tuple(reached)
