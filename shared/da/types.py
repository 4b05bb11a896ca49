"""Validation of DuckDB type names from outside before they are used in SQL, and how values of nested types are rewritten.

The server uses both, too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from da.sql import quote, quote_text

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

_LONGEST = 200_000
_DEEPEST = 32
_SIMPLE = frozenset(
    {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BIGNUM", "FLOAT", "DOUBLE"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "VARCHAR", "BLOB", "BIT", "UUID", "JSON"),
        *("DATE", "TIME", "TIME_NS", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "INTERVAL"),
        *("TIME WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE", "TIMETZ", "TIMESTAMPTZ", "VARIANT", "NULL"),
    }
)
_WORDS = re.compile(r"[A-Z][A-Z0-9_]*(?: WITH TIME ZONE)?", re.IGNORECASE)
_NAME = re.compile(r'"(?:[^"\x00]|"")+"|[A-Za-z_][A-Za-z0-9_]*')
_TEXT = re.compile(r"'(?:[^'\x00]|'')*'")
_SIZE = re.compile(r"\[([0-9]{1,6})?\]")
_DECIMAL = re.compile(r"\(([0-9]{1,2}),\s*([0-9]{1,2})\)")
_PARENTHESISED = re.compile(r"\('[^'\x00]*'\)")


def checked_type(text: str) -> str:
    """Return the name of a DuckDB type, rebuilt from its parsed parts so that it can't contain other SQL.

    Raises:
        ValueError: it is not the name of a built-in type, or it is too long or nested too deeply.
    """
    if len(text) > _LONGEST:
        raise ValueError("a type is longer than 200,000 characters")
    grammar = _Grammar(text)
    found = grammar.type(0)
    if grammar.at != len(text):
        raise grammar.error()
    return found


@dataclass(slots=True)
class _Grammar:
    """Parses the name of a type from left to right; `at` is the current position."""

    text: str
    at: int = 0

    def error(self) -> ValueError:
        return ValueError(f"{self.text[:100]!r} is not a type")

    def type(self, depth: int) -> str:
        if depth > _DEEPEST:
            raise self.error()
        name = self.take(_WORDS).upper()
        match name:
            case "DECIMAL":
                found = f"DECIMAL{self.take(_DECIMAL)}"
            case "STRUCT" | "UNION":
                found = f"{name}({self.listed(lambda: self.member(depth))})"
            case "MAP":
                self.literal("(")
                key = self.type(depth + 1)
                self.literal(",")
                self.spaces()
                found = f"MAP({key}, {self.type(depth + 1)})"
                self.literal(")")
            case "ENUM":
                found = f"ENUM({self.listed(lambda: self.take(_TEXT))})"
            case "GEOMETRY":
                found = name + (self.take(_PARENTHESISED) if self.text.startswith("(", self.at) else "")
            case _ if name in _SIMPLE:
                found = name
            case _:
                raise self.error()
        while size := _SIZE.match(self.text, self.at):
            depth += 1
            if depth > _DEEPEST:
                raise self.error()
            self.at = size.end()
            found += size[0]
        return found

    def member(self, depth: int) -> str:
        name = self.take(_NAME)
        if name.startswith('"'):
            name = name[1:-1].replace('""', '"')
        self.literal(" ")
        return f"{quote(name)} {self.type(depth + 1)}"

    def listed(self, item: Callable[[], str]) -> str:
        self.literal("(")
        found = [item()]
        while self.text.startswith(",", self.at):
            self.literal(",")
            self.spaces()
            found.append(item())
        self.literal(")")
        return ", ".join(found)

    def literal(self, text: str) -> None:
        if not self.text.startswith(text, self.at):
            raise self.error()
        self.at += len(text)

    def spaces(self) -> None:
        while self.text.startswith(" ", self.at):
            self.at += 1

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.error()
        self.at = found.end()
        return found[0]


@dataclass(frozen=True, slots=True)
class Portable:
    """How a value is written: its type, and the SQL expression that converts it."""

    type: str
    expression: str


class Rewriting:
    """Rewrites values of nested types member by member. This one only names the members of structs that have no names.

    As objects of JSON, the members of `row(1, 2)` would all have the same, empty name, of which readers keep one.
    """

    __slots__ = ()

    def value(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        """Return how to write a value, given as SQL. `depth` counts the lambdas around it."""
        match kind.id:
            case "list" | "array":
                return self._list(value, kind, depth)
            case "struct" | "tuple":  # DuckDB 2 calls a struct without names a tuple
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
        return Portable(kind, value)

    def _enum(self, value: str, kind: "DuckDBPyType") -> Portable:
        return Portable(str(kind), value)

    def _list(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        item = f"item_{depth}"
        made = self.value(item, children(kind)[0][1], depth + 1)
        if made.expression == item:
            return Portable(f"{made.type}[]", value)
        return Portable(f"{made.type}[]", f"list_transform({value}, lambda {item}: {made.expression})")

    def _struct(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        names = [name for name, _child in children(kind)]
        paths = [
            f"struct_extract({value}, {quote_text(name)})" if name else f"struct_extract_at({value}, {number})"
            for number, name in enumerate(names, start=1)
        ]
        made = [self.value(path, child, depth) for path, (_name, child) in zip(paths, children(kind), strict=True)]
        labels = [name or f"_{number}" for number, name in enumerate(names, start=1)]
        as_it_is = all(names) and [member.expression for member in made] == paths
        return packed(f"{value} is null", labels, made, value if as_it_is else None)

    def _map(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        entry = f"item_{depth}"
        paths = [f"struct_extract({entry}, 'key')", f"struct_extract({entry}, 'value')"]
        made = [self.value(path, child, depth + 1) for path, (_n, child) in zip(paths, children(kind), strict=True)]
        target = f"MAP({made[0].type}, {made[1].type})"
        if [member.expression for member in made] == paths:
            return Portable(target, value)
        pack = f"struct_pack(key := {made[0].expression}, value := {made[1].expression})"
        entries = f"list_transform(map_entries({value}), lambda {entry}: {pack})"
        return Portable(target, f"case when {value} is null then null else map_from_entries({entries}) end")

    def _union(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        if all(self.value("m", child, depth).expression == "m" for _name, child in children(kind)[1:]):
            return Portable(str(kind), value)
        return self._as_struct(value, kind, depth)

    def _as_struct(self, value: str, kind: "DuckDBPyType", depth: int) -> Portable:
        members = children(kind)[1:]  # the first is DuckDB's own tag
        names = [name for name, _child in members]
        made = [self.value(f"union_extract({value}, {quote_text(name)})", child, depth) for name, child in members]
        tag = "tag"
        while tag in {name.lower() for name in names}:
            tag += "_"
        tag_value = Portable("VARCHAR", f"cast(union_tag({value}) as VARCHAR)")
        return packed(f"union_tag({value}) is null", [tag, *names], [tag_value, *made])


def children(kind: "DuckDBPyType") -> "list[tuple[str, DuckDBPyType]]":
    """Return the members of a nested type with their names."""
    return cast("list[tuple[str, DuckDBPyType]]", kind.children)


def packed(absent: str, names: list[str], made: list[Portable], as_it_is: str | None = None) -> Portable:
    """Return the STRUCT of converted members, or the original if no member changes."""
    named = list(zip(names, made, strict=True))
    target = f"STRUCT({', '.join(f'{quote(name)} {member.type}' for name, member in named)})"
    if as_it_is is not None:
        return Portable(target, as_it_is)
    members = ", ".join(f"{quote(name)} := {member.expression}" for name, member in named)
    return Portable(target, f"case when {absent} then null else struct_pack({members}) end")
