"""The names of DuckDB types, such as `STRUCT(a INTEGER, "b c" VARCHAR[])`, parsed without DuckDB."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"""\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|[A-Za-z_][A-Za-z0-9_]*|\d+|[(),\[\]])""")


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type: its name in upper case without what is in parentheses, `LIST` for a list of any length.

    `members` are those of a nested type by name: `key` and `value` of a MAP, `element` of a LIST. `digits` are the
    precision and the scale of a DECIMAL.
    """

    name: str
    members: tuple[tuple[str, "TypeName"], ...] = ()
    digits: tuple[str, ...] = ()


def parse_type(text: str) -> TypeName:
    """Return a type.

    Raises:
        ValueError: the text is not the name of a type, or is nested too deeply.
    """
    parser = _Parser(text)
    try:
        found = parser.type()
    except RecursionError:
        raise parser.error() from None
    if text[parser.at :].strip():
        raise parser.error()
    return found


@dataclass(slots=True)
class _Parser:
    """Reads the text from left to right; `at` is the place of the next token."""

    text: str
    at: int = 0

    def error(self) -> ValueError:
        return ValueError(f"{self.text[:100]!r} is not a type")

    def type(self) -> TypeName:
        name = self._take().upper()
        match name:
            case "STRUCT":
                found = TypeName(name, tuple(self._fields()))
            case "MAP":
                self._expect("(")
                key = self.type()
                self._expect(",")
                found = TypeName(name, (("key", key), ("value", self.type())))
                self._expect(")")
            case "DECIMAL" | "NUMERIC":
                found = TypeName("DECIMAL", digits=self._digits())
            case "ENUM":
                self._skip_texts()
                found = TypeName(name)
            case _:
                found = TypeName(self._words(name))
        while self._peek() == "[":
            self._take()
            if self._take() != "]":  # a list of a fixed length
                self._expect("]")
            found = TypeName("LIST", (("element", found),))
        return found

    def _words(self, name: str) -> str:
        """Return a name with the words that belong to it, such as `TIMESTAMP WITH TIME ZONE`."""
        while (following := self._peek() or "").isalpha():
            name = f"{name} {following.upper()}"
            self._take()
        return name

    def _digits(self) -> tuple[str, str]:
        self._expect("(")
        precision = self._take()
        self._expect(",")
        scale = self._take()
        self._expect(")")
        return precision, scale

    def _skip_texts(self) -> None:
        self._expect("(")
        while self._take() != ")":
            pass

    def _fields(self) -> Iterable[tuple[str, TypeName]]:
        self._expect("(")
        while True:
            name = self._take()
            name = name[1:-1].replace('""', '"') if name.startswith('"') else name
            yield name, self.type()
            if self._take() == ")":
                return

    def _peek(self) -> str | None:
        found = _TOKEN.match(self.text, self.at)
        return None if found is None else found[1]

    def _take(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise self.error()
        self.at = found.end()
        return found[1]

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self.error()
