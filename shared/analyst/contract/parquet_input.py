"""Parquet files of other writers, prepared so that DuckDB reads them without loss.

DuckDB silently converts decimals of more than 38 digits to doubles, and drops nanoseconds of INT96, instants and times
of day. The schema of the file shows this before anything is read. A file with nanoseconds is read through a copy whose
footer declares the physical types of these columns, and is rewritten.
"""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from analyst.contract import parquet, parquet_nesting
from analyst.contract.parquet_footer import Chunk, Element, Footer, read_footer, verify_pages
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError, UnavailableError
from analyst.names import quote, quote_text
from analyst.types import MOMENTS, OUTSIDE, in_years

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_MAX_DIGITS = 38
_JULIAN_EPOCH = 2_440_588
_JULIAN_FIRST, _JULIAN_LAST = 1_721_425, 5_373_485
"""The last Julian day before the year 1, and the first one after the year 9999."""

_DAY = 86_400_000_000
_OUT_OF_RANGE = "Could not convert Timestamp(MS)"
_ROUND = "round it at the source, or read the column as text with the option types"
_CORRECT = "correct it, or read the column as text with the option types"
_YEARS = f"{OUTSIDE}; {_CORRECT}"


@dataclass(frozen=True, slots=True)
class ParquetInput:
    """A parquet file prepared for DuckDB: `paths` contain its rows in order, `columns` are its own column names.

    `in_milliseconds` are the columns with timestamps in milliseconds; DuckDB does not report which one is out of range.
    """

    name: str
    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    in_milliseconds: tuple[str, ...] = ()

    def scan(self) -> str:
        """Return the query of all rows."""
        return scan(self.paths)

    def explained(self, reason: str) -> str:
        """Return DuckDB's message about the file, with the columns that may be meant and without our paths."""
        for path in self.paths:
            reason = reason.replace(str(path), self.name)
        if _OUT_OF_RANGE in reason and self.in_milliseconds:
            return f"{self.name}: the column {' or '.join(map(repr, self.in_milliseconds))} holds a time {_YEARS}"
        return reason


def scan(paths: Collection[Path]) -> str:
    """Return the query of all rows of local files, in order, with columns united by name."""
    listed = ", ".join(quote_text(str(path)) for path in paths)
    return f"select * from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def open_parquet(
    con: "DuckDBPyConnection",
    path: Path,
    name: str,
    scratch: Path,
    *,
    is_text: Callable[[str], bool] = lambda _column: False,
) -> ParquetInput:
    """Check a parquet file, and prepare it so that DuckDB reads it without loss; messages call it `name`.

    Columns requested as text (`is_text`) keep nanoseconds; values of others must be whole microseconds. Afterwards the
    connection ignores the statistics of files, which may be wrong.

    Raises:
        SourceError: it is damaged or encrypted, two columns share a name, a name contains a NUL, or a value can't be read
            exactly.
    """
    footer = read_footer(path, name)
    counts = [0] * sum(1 for element in footer.root.walk() if not element.children)

    def counted() -> Iterator[Chunk]:
        for number, chunk in enumerate(footer.chunks(name)):
            counts[number % len(counts)] += chunk.values
            yield chunk

    verify_pages(path, name, counted())
    _check_names(footer.columns, name)
    for column in footer.columns:
        _check_column(column, name)
    con.execute("set disabled_optimizers = 'statistics_propagation'")
    names = tuple(column.name for column in footer.columns)
    in_milliseconds = tuple(
        column.name for column in footer.columns if any(element.is_in_milliseconds for element in column.walk())
    )
    if not names:
        raise SourceError(f"{name} has no columns")
    with raised_as(SourceError, f"{name} can't be read as parquet: ", hide=path):
        parquet_nesting.verify_counts(con, scan([path]), footer.columns, counts, name)
    if any(element.is_variant for element in footer.root.walk()):
        raw = scratch / f"variants{sum(1 for _ in scratch.iterdir())}.parquet"
        changed = footer.root.without_variants()
        with _copied(path, raw, footer, name, changed), raised_as(SourceError, f"{name} can't be read: ", hide=raw):
            parquet_nesting.verify_variants(con, scan([path]), scan([raw]), footer.columns, name)
    if not any(column.loses_nanoseconds for column in footer.root.walk()):
        return ParquetInput(name, (path,), names, in_milliseconds)
    paths = _exact(con, path, footer, name, scratch=scratch, is_text=is_text)
    return ParquetInput(name, tuple(paths), names, in_milliseconds)


