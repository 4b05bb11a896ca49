"""From the slices of an export to parquet files: downloaded in parallel, converted in order, in bounded memory and disk.

Slices are converted in batches of a size, so that small ones do not leave a small file each. Which slices form a batch
depends on their sizes alone, so the same export produces the same files.
"""

import csv
import hashlib
import json
import re
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.connectors.keboola.columns import PlannedColumn, Value, value_of
from analyst.connectors.keboola.files import ExportedFile, Slice
from analyst.contract import parquet
from analyst.contract.checkpoints import Piece, Pieces, TimeUpError
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError, UnavailableError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FileType = Literal["csv", "parquet"]

TABLES: Final = 4
"""Tables whose exports are downloaded and converted at the same time: while one waits for the network, others convert."""
DOWNLOADS: Final = 4
"""Slices that are downloaded at the same time."""
CONVERSIONS: Final = 2
"""Batches that are converted at the same time; each keeps one processor busy."""
BATCH_BYTES: Final = 64 << 20
_AHEAD: Final = 8
"""Slices that are downloaded or on the disk before they are converted."""
_EXPANSION: Final = 5
"""The usual maximum ratio of the size of CSV text to its gzipped size."""
_USUAL_LINE: Final = 2 << 20
_LONGEST_LINE: Final = 32 << 20
_LONG: Final = "maximum line size"
_REASON: Final = re.compile(
    r"^(?:Value with|Expected Number of Columns|Invalid unicode|Too many|Maximum line size|Missing|Error ).{0,200}",
    re.MULTILINE,
)
_MISFIT: Final = "does not fit"
_LONGEST_SAMPLE: Final = 60


