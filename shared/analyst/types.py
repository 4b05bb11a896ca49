"""Types of columns: the check for types from outside, and portable types, which every reader of Delta and parquet accepts.

Source: the Delta protocol, 'Schema Serialization Format', and what DuckDB writes for each type.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from analyst.errors import ContractError, SourceError
from analyst.names import quote, quote_text
from da import types as type_names

if TYPE_CHECKING:
    from collections.abc import Iterable

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
IN_THE_STATEMENT = "round it in the statement, or cast the column to VARCHAR"
_CHECKED = {
    **dict.fromkeys(("HUGEINT", "UHUGEINT"), "DECIMAL(38,0)"),
    **dict.fromkeys(("TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMP_MS"), "TIMESTAMP"),
}

_ARROW = {
    **dict.fromkeys(("TIME WITH TIME ZONE", "BIT", "BIGNUM", "VARIANT"), "VARCHAR"),
}
"""What DuckDB writes to Arrow as something else: without the offset of a time, or as the bytes in its own memory."""

_MOST_HOURS = (2**63 - 1) // 3_600_000_000_000 - 1

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


class ArrowField(Protocol):
    """A field of an Arrow schema."""

    name: str
    type: Any


@dataclass(frozen=True, slots=True)
class Portable:
    """How a value is written: its type, and the SQL expression that converts it."""

    type: str
    expression: str


def portable(name: str, kind: "DuckDBPyType") -> Portable:
    """Return how a column of a DuckDB type is written; members of nested types are converted one by one.

    A conversion that could lose data (a HUGEINT beyond 38 digits, nanoseconds) is checked at run time and fails with
    the column and the value. A UNION becomes a STRUCT with a `tag`, a GEOMETRY its well-known binary.

    Raises:
        SourceError: the type is not supported.
    """
    return _Writing(name).value(quote(name), kind, 0)


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


def named_result(term: str, column: str, kind: "DuckDBPyType") -> str:
    """Return the SQL for a column of a result whose members without names, as of `row(1, 2)`, are named `_1`, `_2` and so on.

    As objects of JSON they would all have the same, empty name, of which readers keep one.
    """
    return _Named(column, IN_THE_STATEMENT).value(term, kind, 0).expression


@dataclass(frozen=True, slots=True)
class _Writing:
    column: str
    remedy: str = AT_THE_SOURCE

    def value(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        """Return how to write a value, given as SQL. `depth` counts the lambdas around it."""
        match kind.id:
            case "list" | "array":
                return self._list(value, kind, depth)
            case "struct":
                return self._struct(value, kind, depth)
            case "map":
                return self._map(value, kind, depth)
            case "union":
                return self._union(value, kind, depth)
            case "enum":
                return self._enum(value, kind)
            case _:
                return self._simple(value, str(kind))

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

    def _checked(self, value: str, kind: str, target: str) -> str:
        cast = f"try_cast({value} as {target})"
        text = f"{quote_text(f'column {self.column}: ')} || cast({value} as VARCHAR) || {quote_text(f' does not fit {target}; {self.remedy}')}"
        return f"case when try_cast({cast} as {kind}) is not distinct from {value} then {cast} else error({text}) end"

    def _list(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        item = f"item_{depth}"
        made = self.value(item, _children(kind)[0][1], depth + 1)
        if made.expression == item:
            return Portable(f"{made.type}[]", value)
        return Portable(f"{made.type}[]", f"list_transform({value}, lambda {item}: {made.expression})")

    def _struct(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        names = [name for name, _child in _children(kind)]
        paths = [
            f"struct_extract({value}, {quote_text(name)})" if name else f"struct_extract_at({value}, {number})"
            for number, name in enumerate(names, start=1)
        ]
        made = [self.value(path, child, depth) for path, (_name, child) in zip(paths, _children(kind), strict=True)]
        labels = [name or f"_{number}" for number, name in enumerate(names, start=1)]
        as_it_is = all(names) and [member.expression for member in made] == paths
        return _packed(f"{value} is null", labels, made, value if as_it_is else None)

    def _map(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        entry = f"item_{depth}"
        paths = [f"struct_extract({entry}, 'key')", f"struct_extract({entry}, 'value')"]
        made = [self.value(path, child, depth + 1) for path, (_n, child) in zip(paths, _children(kind), strict=True)]
        target = f"MAP({made[0].type}, {made[1].type})"
        if [member.expression for member in made] == paths:
            return Portable(target, value)
        pack = f"struct_pack(key := {made[0].expression}, value := {made[1].expression})"
        entries = f"list_transform(map_entries({value}), lambda {entry}: {pack})"
        return Portable(target, f"case when {value} is null then null else map_from_entries({entries}) end")

    def _union(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        members = _children(kind)[1:]  # the first is DuckDB's own tag
        names = [name for name, _child in members]
        made = [self.value(f"union_extract({value}, {quote_text(name)})", child, depth) for name, child in members]
        tag = "tag"
        while tag in {name.lower() for name in names}:
            tag += "_"
        tag_value = Portable("VARCHAR", f"cast(union_tag({value}) as VARCHAR)")
        return _packed(f"union_tag({value}) is null", [tag, *names], [tag_value, *made])


class _Named(_Writing):
    """Only names the members of structs."""

    __slots__ = ()

    def _simple(self, value: str, kind: str) -> Portable:
        return Portable(kind, value)

    def _enum(self, value: str, kind: "DuckDBPyType") -> Portable:
        return Portable(str(kind), value)

    def _union(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        members = [self.value("m", child, depth) for _name, child in _children(kind)[1:]]
        if all(member.expression == "m" for member in members):
            return Portable(str(kind), value)
        return _Writing._union(self, value, kind, depth)  # noqa: SLF001 - `super()` needs the class of `slots=True`


class _Arrow(_Named):
    """Also converts what DuckDB writes to Arrow as something else."""

    __slots__ = ()

    def _simple(self, value: str, kind: str) -> Portable:
        if target := _ARROW.get(kind):
            return Portable(target, f"cast({value} as {target})")
        if kind in {"HUGEINT", "UHUGEINT"}:
            return Portable(_CHECKED[kind], self._checked(value, kind, _CHECKED[kind]))
        if kind == "INTERVAL":  # Arrow counts nanoseconds, which overflow after 292 years of hours
            text = f"{quote_text(f'column {self.column}: ')} || cast({value} as VARCHAR) || {quote_text(f' is too long for Arrow; {self.remedy}')}"
            return Portable(
                kind, f"case when abs(datepart('hour', {value})) > {_MOST_HOURS} then error({text}) else {value} end"
            )
        return Portable(kind, value)


def with_statistics(schema: "Iterable[ArrowField]") -> list[str]:
    """Return the columns of an Arrow schema of which a parquet file may have minimum and maximum values.

    Floating-point numbers are left out: Arrow's writer ignores NaN in these values, which is the greatest number for
    DuckDB. It would skip a row group for `x > 100` that has a NaN, because its greatest value is less.
    """
    return [field.name for field in schema if field.type.num_fields == 0 and str(field.type) not in _FLOATING]


def _children(kind: "DuckDBPyType") -> "list[tuple[str, DuckDBPyType]]":
    return cast("list[tuple[str, DuckDBPyType]]", kind.children)


def _packed(absent: str, names: list[str], made: list[Portable], as_it_is: str | None = None) -> Portable:
    """Return the STRUCT of converted members, or the original if no member changes."""
    named = list(zip(names, made, strict=True))
    target = f"STRUCT({', '.join(f'{quote(name)} {member.type}' for name, member in named)})"
    if as_it_is is not None:
        return Portable(target, as_it_is)
    members = ", ".join(f"{quote(name)} := {member.expression}" for name, member in named)
    return Portable(target, f"case when {absent} then null else struct_pack({members}) end")
