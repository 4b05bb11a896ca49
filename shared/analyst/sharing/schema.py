"""The columns of a table as a Delta schema, from the names of their DuckDB types, without DuckDB.

Source: the Delta transaction log protocol, 'Schema Serialization Format'.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from analyst.catalog import Column
from analyst.contract.delta import TYPES, needs_timestamp_ntz
from analyst.errors import InvalidInputError

_TOKEN: Final = re.compile(r'\s*("(?:[^"]|"")*"|[A-Za-z_][A-Za-z0-9_]*|\d+|[(),\[\]])')


def schema_of(columns: Iterable[Column], *, with_ntz: bool = True) -> dict[str, Any]:
    """Return the schema of columns, with their descriptions as comments.

    Without `with_ntz`, times without a zone are declared as instants in UTC, which readers of the parquet format need.

    Raises:
        InvalidInputError: a type is not one that Delta can express.
    """
    fields = [
        {
            "name": column.name,
            "type": _Parser(column.type, with_ntz=with_ntz).whole(),
            "nullable": True,
            "metadata": {"comment": column.description} if column.description else {},
        }
        for column in columns
    ]
    return {"type": "struct", "fields": fields}


def schema_text(columns: Iterable[Column], *, with_ntz: bool = True) -> str:
    """Return the schema as the text that the protocol has."""
    return json.dumps(schema_of(columns, with_ntz=with_ntz), ensure_ascii=False, separators=(",", ":"))


def has_ntz(columns: Iterable[Column]) -> bool:
    """Return whether there are times without a zone, for which readers of the delta format need a feature."""
    return needs_timestamp_ntz(schema_of(columns))


@dataclass(slots=True)
class _Parser:
    """Reads a type such as `STRUCT(a INTEGER, "b c" VARCHAR[])`; `at` is the place of the next token."""

    text: str
    with_ntz: bool
    at: int = 0

    def whole(self) -> str | dict[str, Any]:
        found = self._type()
        if self.text[self.at :].strip():
            raise self._unknown()
        return found

    def _type(self) -> str | dict[str, Any]:
        word = self._take().upper()
        found: str | dict[str, Any]
        if word == "STRUCT":
            found = {"type": "struct", "fields": list(self._fields())}
        elif word == "MAP":
            self._expect("(")
            key = self._type()
            self._expect(",")
            found = {"type": "map", "keyType": key, "valueType": self._type(), "valueContainsNull": True}
            self._expect(")")
        elif word in {"DECIMAL", "NUMERIC"}:
            self._expect("(")
            precision = self._take()
            self._expect(",")
            found = f"decimal({precision},{self._take()})"
            self._expect(")")
        else:
            while word not in TYPES or (word == "TIMESTAMP" and (self._peek() or "").upper() == "WITH"):
                following = self._peek()
                if following is None or not following.isalpha():
                    raise self._unknown()
                word = f"{word} {self._take().upper()}"
            found = TYPES[word]
            if found == "timestamp_ntz" and not self.with_ntz:
                found = "timestamp"
        while self._peek() == "[":
            self._take()
            if self._take() != "]":
                self._expect("]")
            found = {"type": "array", "elementType": found, "containsNull": True}
        return found

    def _fields(self) -> Iterable[dict[str, Any]]:
        self._expect("(")
        while True:
            name = self._take()
            name = name[1:-1].replace('""', '"') if name.startswith('"') else name
            yield {"name": name, "type": self._type(), "nullable": True, "metadata": {}}
            if self._take() == ")":
                return

    def _peek(self) -> str | None:
        found = _TOKEN.match(self.text, self.at)
        return None if found is None else found[1]

    def _take(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise self._unknown()
        self.at = found.end()
        return found[1]

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self._unknown()

    def _unknown(self) -> InvalidInputError:
        return InvalidInputError(f"the type {self.text[:200]!r} can't be shared, because Delta has no such type")