def _line_end(sources: Sequence[Path]) -> str:
    """Return DuckDB's option for the line end of objects of CSV, if it is a line feed.

    DuckDB alone would take the first line break for it, even one within quotes, and then fail to read the others. Its
    option for carriage returns with line feeds must not be used: it loses rows without an error.
    """
    for source in sources:
        with source.open("rb") as file:
            before, quotes = b"", 0
            while piece := file.readline(_LONGEST_LINE):
                quotes += piece.count(b'"')
                before = (before + piece)[-2:]
                if piece.endswith(b"\n") and quotes % 2 == 0:
                    return "" if before == b"\r\n" else r", new_line = '\n'"
    return ""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Values of a column that do not fit its type: their number, and one of them."""

    count: int
    sample: str


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of an export: parquet files in their order, the number of rows, and what did not fit, by column."""

    files: tuple[Path, ...]
    rows: int
    misfits: Mapping[str, Misfit] = field(default_factory=dict)

    def explained(self, columns: Sequence[PlannedColumn]) -> dict[str, str]:
        """Report the values that do not fit, by column."""
        types = {column.name: column.type for column in columns}
        return {
            name: f"{found.count:,} values of the column {name!r} are not {types[name]} and became NULL, such as {found.sample!r}; "
            f"correct them in Keboola, or read the column as text: types = {{{name}: VARCHAR}}"
            for name, found in sorted(self.misfits.items())
        }


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the objects of an export become rows. `absent` are columns that are published, but no longer exported."""

    table: str
    columns: tuple[PlannedColumn, ...]
    absent: tuple[Column, ...]
    backend: str
    file_type: FileType
    memory_limit: str

    def write(self, sources: Sequence[Path], into: Path, *, has_header: bool, line: int = _USUAL_LINE) -> Written:
        """Write the rows of downloaded objects, in their order, to parquet files in a new folder.

        Raises:
            SourceError: the objects are damaged, or a value of a typed table does not fit its type.
            UnavailableError: memory or disk space is exhausted.
        """
        into.mkdir(parents=True)
        spill = into.with_name(f"{into.name}-spill")
        with duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=spill) as con:
            scan, kinds = self._scan(con, sources, has_header=has_header, line=line)
            values = [
                value_of(one, quote(self._named(number)), kinds[number], self.backend)
                for number, one in enumerate(self.columns)
            ]
            misfits: dict[str, Misfit] = {}
            try:
                strict = [self._strict(number, value) for number, value in enumerate(values)]
                paths = self._written(con, scan, strict, into)
            except SourceError as error:
                if _LONG in str(error.__cause__).lower() and line < _LONGEST_LINE:
                    shutil.rmtree(into)
                    return self.write(sources, into, has_header=has_header, line=_LONGEST_LINE)
                if _MISFIT not in str(error) or all(one.is_strict for one in self.columns):
                    raise self._damaged(error) from error
                shutil.rmtree(into)
                into.mkdir()
                lenient = [
                    self._strict(number, value) if self.columns[number].is_strict else value.lenient
                    for number, value in enumerate(values)
                ]
                paths = self._written(con, scan, lenient, into)
                misfits = self._misfits(con, scan, values)
            rows = sum(_rows(con, path) for path in paths)
        shutil.rmtree(spill, ignore_errors=True)
        return Written(tuple(paths), rows, misfits)

    @property
    def mark(self) -> str:
        """Return a mark of everything that the rows depend on besides the objects."""
        content = [
            self.table,
            list(map(repr, self.columns)),
            list(map(repr, self.absent)),
            self.backend,
            self.file_type,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _damaged(self, error: SourceError) -> SourceError:
        message = str(error)
        if _MISFIT in message:
            return error
        reason = _REASON.search(str(error.__cause__))  # DuckDB shows the whole line before it
        detailed = f"{message}: {reason[0]}" if reason else message
        return SourceError(f"the export of {self.table!r} can't be read as {self.file_type}: {detailed}")

    def _named(self, number: int) -> str:
        return self.columns[number].original if self.file_type == "parquet" else f"c{number}"

    def _scan(
        self, con: "DuckDBPyConnection", sources: Sequence[Path], *, has_header: bool, line: int
    ) -> tuple[str, list[str]]:
        """Return the SQL that reads the objects as one table, and the types of the columns in it."""
        listed = ", ".join(quote_text(str(path)) for path in sources)
        if self.file_type == "parquet":
            scan = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
            with raised_as(SourceError, f"the export of {self.table!r} can't be read as parquet: "):
                described = con.execute(f"describe from {scan}").fetchall()
            kinds = {str(name): checked_type(str(kind)) for name, kind, *_ in described}
            if missing := [one.original for one in self.columns if one.original not in kinds]:
                raise SourceError(f"the export of {self.table!r} has no column {missing[0]!r}; sync it again")
            return scan, [kinds[one.original] for one in self.columns]
        order = self._order(sources[0]) if has_header else range(len(self.columns))
        names = ", ".join(f"{quote_text(f'c{number}')}: 'VARCHAR'" for number in order)
        kept = ", ".join(
            quote_text(f"c{number}")
            for number, one in enumerate(self.columns)
            if not one.has_nulls and one.type == "VARCHAR"
        )
        nulls = self._nulls()
        header = "true" if has_header else "false"
        buffer = f", buffer_size = {2 * line}" if line > _USUAL_LINE else ""  # by default 16 times the longest line
        not_null = f", force_not_null = [{kept}]" if kept else ""
        scan = (
            f"read_csv([{listed}], columns = {{{names}}}, header = {header}, auto_detect = false, delim = ',', quote = '\"', "
            f"escape = '\"', strict_mode = true, nullstr = '', allow_quoted_nulls = {nulls}{not_null}, "
            f"max_line_size = {line}{buffer}{_line_end(sources)}, compression = 'none', encoding = 'utf-8')"
        )
        return scan, ["VARCHAR"] * len(self.columns)

    def _nulls(self) -> str:
        """Return whether a quoted empty text stands for NULL as well; only BigQuery keeps them apart in CSV."""
        return "false" if self.backend == "bigquery" else "true"

    def _order(self, path: Path) -> list[int]:
        """Return the numbers of the columns in the order of a file with a header."""
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        numbers = {one.original: number for number, one in enumerate(self.columns)}
        if sorted(header) != sorted(numbers):
            raise SourceError(
                f"the export of {self.table!r} has the columns {', '.join(header)} instead of {', '.join(numbers)}; sync "
                "it again"
            )
        return [numbers[name] for name in header]

    def _written(self, con: "DuckDBPyConnection", scan: str, values: Sequence[str], into: Path) -> list[Path]:
        terms = [f"{value} as {quote(one.name)}" for one, value in zip(self.columns, values, strict=True)]
        terms += [f"cast(null as {checked_type(one.type)}) as {quote(one.name)}" for one in self.absent]
        return parquet.write(con, f"select {', '.join(terms)} from {scan}", into)

    def _strict(self, number: int, value: Value) -> str:
        """Return the SQL of a value that fails where it does not fit."""
        column, source = self.columns[number], quote(self._named(number))
        label = quote_text(f"the column {column.original!r} has a value that {_MISFIT} {column.type}: ")
        remedy = quote_text("; choose its type with the option types, such as VARCHAR")
        return value.strict(f"{label} || left(cast({source} as varchar), {_LONGEST_SAMPLE}) || {remedy}")

    def _misfits(self, con: "DuckDBPyConnection", scan: str, values: Sequence[Value]) -> dict[str, Misfit]:
        """Count the values that do not fit, in one pass."""
        found = [(number, value.misfit) for number, value in enumerate(values) if value.misfit is not None]
        terms = ", ".join(
            f"count(*) filter ({misfit}), cast(min({quote(self._named(number))}) filter ({misfit}) as varchar)"
            for number, misfit in found
        )
        with raised_as(SourceError):
            row = con.execute(f"select {terms} from {scan}").fetchall()[0]
        counted = {self.columns[number].name: row[2 * place : 2 * place + 2] for place, (number, _) in enumerate(found)}
        return {
            name: Misfit(count, str(sample)[:_LONGEST_SAMPLE]) for name, (count, sample) in counted.items() if count
        }

    def nothing(self, into: Path) -> Written:
        """Write one file without rows, which has the columns."""
        into.mkdir(parents=True)
        named = [*((one.name, one.type) for one in self.columns), *((one.name, one.type) for one in self.absent)]
        terms = [f"cast(null as {checked_type(kind)}) as {quote(name)}" for name, kind in named]
        with duckdb_files.lent(memory_limit=self.memory_limit) as con:
            return Written(tuple(parquet.write(con, f"select {', '.join(terms)} limit 0", into)), 0)


def _rows(con: "DuckDBPyConnection", path: Path) -> int:
    found = con.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchone()
    return int(found[0]) if found else 0


@dataclass(slots=True)
class Room:
    """What the exports of several tables share: downloads, conversions and the free disk. Safe to use from many threads.

    `free` returns the free bytes of the disk that has a folder; a batch ends with the slice that brings it to `batch_bytes`.
    """

    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    batch_bytes: int = BATCH_BYTES
    tables: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(TABLES))
    downloads: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(DOWNLOADS))
    conversions: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(CONVERSIONS))
    _all: threading.Lock = field(default_factory=threading.Lock)
    _reserved: list[int] = field(default_factory=list)
    _released: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Use the memory of all conversions."""
        with self._all:
            for _ in range(CONVERSIONS):
                self.conversions.acquire()
        try:
            yield
        finally:
            self.conversions.release(CONVERSIONS)

    @contextmanager
    def reserve(self, size: int, folder: Path, what: str) -> Iterator[None]:
        """Reserve disk space; while other tables use theirs, wait for them to end.

        Raises:
            UnavailableError: the disk does not have it.
        """
        with self._released:
            while size > (free := self.free(folder)) - sum(self._reserved):
                if not self._reserved:
                    raise UnavailableError(
                        f"the {what} needs about {size / 1e9:,.1f} GB of disk space, and {free / 1e9:,.1f} GB are free; free "
                        "space in SCRATCH_DIR, or set it to a larger disk"
                    )
                self._released.wait()
            self._reserved.append(size)
        try:
            yield
        finally:
            with self._released:
                self._reserved.remove(size)
                self._released.notify_all()


