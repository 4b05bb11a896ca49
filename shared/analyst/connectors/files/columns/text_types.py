"""The types of text columns: inferred from the first rows, and from all rows where the first ones were not typical.

The inferred types are checked while the rows are written. If a text does not fit, one scan of all rows finds which of
the candidates hold every text of their columns, and the rows are written again. So there are at most three scans, and
the types depend on the content alone.

A table may consist of several parts, such as the files of a folder, each with evidence of its own. A column has one type
in all of them (`united`): the first candidate that no part refutes. A part whose column turns out to need another type is
written again; all others stay as they are.

Checks take memory and time for each column. If there are very many, all rows are scanned first with the columns stacked
into rows, which share one check; then the rows are written without checks, in groups of columns.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from analyst import duckdb_files
from analyst.connectors.files.columns.casts import Cast
from analyst.contract import column_groups, parquet
from analyst.errors import SourceError
from analyst.names import quote

if TYPE_CHECKING:
    from io import FileIO

    from duckdb import DuckDBPyConnection

_FIRST_ROWS = 1_000
_FIRST_VALUES = 300_000
_SAMPLE_ROWS = 20_000
_BELOW_EACH_OTHER = 250
"""The number of columns checked in one scan: of each, DuckDB holds 2,048 texts."""

_RANGE_CHECKS = 125
"""The maximum number of columns that are checked where ranges are read side by side, each with less memory."""

_PIPED_BYTES = 1 << 20


class Wrapped(Protocol):
    """Wraps a typed query, so that it selects the wanted rows."""

    def __call__(self, select: str, *, counting: bool = True) -> str:
        """Return the query; with `counting`, it counts the rows that it skips."""


Wrap = Callable[["DuckDBPyConnection", Mapping[str, Cast]], Wrapped]
"""Returns, once per attempt and its types, the function that wraps the queries that are written."""


Counted = Callable[["DuckDBPyConnection"], int]
"""Returns the number of rows that the last wrapped query on a connection skipped."""


Only = Callable[[int, Sequence[str]], str]
"""Returns the query of one part, by its number, for some of the columns."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """How many ranges are read at the same time, each with its share of the memory, and from how many bytes on."""

    threads: int = 2
    range_bytes: int = 64 << 20
    memory_limit: str = "300MB"


@dataclass(frozen=True, slots=True)
class Range:
    """Some rows of a relation: `query` returns that of all its columns from a file of the bytes from `start` to `end` of `path`.

    In `wrap`, `{}` stands for that query.
    """

    path: Path
    start: int
    end: int
    query: Callable[[Path], str]
    wrap: str = "{}"

    def select(self, file: Path) -> str:
        """Return the query of the rows in a file that has these bytes only."""
        return self.wrap.format(self.query(file))

    @contextmanager
    def piped(self) -> Iterator[Path]:
        """Provide the bytes as a file that can be read once, because DuckDB reads whole files only.

        The kernel passes them on; copying them to another file took 0.5 ms of processor time per megabyte, and room on the disk.

        Raises:
            UnreadableError: at the end: not all of them were read.
        """
        reading, writing = os.pipe()
        with ThreadPoolExecutor(1) as pool:
            feeding = pool.submit(self._feed, writing)
            try:
                yield Path(f"/dev/fd/{reading}")
                is_read = not os.read(reading, 1)
            finally:
                os.close(reading)  # if some bytes are left, this ends the feeding
            if not is_read:
                raise UnreadableError("the rows were not read to their end")
            feeding.result()

    def _feed(self, pipe: int) -> None:
        # the pipe first: its reader waits until it is closed
        with os.fdopen(pipe, "wb", buffering=0) as into, self.path.open("rb", buffering=0) as file:
            with suppress(AttributeError, OSError):  # Linux only, up to a limit
                fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPED_BYTES)
            start = self.start
            while start < self.end and (size := _pass_on(file, into, start, min(self.end - start, _PIPED_BYTES))):
                start += size


def _pass_on(file: "FileIO", pipe: "FileIO", start: int, size: int) -> int:
    """Pass some bytes of a file to a pipe; return how many, 0 at the end of the file."""
    try:
        return os.splice(file.fileno(), pipe.fileno(), size, offset_src=start)
    except BrokenPipeError:
        raise
    except (AttributeError, OSError):  # not every system and file system can do it
        return pipe.write(os.pread(file.fileno(), size, start))


class MisfitError(SourceError):
    """A text does not fit the configured type of its column."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column!r} holds a value that does not fit its type")
        self.column = column


