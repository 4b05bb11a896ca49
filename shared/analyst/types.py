"""Types of columns: the check for types from outside, and portable types, which every reader of Delta and parquet accepts.

Source: the Delta protocol, 'Schema Serialization Format', and what DuckDB writes for each type.
"""

from typing import TYPE_CHECKING, Any, Protocol

from analyst.errors import ContractError, SourceError
from analyst.names import quote, quote_text
from da import types as type_names
from da.types import Portable, Rewriting, children

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_AS_IT_IS = frozenset(
    {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB"),
        *("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
    }
)
_CAST = {
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "JSON": "VARCHAR",  # Polars reads parquet's type JSON as bytes where Delta says text
    **dict.fromkeys(("UUID", "TIME", "TIME_NS", "TIME WITH TIME ZONE", "INTERVAL", "BIT", "BIGNUM"), "VARCHAR"),
    '"NULL"': "VARCHAR",
}
AT_THE_SOURCE = "round or correct it at the source, or read the column as text with the option types (VARCHAR)"
IN_THE_STATEMENT = "round or correct it in the statement, or cast the column to VARCHAR"
MOMENTS = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
OUTSIDE = "outside of the years 0001 to 9999 that all readers support"
_CHECKED = {
    **dict.fromkeys(("HUGEINT", "UHUGEINT"), "DECIMAL(38,0)"),
    **dict.fromkeys(("TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMP_MS"), "TIMESTAMP"),
}
_MOST = 10**38 - 1
_LEAST = {"HUGEINT": -_MOST, "UHUGEINT": 0}
"""The least integer of a type that fits its new type, as all up to the most do."""

_ARROW = {
    **dict.fromkeys(("TIME WITH TIME ZONE", "BIT", "BIGNUM", "VARIANT"), "VARCHAR"),
}
"""What DuckDB writes to Arrow as something else: without the offset of a time, or as the bytes in its own memory."""

_MOST_HOURS = (2**63 - 1) // 3_600_000_000_000 - 1

_LISTS = frozenset({"list", "array"})
_TIMES = ("DATE", "TIME")
_ZONED = "WITH TIME ZONE"

_FLOATING = frozenset({"halffloat", "float", "double"})


def checked_type(text: str) -> str:
    """Return the name of a DuckDB type, rebuilt from its parsed parts, so that it can't contain other SQL.

    Raises:
        ContractError: it is not a built-in type, or is too long or nested too deeply.
    """
    try:
        return type_names.checked_type(text)
    except ValueError as error:
        raise ContractError(str(error)) from None


def changes_meaning(con: "DuckDBPyConnection", kind: str, target: str) -> bool:
    """Return whether a cast from one type to another makes something else of values, though the cast back returns them.

    A time without a zone would become an instant as if it were UTC, and a text bytes, or a list.
    Members of nested types count, too.
    """
    return kind != target and _means_other(con.sqltype(kind), con.sqltype(target))


def _means_other(kind: "DuckDBPyType", target: "DuckDBPyType") -> bool:
    if kind.id == target.id == "struct":  # of two names that differ only by case, DuckDB unites the members
        members = {name.lower(): child for name, child in children(target)}
        return any(
            name.lower() in members and _means_other(child, members[name.lower()]) for name, child in children(kind)
        )
    if kind.id in _LISTS and target.id in _LISTS:
        return _means_other(children(kind)[0][1], children(target)[0][1])
    if kind.id == target.id == "map":
        pairs = zip(children(kind), children(target), strict=True)
        return any(_means_other(one, other) for (_name, one), (_same, other) in pairs)
    if kind.id == "varchar":
        return target.id in {"blob", "struct", "map", *_LISTS}
    if str(kind).startswith(_TIMES) and str(target).startswith(_TIMES):
        return (_ZONED in str(kind)) != (_ZONED in str(target))
    return False


def survives(con: "DuckDBPyConnection", value: str, kind: str, target: str) -> str:
    """Return the SQL condition that a value, given as SQL, is the same in another type.

    Only the cast back proves it: DuckDB rounds on the way to FLOAT, DOUBLE and decimals without an error.
    """
    if changes_meaning(con, kind, target):
        return f"{value} is null"
    return f"try_cast(try_cast({value} as {target}) as {kind}) is not distinct from {value}"


def in_years(value: str, kind: str) -> str:
    """Return the SQL condition that one of the `MOMENTS`, given as SQL, is in the years 1 to 9999.

    Others are DuckDB's infinities, or mean something else to other readers.
    """
    return f"{value} between {kind} '0001-01-01' and {kind} '9999-12-31 23:59:59.999999'"


class ArrowField(Protocol):
    """A field of an Arrow schema."""

    name: str
    type: Any


def portable(name: str, kind: "DuckDBPyType") -> Portable:
    """Return how a column of a DuckDB type is written; members of nested types are converted one by one.

    A conversion that could lose data (a HUGEINT beyond 38 digits, nanoseconds) is checked at run time and fails with
    the column and the value. A UNION becomes a STRUCT with a `tag`, a GEOMETRY its well-known binary.

    Raises:
        SourceError: the type is not supported.
    """
    return _Writing(name).value(quote(name), kind, 0)


def portable_column(name: str, kind: "DuckDBPyType") -> Portable:
    """Return how a computed column of a table is written: as `portable` does, with dates and times that all readers support.

    Raises:
        SourceError: the type is not supported.
    """
    return _Computing(name, IN_THE_STATEMENT).value(quote(name), kind, 0)


def portable_result(term: str, column: str, kind: "DuckDBPyType") -> str:
    """Return the SQL that converts a column of a result, given as SQL, as `portable` does.

    Raises:
        SourceError: the type is not supported.
    """
    return _Writing(column, IN_THE_STATEMENT).value(term, kind, 0).expression


def arrow_result(term: str, column: str, kind: "DuckDBPyType") -> str:
    """Return the SQL for a column of a result that is written to Arrow: values that Arrow can't hold become texts.

    A HUGEINT beyond 38 digits fails, as Arrow has no integers of 128 bits and DuckDB would write other digits.
    """
    return _Arrow(column, IN_THE_STATEMENT).value(term, kind, 0).expression


def named_result(term: str, _column: str, kind: "DuckDBPyType") -> str:
    """Return the SQL for a column of a result whose members without names, as of `row(1, 2)`, are named `_1`, `_2` and so on.

    As objects of JSON they would all have the same, empty name, of which readers keep one.
    """
    return Rewriting().value(term, kind, 0).expression


class _Checking(Rewriting):
    """Checks values that may not fit their new type; `remedy` is what to do about one that does not."""

    __slots__ = ("column", "remedy")

    def __init__(self, column: str, remedy: str = AT_THE_SOURCE) -> None:
        self.column, self.remedy = column, remedy

    def _checked(self, value: str, kind: str, target: str) -> str:
        if kind in _LEAST:  # comparing takes a thirtieth of the time of two casts
            wrong = f"{value} not between cast({_LEAST[kind]} as {kind}) and cast({_MOST} as {kind})"
            return f"case when {wrong} then {self._error(value, f'does not fit {target}')} else cast({value} as {target}) end"
        cast = f"try_cast({value} as {target})"
        error = self._error(value, f"does not fit {target}")
        return f"case when try_cast({cast} as {kind}) is not distinct from {value} then {cast} else {error} end"

    def _error(self, value: str, why: str) -> str:
        before, after = quote_text(f"column {self.column}: "), quote_text(f" {why}; {self.remedy}")
        return f"error({before} || cast({value} as VARCHAR) || {after})"


class _Writing(_Checking):
    """Converts what not every reader accepts."""

    __slots__ = ()

    def _simple(self, value: str, kind: str) -> Portable:
        if kind in _AS_IT_IS or kind.startswith("DECIMAL("):
            return Portable(kind, value)
        if kind.startswith("GEOMETRY"):
            return Portable("BLOB", f"st_aswkb({value})")
        if kind == "VARIANT":
            return Portable("VARCHAR", f"case when {value} is not null then cast(cast({value} as JSON) as VARCHAR) end")
        if target := _CAST.get(kind):
            return Portable(target, f"cast({value} as {target})")
        if target := _CHECKED.get(kind):
            return Portable(target, self._checked(value, kind, target))
        raise SourceError(
            f"the column {self.column!r} has the type {kind}, which can't be written; cast it to another type"
        )

    def _enum(self, value: str, _kind: "DuckDBPyType") -> Portable:
        return Portable("VARCHAR", f"cast({value} as VARCHAR)")

    def _union(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        return self._as_struct(value, kind, depth)


class _Computing(_Writing):
    """Also checks what files are refused for."""

    __slots__ = ()

    def _simple(self, value: str, kind: str) -> Portable:
        made = super()._simple(value, kind)
        if made.type not in MOMENTS:
            return made
        error = self._error(value, f"is {OUTSIDE}")
        fits = f"{value} is null or {in_years(made.expression, made.type)}"
        return Portable(made.type, f"case when {fits} then {made.expression} else {error} end")


class _Arrow(_Checking):
    """Converts what DuckDB writes to Arrow as something else."""

    __slots__ = ()

    def _simple(self, value: str, kind: str) -> Portable:
        if target := _ARROW.get(kind):
            return Portable(target, f"cast({value} as {target})")
        if kind in {"HUGEINT", "UHUGEINT"}:
            return Portable(_CHECKED[kind], self._checked(value, kind, _CHECKED[kind]))
        if kind == "INTERVAL":  # Arrow counts nanoseconds, which overflow after 292 years of hours
            error = self._error(value, "is too long for Arrow")
            wrong = f"hour({value}) not between {-_MOST_HOURS} and {_MOST_HOURS}"
            return Portable(kind, f"case when {wrong} then {error} else {value} end")
        return Portable(kind, value)


def with_statistics(schema: "Iterable[ArrowField]") -> list[str]:
    """Return the columns of an Arrow schema of which a parquet file may have minimum and maximum values.

    Floating-point numbers are left out: Arrow's writer ignores NaN in these values, which is the greatest number for
    DuckDB. It would skip a row group for `x > 100` that has a NaN, because its greatest value is less.
    """
    return [field.name for field in schema if field.type.num_fields == 0 and str(field.type) not in _FLOATING]