def _disk_needed(size: int, slices: int, file_type: FileType) -> int:
    """Return about how many bytes an export needs on the disk: the written files, and slices being converted.

    Parquet is written about as large as gzipped CSV or Snowflake's own Parquet.
    """
    raw = size * (_EXPANSION if file_type == "csv" else 1)
    waiting = (_AHEAD + CONVERSIONS + 1) * raw // slices + (CONVERSIONS + 1) * BATCH_BYTES
    return size + min(raw, waiting)


def read_export(
    file: ExportedFile, conversion: Conversion, into: Path, room: Room, pieces: Pieces | None = None
) -> Written:
    """Download the objects of an export and convert them, batch by batch; `pieces` keeps the batches in the bucket.

    Raises:
        UnavailableError: an object can't be downloaded completely, or the disk is too small.
        SourceError: the export can't be read.
        TimeUpError: the time was up before all slices were read; the next call continues after those that `pieces` has.
    """
    with room.tables:
        slices, has_header = file.slices(), not file.is_sliced
        if not slices:
            return conversion.nothing(into / "empty")
        raw = into / "raw"
        raw.mkdir(parents=True)
        needed = _disk_needed(file.size_bytes or 0, len(slices), conversion.file_type)
        downloads, conversions = ThreadPoolExecutor(DOWNLOADS), ThreadPoolExecutor(CONVERSIONS)
        try:
            with room.reserve(needed, into, f"export of {conversion.table!r}"):
                done = _Pipeline(file, conversion, into, raw, room, downloads, conversions, has_header, pieces).run(
                    slices
                )
        finally:
            downloads.shutdown(cancel_futures=True)
            conversions.shutdown(cancel_futures=True)
            shutil.rmtree(raw, ignore_errors=True)
        return _united(done)


_SLICES: Final = "slices"
_MISFITS: Final = "misfits"