def _check_names(columns: Collection[Element], name: str, within: str = "") -> None:
    if twice := _twice([column.name for column in columns]):
        raise SourceError(f"{name}: {within}the columns {twice} have the same name; rename one of them")
    for column in columns:
        if "\0" in column.name:
            raise SourceError(f"{name}: {within}the name of the column {column.name!r} contains a NUL; rename it")
        if within and not column.name:
            raise SourceError(f"{name}: {within}a member has no name; name it")
        _check_names(column.children, name, within or f"in the column {column.name!r} ")


def _twice(names: Collection[str]) -> str:
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            return f"{seen[name.lower()]!r} and {name!r}"
        seen[name.lower()] = name
    return ""


def _check_column(column: Element, name: str) -> None:
    for element in column.walk():
        digits = element.digits
        if digits and digits[0] > _MAX_DIGITS:
            raise SourceError(
                f"{name}: the column {column.name!r} is DECIMAL({digits[0]},{digits[1]}), and at most {_MAX_DIGITS} "
                "digits can be read exactly; write it with fewer digits, or as text"
            )


def _exact(
    con: "DuckDBPyConnection",
    path: Path,
    footer: Footer,
    name: str,
    *,
    scratch: Path,
    is_text: Callable[[str], bool],
) -> list[Path]:
    """Rewrite a file with nanoseconds as whole microseconds or as text."""
    number = sum(1 for _ in scratch.iterdir())
    raw, into = scratch / f"raw{number}.parquet", scratch / f"exact{number}"
    into.mkdir()
    with raised_as(SourceError, f"{name} can't be read as parquet: ", hide=path):
        read = _described(con, path)
    with (
        _copied(path, raw, footer, name, footer.root.raw()),
        raised_as(SourceError, f"{name} can't be read as parquet: ", hide=raw),
    ):
        terms = [
            f"{_Nanoseconds(name, column, as_text=is_text(column)).term(kind, stored)} as {quote(column)}"
            for (column, kind), (_same, stored) in zip(read, _described(con, raw), strict=True)
        ]
        query = f"select {', '.join(terms)} from ({scan([raw])})"
        try:
            return parquet.write(con, query, into, is_portable=True)
        except SourceError as error:
            reason = str(error).replace(str(raw), name)
            raise SourceError(reason if reason.startswith(name) else f"{name} can't be read: {reason}") from error


def _described(con: "DuckDBPyConnection", path: Path) -> "list[tuple[str, DuckDBPyType]]":
    described = con.execute(f"{scan([path])} limit 0").description or []
    return [(name, kind) for name, kind, *_ in described]


@contextmanager
def _copied(path: Path, into: Path, footer: Footer, name: str, root: Element) -> Iterator[None]:
    """Provide a copy of a file whose footer declares another schema of the same data."""
    try:
        shutil.copyfile(path, into)
        with into.open("r+b") as file:
            file.seek(os.fstat(file.fileno()).st_size - 8 - len(footer.data))
            changed = footer.with_schema(root)
            file.write(changed + len(changed).to_bytes(4, "little") + b"PAR1")
            file.truncate()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(
                f"the disk is full, so {name} can't be copied; free space in SCRATCH_DIR, or set it to a larger disk"
            ) from error
        raise SourceError(f"{name} can't be copied: {error.strerror or error}") from error
    yield
    into.unlink()


