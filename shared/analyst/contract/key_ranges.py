"""The order of a keyed table, and the range of it that each file covers.

Rows of a table with a primary key are sorted by its clustering columns, if it has any, and then by the key. Each file
that a merge writes records the first and last row of its range in `_files.stats`, next to the statistics of its
columns:

    {"columns": {…}, "range": {"key": ["id"], "clustered_by": [], "first": ["17"], "last": ["4711"]}}

The record also states that the table has every key once, which only a merge guarantees. So files without it (of an
earlier version, of a full refresh, of another key) are merged as a whole, once. Bounds are texts, because JSON numbers
do not hold every decimal; `null` stands for a bound that is not recorded, and such a file may contain any key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

File = TypeVar("File", FileRow, ParquetFile, FileRow | ParquetFile)

_SMALL = 8
_LONGEST = 500
_PLAIN = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP")
_INSTANT = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class FileSizes:
    """The sizes of a keyed table's files: `1 / count` of the table, at least `least` and at most `greatest` bytes.

    An increment rewrites whole files, and laptops download them again: a fortieth of the table keeps an increment to
    neighbouring keys below 5 % of it. More files would cost queries more than they save (DuckDB opens one in 0.08 ms).
    """

    count: int = 40
    least: int = 2 << 20
    greatest: int = 32 << 20

    def file_bytes(self, table_bytes: int) -> int:
        """Return the size of the files of a table with a given number of bytes."""
        return min(max(table_bytes // self.count, self.least), self.greatest)

    def is_small(self, size_bytes: int, table_bytes: int) -> bool:
        """Return whether a file is so small that rows next to it are better added to it than put into a new file."""
        return size_bytes < self.file_bytes(table_bytes) // _SMALL


@dataclass(frozen=True, slots=True)
class Order:
    """The total order of a table's rows: by `clustered_by`, then by `key`, ascending, NULL last."""

    key: tuple[str, ...]
    clustered_by: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the order; each counts once."""
        return tuple(dict.fromkeys((*self.clustered_by, *self.key)))

    @property
    def sql(self) -> str:
        """The terms of an `order by`."""
        return ", ".join(f"{quote(column)} asc nulls last" for column in self.columns)


@dataclass(frozen=True, slots=True)
class Range:
    """The range of an order that a file covers, bounds included. A bound is `None` if it is not recorded."""

    order: Order
    first: tuple[str | None, ...]
    last: tuple[str | None, ...]

    @classmethod
    def of(cls, file: FileRow | ParquetFile) -> Self | None:
        """Return the recorded range of a listed file; `None` if it has none that can be used, whoever wrote it."""
        try:
            stats = json.loads(file.stats or "{}")
            fields, columns = stats["range"], stats["columns"]
            order = Order(_texts(fields["key"]), _texts(fields["clustered_by"]))
            if not order.key or any(column not in columns for column in order.columns):
                return None
            first, last = _bounds(fields["first"], order), _bounds(fields["last"], order)
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        return cls(order, first, last)

    def may_contain(self, types: Mapping[str, str], stats: Mapping[str, Mapping[str, Any]]) -> str:
        """Return the SQL condition, on columns of the key, that a row with this key may be in the file.

        `stats` are those of the file's columns. In a clustered table a row may have had another value of the clustering
        column before, so only the statistics of the key's own columns exclude a file.
        """
        if not self.order.clustered_by:
            return f"({self._at_least(types)} and {self._at_most(types)})"
        terms = []
        for column in self.order.key:
            column_stats = stats.get(column, {})
            bounds = [str(column_stats.get(bound, "\x00")) for bound in ("min", "max")]
            if not any("\x00" in bound for bound in bounds):
                least, greatest = (_literal(bound, types[column]) for bound in bounds)
                terms.append(f"{quote(column)} between {least} and {greatest}")
        return f"({' and '.join(terms)})" if terms else "true"

    def begins_before(self, types: Mapping[str, str]) -> str:
        """Return the SQL condition that a row is not before the range; false if that is unknown."""
        if any(bound is None for bound in self.first):
            return "false"
        return f"coalesce({self._at_least(types)}, false)"

    def _at_least(self, types: Mapping[str, str]) -> str:
        return _compared(self.order.columns, self.first, types, ">")

    def _at_most(self, types: Mapping[str, str]) -> str:
        return _compared(self.order.columns, self.last, types, "<")


def recorded(con: "DuckDBPyConnection", file: ParquetFile, order: Order) -> ParquetFile:
    """Return a file, sorted by `order`, with its range in its statistics."""
    first: tuple[str | None, ...] = (None,) * len(order.columns)
    last = first
    if file.rows:
        types = {column.name: column.type for column in file.columns}
        terms = ", ".join(_term(column, types[column]) for column in order.columns)
        scan = f"select {terms} from read_parquet({quote_text(str(file.path))}, hive_partitioning = false)"
        with raised_as(SourceError):
            first = con.execute(f"{scan} limit 1").fetchall()[0]
            last = con.execute(f"{scan} limit 1 offset {file.rows - 1}").fetchall()[0]
    fields = {"key": order.key, "clustered_by": order.clustered_by, "first": first, "last": last}
    stats = json.loads(file.stats) | {"range": fields}
    return replace(file, stats=json.dumps(stats, ensure_ascii=False, separators=(",", ":")))


def covering(files: Sequence[FileRow], order: Order) -> list[Range] | None:
    """Return the ranges of the files of a table; `None` unless all of them were merged by this order."""
    found = [Range.of(file) for file in files]
    ranges = [one for one in found if one is not None and one.order == order]
    is_listed_once = len({file.path for file in files}) == len(files)
    return ranges if len(ranges) == len(files) and is_listed_once else None


def common_order(files: Sequence[FileRow]) -> Order | None:
    """Return the order by which all files of a table were merged, if there is one."""
    found = Range.of(files[0]) if files else None
    return None if found is None or covering(files, found.order) is None else found.order


def in_order(con: "DuckDBPyConnection", files: Sequence[File], order: Order) -> list[list[File]]:
    """Sort the files of a table by their first rows; return groups of files whose ranges overlap.

    A file whose bounds are not recorded is a group of its own, at the end.
    """
    if len(files) < 2:  # noqa: PLR2004 - nothing to sort
        return [[file] for file in files]
    types = {name: stats["type"] for file in files for name, stats in _column_stats(file).items()}
    rows = [
        f"({number}, {_row(found.first, order, types)}, {_row(found.last, order, types)})"
        for number, found in enumerate(map(Range.of, files))
        if found is not None and None not in found.first + found.last
    ]
    known: list[tuple[int, bool]] = []
    if rows:
        with raised_as(SourceError):
            known = con.execute(f"""
                select number, coalesce("first" <= max("last") over (
                    order by "first", number rows between unbounded preceding and 1 preceding), false)
                from (values {", ".join(rows)}) r(number, "first", "last") order by "first", number
            """).fetchall()
    groups: list[list[File]] = []
    for number, is_overlapping in known:
        if is_overlapping:
            groups[-1].append(files[number])
        else:
            groups.append([files[number]])
    sorted_ = {number for number, _ in known}
    return groups + [[file] for number, file in enumerate(files) if number not in sorted_]


def _column_stats(file: FileRow | ParquetFile) -> Mapping[str, Mapping[str, Any]]:
    columns: Mapping[str, Mapping[str, Any]] = json.loads(file.stats or "{}").get("columns", {})
    return columns


def _row(bounds: Sequence[str | None], order: Order, types: Mapping[str, str]) -> str:
    values = [_literal(str(bound), checked_type(types[c])) for c, bound in zip(order.columns, bounds, strict=True)]
    return f"row({', '.join(values)})"


def _term(column: str, kind: str) -> str:
    """Return the SQL of a bound; only of types whose text DuckDB reads back as the same value."""
    if kind not in (*_PLAIN, _INSTANT) and not kind.startswith("DECIMAL("):
        return "null::varchar"
    text = f"cast({quote(column)} as varchar)"
    return f"case when strlen({text}) <= {_LONGEST} and not contains({text}, chr(0)) then {text} end"


def _compared(columns: Sequence[str], bounds: Sequence[str | None], types: Mapping[str, str], operator: str) -> str:
    """Compare columns with bounds lexicographically, the bounds themselves included; an unknown bound excludes nothing."""
    condition = "true"
    for number, (column, bound) in reversed(list(enumerate(zip(columns, bounds, strict=True)))):
        if bound is None:
            condition = "true"
            continue
        name, value = quote(column), _literal(bound, types[column])
        is_last = number == len(columns) - 1 or condition == "true"
        # the first term alone is what DuckDB can compare with the statistics of row groups
        condition = (
            f"{name} {operator}= {value}"
            if is_last
            else (f"({name} {operator}= {value} and ({name} {operator} {value} or {condition}))")
        )
    return condition


def _literal(text: str, kind: str) -> str:
    return f"cast({quote_text(text)} as {kind})"


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(value)


def _bounds(value: Any, order: Order) -> tuple[str | None, ...]:
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
        raise TypeError
    if len(value) != len(order.columns) or any("\x00" in item for item in value if item is not None):
        raise ValueError
    return tuple(value)