@dataclass(slots=True)
class _Pipeline:
    """One export. Batches are made in the order of their slices; `done` has them by the number of the first slice of each."""

    file: ExportedFile
    conversion: Conversion
    into: Path
    raw: Path
    room: Room
    downloads: ThreadPoolExecutor
    conversions: ThreadPoolExecutor
    has_header: bool
    pieces: Pieces | None
    running: deque[tuple[int, Future[Written]]] = field(default_factory=deque)
    done: dict[int, Written] = field(default_factory=dict)

    def run(self, slices: Sequence[Slice]) -> list[Written]:
        gaps, found = _layout(slices, {} if self.pieces is None else self.pieces.found())
        for place, gap in enumerate(gaps):
            self._read(gap, is_last=place == len(gaps) - 1, is_all=len(gap) == len(slices))
        while self.running:
            self._await()
        if self.pieces is not None and found:
            if self.done and self.pieces.is_time_up():
                raise self._time_up()
            self._fetch(self.pieces, found)
        return [self.done[number] for number in sorted(self.done)]

    def _read(self, gap: Sequence[Slice], *, is_last: bool, is_all: bool) -> None:
        """Read slices of which no batch is kept, unless the time is up before the last of them; one batch is always read."""
        waiting, left = deque[Future[Path]](), deque(gap)
        batch, size, first, reached = list[Path](), 0, gap[0].number, gap[0].number
        while waiting or left:
            while left and len(waiting) < _AHEAD:
                waiting.append(self.downloads.submit(self._download, left.popleft()))
            path = waiting.popleft().result()
            batch.append(path)
            size += path.stat().st_size
            reached += 1
            is_end = not (waiting or left)
            if size >= self.room.batch_bytes or is_end:
                is_only = is_all and is_end and first == gap[0].number
                self._convert(batch, first, is_kept=not is_only)
                batch, size, first = [], 0, reached
                if self.pieces is not None and not (is_end and is_last) and self.pieces.is_time_up():
                    for future in waiting:
                        future.cancel()
                    while self.running:
                        self._await()
                    raise self._time_up()

    def _time_up(self) -> TimeUpError:
        return TimeUpError(f"the time was up while {self.conversion.table!r} was read; the next task resumes there")

    def _download(self, one: Slice) -> Path:
        path = self.raw / f"{one.number:06}"
        with self.room.downloads:
            self.file.download(one, path)
        return path

    def _convert(self, batch: Sequence[Path], first: int, *, is_kept: bool) -> None:
        if len(self.running) >= CONVERSIONS:
            self._await()
        self.running.append((first, self.conversions.submit(self._converted, tuple(batch), first, is_kept=is_kept)))

    def _await(self) -> None:
        first, future = self.running.popleft()
        self.done[first] = future.result()

    def _converted(self, batch: Sequence[Path], first: int, *, is_kept: bool) -> Written:
        with self.room.conversions:
            written = self.conversion.write(batch, self._folder(first), has_header=self.has_header)
        for path in batch:
            path.unlink()
        if self.pieces is not None and is_kept:
            misfits = {name: [misfit.count, misfit.sample] for name, misfit in written.misfits.items()}
            self.pieces.keep(first, written.files, written.rows, {_SLICES: len(batch), _MISFITS: misfits})
        return written

    def _fetch(self, pieces: Pieces, found: Mapping[int, Piece]) -> None:
        """Fetch the batches that earlier calls kept, now that there are all of them."""
        paths = pieces.fetch(found, self._folder)
        for (number, piece), files in zip(found.items(), paths, strict=True):
            misfits = {name: Misfit(count, sample) for name, (count, sample) in piece.about[_MISFITS].items()}
            self.done[number] = Written(files, piece.rows, misfits)

    def _folder(self, first: int) -> Path:
        return self.into / f"batch-{first:06}"


def _layout(slices: Sequence[Slice], found: Mapping[int, Piece]) -> tuple[list[list[Slice]], dict[int, Piece]]:
    """Return the runs of slices of which no batch is kept, and the batches that are kept.

    Where a batch ends follows from the sizes of the slices, so one that is read again ends where the next one begins.
    """
    gaps, kept, number, is_open = list[list[Slice]](), dict[int, Piece](), 0, False
    while number < len(slices):
        piece = found.get(number)
        if piece is None:
            gaps += [] if is_open else [[]]
            gaps[-1].append(slices[number])
            number, is_open = number + 1, True
        else:
            kept[number] = piece
            number, is_open = number + int(piece.about[_SLICES]), False
    return gaps, kept


def _united(parts: Sequence[Written]) -> Written:
    """Unite the rows of batches; files without rows are left out, unless there are no rows at all."""
    misfits: dict[str, Misfit] = {}
    for part in parts:
        for name, found in part.misfits.items():
            known = misfits.get(name, Misfit(0, found.sample))
            misfits[name] = Misfit(known.count + found.count, known.sample)
    rows = sum(part.rows for part in parts)
    files = tuple(path for part in parts if part.rows or not rows for path in part.files)
    return Written(files if rows else files[:1], rows, misfits)