_Leaf = Callable[[str, str, str], str]
"""Returns the SQL of a converted value; takes its SQL, DuckDB's type of it, and the stored type."""


def _mapped(value: str, kind: "DuckDBPyType", stored: "DuckDBPyType", leaf: _Leaf, depth: int = 0) -> str:
    """Return the SQL of a value with `leaf` applied to each simple value in it."""
    item = f"item_{depth}"
    match kind.id:
        case "list":
            made = _mapped(item, _children(kind)[0][1], _children(stored)[0][1], leaf, depth + 1)
            return value if made == item else f"list_transform({value}, lambda {item}: {made})"
        case "struct":
            packed = _packed(value, kind, stored, leaf, depth)
            return f"case when {value} is null then null else {packed} end" if packed else value
        case "map":
            packed = _packed(item, kind, stored, leaf, depth + 1)
            entries = f"list_transform(map_entries({value}), lambda {item}: {packed})"
            return f"case when {value} is null then null else map_from_entries({entries}) end" if packed else value
        case _:
            return leaf(value, str(kind), str(stored))


def _packed(value: str, kind: "DuckDBPyType", stored: "DuckDBPyType", leaf: _Leaf, depth: int) -> str | None:
    names = [name for name, _child in _children(kind)]
    paths = [f"struct_extract({value}, {quote_text(name)})" for name in names]
    below = zip(paths, _children(kind), _children(stored), strict=True)
    made = [_mapped(path, child, same, leaf, depth) for path, (_n, child), (_m, same) in below]
    if made == paths:
        return None
    return f"struct_pack({', '.join(f'{quote(name)} := {member}' for name, member in zip(names, made, strict=True))})"


_LEAST = {
    "TIMESTAMP": ("epoch_us", "make_timestamp(-9223372022400000000)", "microseconds"),
    "TIMESTAMP WITH TIME ZONE": ("epoch_us", "make_timestamp(-9223372022400000000)::timestamptz", "microseconds"),
    "TIMESTAMP_NS": ("epoch_ns", "make_timestamp_ns(-9223286400000000000)", "nanoseconds"),
}
"""By type: the function that returns the stored number, the first time that DuckDB can write as text, and the unit."""


def as_text(value: str, kind: str) -> str:
    """Return the SQL of a value as text; a time that DuckDB can store but not write appears as the stored number."""
    if kind not in _LEAST:
        return f"cast({value} as varchar)"
    stored, least, unit = _LEAST[kind]
    return (
        f"case when isfinite({value}) and {value} < {least} then cast({stored}({value}) as varchar) || ' {unit} since "
        "1970' "
        f"else cast({value} as varchar) end"
    )


def within_years(value: str, kind: "DuckDBPyType", label: str) -> str:
    """Return the SQL of a value whose dates and times must be in the years 1 to 9999; `label` starts the message."""

    def leaf(value: str, kind: str, _stored: str) -> str:
        why = _YEARS
        if kind == "TIMESTAMP_NS":  # from 1677 to 2262, and infinite
            bounds = f"isfinite({value}) and {value} >= {_LEAST[kind][1]}"
            why = f"not a time, or too early to be read; {_CORRECT}"
        elif kind in MOMENTS:
            bounds = in_years(value, kind)
        else:
            return value
        failure = (
            f"error({quote_text(f'{label} holds ')} || ({as_text(value, kind)}) || {quote_text(f', which is {why}')})"
        )
        return f"case when ({bounds}) or {value} is null then {value} else {failure} end"

    return _mapped(value, kind, kind, leaf)


