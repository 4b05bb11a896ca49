"""Validation of DuckDB type names from outside before they are used in SQL. The server uses it, too."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from da.sql import quote

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