class UnreadableError(SourceError):
    """DuckDB can't read the rows; its message may not say where."""


class WidenError(SourceError):
    """Texts do not fit the inferred types of their columns."""

    def __init__(self, columns: Collection[str]) -> None:
        super().__init__(f"columns hold texts that do not fit their inferred types: {', '.join(columns)}")
        self.columns = frozenset(columns)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a column of some rows: whether it has any text, and which candidates hold all of them, narrowest first.

    `vague` are the types of candidates that hold all texts, none of which suggests the type (`Cast.some`). It
    `is_complete` if it comes from all rows; otherwise a later row may refute a candidate.
    """

    seen: bool
    casts: tuple[Cast, ...]
    vague: frozenset[str] = frozenset()
    is_complete: bool = False

    @property
    def holds(self) -> frozenset[str]:
        """The types of the candidates that hold all texts."""
        return frozenset(cast.type for cast in self.casts)


def united(candidates: tuple[Cast, ...], found: Iterable[Evidence]) -> Cast:
    """Return the type of a column: the first candidate that holds the texts of all parts."""
    seen = [one for one in found if one.seen]
    if not seen:
        return _nothing(candidates)
    for cast in candidates[:-1]:
        if all(cast.type in one.holds for one in seen) and any(cast.type not in one.vague for one in seen):
            return cast
    return candidates[-1]


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of text columns, each with a configured type or with candidates of which the last fits everything.

    `parts` are queries of all columns, in the order of the rows. They are written one after the other, because DuckDB
    keeps the order within each of them, but not across a union.
    """

    con: "DuckDBPyConnection"
    parts: Sequence[str]
    columns: tuple[str, ...]
    configured: Mapping[str, Cast]
    candidates: Mapping[str, tuple[Cast, ...]]
    always: tuple[str, ...] = ()
    """The columns that rows are selected by."""

    only: Only | None = None
    """Returns narrower queries of the parts; planning one of 3,000 columns took 0.5 s for each group of columns."""

    ranges: Sequence[Range] = ()
    """The same rows as of `parts`. They are chosen by the content alone, so files are the same however many are read at once."""

    side_by_side: SideBySide = field(default_factory=SideBySide)

    def sampled(self) -> dict[str, Evidence]:
        """Return the evidence of the first rows about the columns whose type is not configured.

        Raises:
            UnreadableError: the rows can't be read.
        """
        first = min(_FIRST_ROWS, max(_FIRST_VALUES // max(len(self.columns), 1), 1))
        evidence = self._gather(self._guessed(), first)
        if all(found.is_complete for found in evidence.values()) or not self._fit_beside_each_other:
            return evidence
        return self._gather(_held(evidence), _SAMPLE_ROWS)

    def refined(self, evidence: Mapping[str, Evidence], failed: Collection[str]) -> dict[str, Evidence]:
        """Return the evidence of all rows about columns whose types have `failed`, and others that are cheap to add.

        Raises:
            UnreadableError: the rows can't be read.
        """
        if self._fit_beside_each_other:
            return self._gather(_held(evidence), None)
        open_ones = {name: found.casts for name, found in evidence.items() if name in failed or not found.seen}
        return {**evidence, **self._gather(open_ones, None)}

    def complete(self, evidence: Mapping[str, Evidence], columns: Collection[str]) -> dict[str, Evidence]:
        """Return the evidence of all rows about some columns.

        Raises:
            UnreadableError: the rows can't be read.
        """
        return {**evidence, **self._gather({name: evidence[name].casts for name in columns}, None)}

    def write(self, into: Path, types: Mapping[str, Cast], wrap: Wrap, counted: Counted) -> tuple[list[Path], int]:
        """Write the rows with these types to Parquet files in their order, in a new folder; return them and what is `counted`.

        Raises:
            MisfitError: a text does not fit a configured type.
            WidenError: a text does not fit an inferred type; nothing is written.
            UnreadableError: the rows can't be read.
        """
        typed = {**types, **self.configured}
        if not self._fit_beside_each_other:
            self._prove(typed)
        try:
            checks = sum(not cast.takes_all for cast in typed.values())
            if self.ranges and self._fit_beside_each_other and checks <= _RANGE_CHECKS:
                return self._write_ranges(into, typed, wrap, counted)
            return self._write(into, typed, wrap), counted(self.con)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    @property
    def _fit_beside_each_other(self) -> bool:
        """Return whether there is memory for the checks of all columns at once."""
        return len(self.columns) <= column_groups.WIDE

    def _prove(self, types: Mapping[str, Cast]) -> None:
        """Check types over all rows.

        Raises:
            MisfitError: a text does not fit a configured type.
            WidenError: a text does not fit an inferred type.
        """
        scan, failed = self._scan(None), set[str]()
        for (cast,), names in _alike({name: (types[name],) for name in self.columns}).items():
            if not cast.takes_all:
                failed |= {
                    name for name, one in self._gather_alike(names, (cast,), scan, None).items() if not one.casts
                }
        misfits = [name for name in self.columns if name in failed and name in self.configured]
        if misfits:
            raise MisfitError(misfits[0])
        if failed:
            raise WidenError(failed)

    def _scan(self, rows: int | None) -> str:
        limit = "" if rows is None else f" limit {rows}"
        return f"(select * from ({' union all '.join(self.parts)}){limit})"

    def _guessed(self) -> dict[str, tuple[Cast, ...]]:
        return {name: self.candidates[name] for name in self.columns if name not in self.configured}

    def _gather(self, candidates: Mapping[str, tuple[Cast, ...]], rows: int | None) -> dict[str, Evidence]:
        """Find the candidates that hold all texts of the first rows, or of all."""
        found = {name: Evidence(seen=True, casts=casts, is_complete=True) for name, casts in candidates.items()}
        scan = self._scan(rows)
        for casts, names in _alike({name: casts for name, casts in candidates.items() if len(casts) > 1}).items():
            found |= self._gather_alike(names, casts, scan, rows)
        return found

    def _gather_alike(
        self, names: Sequence[str], casts: tuple[Cast, ...], scan: str, rows: int | None
    ) -> dict[str, Evidence]:
        """Find which of the candidates that columns share hold all texts of each; some columns at a time."""
        return {
            name: found
            for batch in _batches(names, _BELOW_EACH_OTHER)
            for name, found in self._gather_batch(batch, casts, scan, rows).items()
        }

    def _gather_batch(
        self, names: Sequence[str], casts: tuple[Cast, ...], scan: str, rows: int | None
    ) -> dict[str, Evidence]:
        """Find which of the candidates that columns share hold all texts of each.

        The columns are stacked into rows for that, because the time that DuckDB takes to plan a query grows with the
        square of its terms: 1,000 columns with terms of their own took three minutes.
        """
        suggesting = [cast for cast in casts if cast.some != "true"]
        terms = (
            "count(*)",
            f"count(*) filter (not {casts[0].gap_of('c')})",
            *(f"coalesce(bool_and({cast.fits_of('c')}), true)" for cast in casts),
            *(f"coalesce(bool_or({cast.some_of('c')}), false)" for cast in suggesting),
        )
        texts = ", ".join(map(quote, names))
        found = self._fetch(
            f"""
            select number, {", ".join(terms)}
            from (select unnest([{texts}]) as c, unnest(range({len(names)})) as number from {scan})
            group by number
            """
        )
        evidence = {name: Evidence(seen=False, casts=casts, is_complete=True) for name in names}
        for number, count, texts_seen, *answers in found:
            holds, suggests = answers[: len(casts)], answers[len(casts) :]
            evidence[names[number]] = Evidence(
                seen=texts_seen > 0,
                casts=tuple(
                    cast for cast, held in zip(casts, holds, strict=True) if held or cast.takes_all or not texts_seen
                ),
                vague=frozenset(cast.type for cast, some in zip(suggesting, suggests, strict=True) if not some),
                is_complete=rows is None or count < rows,
            )
        return evidence

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self.con.execute(query).fetchall()
        except duckdb.Error as error:
            raise UnreadableError(duckdb_files.reason_of(error)) from error

    def _write(self, into: Path, types: Mapping[str, Cast], wrap: Wrap) -> list[Path]:
        into.mkdir()
        written: list[Path] = []
        token = secrets.token_hex(8)
        wrapped = wrap(self.con, types)
        for number, part in enumerate(self.parts):
            home = into / str(number)
            home.mkdir()
            if len(self.columns) > column_groups.WIDE:
                written += self._write_groups(number, types, wrapped, home)
            else:
                query = wrapped(self._select(part, types, token, self.columns))
                written += self._write_part(query, home, token)
        return written

    def _write_ranges(
        self, into: Path, types: Mapping[str, Cast], wrap: Wrap, counted: Counted
    ) -> tuple[list[Path], int]:
        """Write the ranges of the rows side by side, each by one thread into files of its own."""
        into.mkdir()
        token, threads = secrets.token_hex(8), self.side_by_side.threads
        limit = duckdb_files.shared(self.side_by_side.memory_limit, threads)

        def select(con: "DuckDBPyConnection", number: int, file: Path) -> str:
            return wrap(con, types)(self._select(self.ranges[number].select(file), types, token, self.columns))

        # no other query may touch what can be read only once
        columns = parquet.portable_columns(self.con, select(self.con, 0, self.ranges[0].path))

        def write(number: int) -> tuple[list[Path], int]:
            home, spill = into / str(number), into / f"{number}.spill"
            home.mkdir()
            with (
                self.ranges[number].piped() as file,
                duckdb_files.lent(memory_limit=limit, temp_dir=spill) as con,
            ):
                query = f"select {columns} from ({select(con, number, file)}\n)"
                return self._write_part(query, home, token, con, is_portable=True), counted(con)

        with ThreadPoolExecutor(threads) as pool:
            waiting = [pool.submit(write, number) for number in range(len(self.ranges))]
            try:
                written = [one.result() for one in waiting]
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure, those that have not begun
        return [path for paths, _count in written for path in paths], sum(count for _paths, count in written)

    def _write_groups(self, number: int, types: Mapping[str, Cast], wrapped: Wrapped, into: Path) -> list[Path]:
        """Write the rows in groups of columns; each group has all wanted rows."""
        queries: list[str] = []
        for names in _batches(self.columns, column_groups.GROUP):
            needed = (*names, *(name for name in self.always if name not in names and name in types))
            part = self.parts[number] if self.only is None else self.only(number, needed)
            query = wrapped(self._select(part, types, None, needed), counting=not queries)
            queries.append(f"select {', '.join(map(quote, names))} from ({query})")
        try:
            return column_groups.write(self.con, queries, into)
        except SourceError as error:
            raise UnreadableError(str(error)) from error

    def _write_part(
        self,
        query: str,
        into: Path,
        token: str,
        con: "DuckDBPyConnection | None" = None,
        *,
        is_portable: bool = False,
    ) -> list[Path]:
        try:
            return parquet.write(con or self.con, query, into, is_portable=is_portable)
        except SourceError as error:
            before, found, index = str(error).partition(token)
            if not found:
                raise UnreadableError(str(error)) from error
            column = self.columns[int(index)]
            raise (MisfitError(column) if before.endswith("misfit ") else WidenError([column])) from None

    def _select(self, part: str, types: Mapping[str, Cast], token: str | None, names: Sequence[str]) -> str:
        """Return the query of typed columns; with a `token`, a value that does not fit fails with an error that contains it."""
        if token is None:
            terms = (f"{types[name].value_of(name)} as {quote(name)}" for name in names)
            return f"select {', '.join(terms)} from ({part})"
        checked, values = list[str](), ["*"]
        for index, name in enumerate(names):
            cast, value = types[name], quote(f"value of {name}")
            failure = f"{'misfit' if name in self.configured else 'widen'} {token}{index}"
            checked.append(f"{cast.checked(name, failure, value)} as {quote(name)}")
            values.append(f"{cast.value_of(name)} as {value}")
        return f"select {', '.join(checked)} from (select {', '.join(values)} from ({part}))"


def _batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _alike(candidates: Mapping[str, tuple[Cast, ...]]) -> dict[tuple[Cast, ...], list[str]]:
    """Group columns that have the same candidates."""
    found: dict[tuple[Cast, ...], list[str]] = {}
    for name, casts in candidates.items():
        found.setdefault(casts, []).append(name)
    return found


def _held(evidence: Mapping[str, Evidence]) -> dict[str, tuple[Cast, ...]]:
    return {name: found.casts for name, found in evidence.items()}


def _nothing(candidates: tuple[Cast, ...]) -> Cast:
    """Return the cast of a column without texts: a text that appears later decides the type, unless it is known."""
    first = candidates[0]
    return first if first.is_known or len(candidates) == 1 else Cast("VARCHAR", "{c}", first.gap, first.gap)