@dataclass(frozen=True, slots=True)
class _Nanoseconds:
    """Returns the SQL of one column without loss, from the stored values."""

    file: str
    column: str
    as_text: bool

    def term(self, kind: "DuckDBPyType", stored: "DuckDBPyType") -> str:
        """Return the SQL of the column; `kind` is DuckDB's type of it, `stored` the stored type."""
        return _mapped(quote(self.column), kind, stored, self._leaf)

    def _leaf(self, value: str, kind: str, stored: str) -> str:
        if kind == stored:
            return value
        if kind.startswith("TIME") and not kind.startswith("TIMESTAMP"):
            return self._time(value)
        if stored == "INTERVAL":
            return self._int96(value, kind)
        rest = f"(({value} % 1000 + 1000) % 1000)"
        return self._moment(value, kind, f"({value}::hugeint - {rest}) // 1000", rest, "true")

    def _time(self, value: str) -> str:
        """Convert a time of day to text, like all times of day; no type has nanoseconds in all readers."""
        micros = f"(time '00:00:00' + to_microseconds({value} // 1000))"
        fraction = f"rtrim('.' || lpad(cast({value} % 1000000000 as varchar), 9, '0'), '0')"
        text = f"substring(cast({micros} as varchar), 1, 8) || {fraction}"
        failure = self._failure(f"cast({value} as varchar) || ' nanoseconds'", "which is not a time of day; correct it")
        return (
            f"case when {value} is null then null when {value} = {_DAY}000 then '24:00:00' "
            f"when {value} between 0 and {_DAY}000 then rtrim({text}, '.') else {failure} end"
        )

    def _int96(self, value: str, kind: str) -> str:
        """Combine the nanoseconds of a day (eight bytes) and its Julian day (four bytes)."""
        months = f"(datepart('year', {value}) * 12 + datepart('month', {value}))"
        low = f"({months} + case when {months} < 0 then 4294967296 else 0 end)"
        nanos = f"(datepart('day', {value}) * 4294967296 + {low})"
        minutes = f"(datepart('hour', {value}) * 60 + datepart('minute', {value}))"
        day = f"({minutes} * 60000 + datepart('microsecond', {value}) // 1000)"
        within = f"{day} between {_JULIAN_FIRST} and {_JULIAN_LAST} and abs({nanos}) <= {_DAY}000"
        rest = f"(({nanos} % 1000 + 1000) % 1000)"
        micros = f"({day} - {_JULIAN_EPOCH}) * {_DAY} + ({nanos} - {rest}) // 1000"
        return self._moment(value, kind, micros, rest, within)

    def _moment(self, value: str, kind: str, micros: str, rest: str, within: str) -> str:
        """Combine whole microseconds and the rest in nanoseconds, if the value is `within` bounds."""
        exact = f"make_timestamp(({micros})::bigint)"
        moment = f"{exact}::timestamptz" if kind == "TIMESTAMP WITH TIME ZONE" else exact
        zone = " || '+00'" if kind == "TIMESTAMP WITH TIME ZONE" else ""
        text = f"strftime({exact}, '%Y-%m-%d %H:%M:%S.%f') || lpad(cast({rest} as varchar), 3, '0'){zone}"
        failure = f"error({quote_text(f'{self.file}: the column {self.column!r} holds a time {_YEARS}')})"
        if self.as_text:
            return (
                f"case when {value} is null then null when not ({within}) then {failure} "
                f"when {rest} = 0 then cast({moment} as varchar) else {text} end"
            )
        lossy = self._failure(text, f"and only whole microseconds can be read exactly; {_ROUND}")
        return (
            f"case when {value} is null then null when not ({within}) then {failure} "
            f"when {rest} = 0 then {moment} else {lossy} end"
        )

    def _failure(self, value: str, why: str) -> str:
        start = quote_text(f"{self.file}: the column {self.column!r} holds ")
        return f"error({start} || {value} || {quote_text(f', {why}')})"


def _children(kind: "DuckDBPyType") -> "list[tuple[str, DuckDBPyType]]":
    return cast("list[tuple[str, DuckDBPyType]]", kind.children)
