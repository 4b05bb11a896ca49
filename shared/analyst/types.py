"""Portable types: what a column is written as, so that every reader of Delta and parquet takes it.

Source: the Delta protocol, 'Schema Serialization Format', and what DuckDB was seen to write for each type.
"""

import re
from dataclasses import dataclass

from analyst.names import quote

_UNSIGNED = {"UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT", "UBIGINT": "DECIMAL(20,0)"}
_HUGE = {"HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)"}
_TEXT = ("UUID", "TIME", "TIME_NS", "TIME WITH TIME ZONE", "INTERVAL", "BIT", "BIGNUM", "VARINT", '"NULL"', "NULL")
_MICROSECONDS = {"TIMESTAMP_NS": "TIMESTAMP", "TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP"}
_NESTED = re.compile(r"[\[\](]")


@dataclass(frozen=True, slots=True)
class Portable:
    """How one column is written: its type, and the SQL that makes it of the column."""

    type: str
    expression: str


def portable(name: str, type_name: str) -> Portable:
    """Tell how a column of a DuckDB type is written.

    Casts that could lose data (a HUGEINT beyond 38 digits, nanoseconds) fail at run time and name the column and the
    value. Nested types go as they are, their members cast where they must be.
    """
    column = quote(name)
    if type_name in _HUGE:
        return _checked(name, type_name, _HUGE[type_name])
    if type_name == "TIMESTAMP_NS":
        return _checked(name, type_name, "TIMESTAMP")
    target = portable_type(type_name)
    return Portable(target, column if target == type_name else f"cast({column} as {target})")


def portable_type(type_name: str) -> str:
    """Tell the type that a DuckDB type is written as."""
    if type_name in _TEXT or type_name.startswith("ENUM("):
        return "VARCHAR"
    simple = _UNSIGNED.get(type_name) or _HUGE.get(type_name) or _MICROSECONDS.get(type_name)
    if simple:
        return simple
    if type_name.startswith("DECIMAL") or not _NESTED.search(type_name):
        return type_name
    return _nested(type_name)


def _checked(name: str, type_name: str, target: str) -> Portable:
    column, label = quote(name), name.replace("'", "''")
    expression = (
        f"case when try_cast(try_cast({column} as {target}) as {type_name}) is not distinct from {column} "
        f"then try_cast({column} as {target}) "
        f"else error('column {label}: ' || {column}::varchar || ' does not fit {target}') end"
    )
    return Portable(target, expression)


_MEMBERS = re.compile(
    r"\b(UTINYINT|USMALLINT|UINTEGER|UBIGINT|HUGEINT|UHUGEINT|UUID|TIME|INTERVAL|TIMESTAMP_(?:NS|S|MS))\b(?! WITH)"
)


def _nested(type_name: str) -> str:
    # names of members stand in double quotes when they could be taken for a type; those are left alone
    parts = re.split(r'("(?:[^"]|"")*")', type_name)
    return "".join(
        part if part.startswith('"') else _MEMBERS.sub(lambda m: portable_type(m[1]), part) for part in parts
    )
