"""The records of a CSV text, read strictly (RFC 4180) and slowly, with the line and the problem of every malformed one.

DuckDB reads the files. This module reads the header, and finds what is wrong where DuckDB failed: its line numbers count
records, it has none for mixed line ends, and what it skips after a stray quote differs from read to read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""A longer record is malformed, so that memory and time stay bounded."""

_ENDS = ("\r", "\n")
TOO_LONG = f"is longer than {MAX_RECORD_BYTES >> 20} MiB"
"""The reason why a longer record is malformed."""

BACKSLASHES = "if backslashes escape quotes, set escape to \\"
"""The remedy for quotes that follow a backslash."""

SET_ENCODING = (
    "set encoding to that of the file, such as windows-1250 (Central Europe) or windows-1252 (Western Europe)"
)
"""The remedy for bytes that can't be decoded."""

TWO_READINGS = "is ambiguous: there is a delimiter between quotes inside unquoted values; quote these values, or set stray_quotes to literal"


@dataclass(frozen=True, slots=True)
class Record:
    """A record: the number of its first line, its text without the line end, and its values, or why it is malformed.

    `blanks` are the positions of values that are empty texts in quotes.
    """

    line: int
    text: str
    values: tuple[str, ...] = ()
    problem: str | None = None
    blanks: frozenset[int] = frozenset()


class _Lines:
    """The lines of a text with their ends; some can be given back. `number` is that of the next line."""

    def __init__(self, text: TextIO, limit: int) -> None:
        self._text = text
        self._limit = limit
        self._returned: list[str] = []
        self._end: str | None = None
        self.number = 1

    def next(self) -> str:
        line = self._returned.pop() if self._returned else self._text.readline(self._limit + 1)
        if self._end is None:  # a lone carriage return ends lines only in a file where it ends the first
            self._end = "\r" if line.endswith("\r") else "\n"
        self.number += line.endswith(self._end)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._returned.extend(reversed(lines))
        self.number -= sum(line.endswith(self._end or "\n") for line in lines)

    def skip_line(self) -> None:
        """Skip the rest of a line that was too long."""
        while (piece := self.next()) and not piece.endswith(_ENDS):
            pass


class Grammar:
    """How values are separated. An empty `quote` means that nothing is quoted; `limit` is in bytes.

    The first lines (`skip`) and those that start with `comment` are ignored. A quote inside an unquoted value stands for
    itself; with a delimiter between two of them, the row can be read in two ways, which is malformed unless quotes are
    `literal`.
    """

    def __init__(
        self,
        delimiter: str = ",",
        quote: str = '"',
        escape: str | None = None,
        *,
        limit: int = MAX_RECORD_BYTES,
        skip: int = 0,
        comment: str | None = None,
        literal: bool = False,
    ) -> None:
        self.delimiter, self.quote, self.escape = delimiter, quote, escape or quote
        self.limit, self.skip, self.comment, self.literal = limit, skip, comment, literal
        space, spaces = ("", "") if delimiter == " " else (" ?", " *")  # as DuckDB allows them around quotes
        q, e = re.escape(self.quote or '"'), re.escape(self.escape or '"')
        self._opening = re.compile(space + q)
        self._inside = re.compile(
            f"[^{q}]*(?:{q}{q}[^{q}]*)*" if q == e else f"[^{q}{e}]*(?:{e}.[^{q}{e}]*)*", re.DOTALL
        )
        self._closed = re.compile(rf"{spaces}({re.escape(delimiter)}|\r?\n?$)")

    def records(self, text: TextIO) -> Iterator[Record]:
        """Read all records of a text that was opened with `newline=""` and `errors="surrogateescape"`.

        A malformed record ends with its first line, so one stray quote costs one line.
        """
        lines = _Lines(text, self.limit)
        for _ in range(self.skip):
            lines.skip_line()
        while True:
            number, line = lines.number, lines.next()
            if not line:
                return
            if self.comment and line.startswith(self.comment):
                if not line.endswith(_ENDS):
                    lines.skip_line()
            elif len(line) > self.limit and not line.endswith(_ENDS):
                lines.skip_line()
                yield Record(number, line[:80], problem=TOO_LONG)
            elif not self.quote or self.quote not in line:
                plain = line.rstrip("\r\n")
                yield self._decoded(Record(number, plain, tuple(plain.split(self.delimiter))))
            else:
                yield self._decoded(self._quoted(number, line, lines))

    def _quoted(self, number: int, first: str, lines: _Lines) -> Record:
        used, values, position = [first], list[str](), 0
        blanks, strays, problem = set[int](), 0, None
        while position >= 0 and problem is None:
            opening = self._opening.match(used[-1], position)
            if opening is None:
                value, position = self._plain(used[-1], position)
                strays += self.quote in value
                problem = TWO_READINGS if strays > 1 and not self.literal else None
            else:
                value, problem, position = self._value(used, opening.end(), lines)
                if not value:
                    blanks.add(len(values))
            values.append(value)
        if problem:
            lines.give_back(used[1:])
            return Record(number, first.rstrip("\r\n"), problem=problem)
        text = "".join(used)
        return Record(number, text.removesuffix("\n").removesuffix("\r"), tuple(values), blanks=frozenset(blanks))

    def _plain(self, line: str, position: int) -> tuple[str, int]:
        """Read an unquoted value; return it with the position after its delimiter, -1 at the end of the record."""
        end = line.find(self.delimiter, position)
        return (line[position:].rstrip("\r\n"), -1) if end < 0 else (line[position:end], end + len(self.delimiter))

    def _value(self, used: list[str], position: int, lines: _Lines) -> tuple[str, str | None, int]:
        """Read a quoted value from after its opening quote, over as many lines as it takes.

        Returns the value, what is wrong with it, and the position after its delimiter, -1 at the end of the record.
        """
        pieces, size = list[str](), 0
        while (end := self._inside_end(used[-1], position)) == len(used[-1]):
            pieces.append(used[-1][position:])
            size += len(used[-1])
            following = lines.next() if size <= self.limit else ""
            if not following:
                return "", "opens a quote that is never closed", -1
            used.append(following)
            position = 0
        pieces.append(used[-1][position:end])
        closed = self._closed.match(used[-1], end + 1)
        if closed is None:
            is_escaped = self.escape == self.quote and used[-1][end - 1 : end] == "\\"
            return "", f"has text after a closing quote{f'; {BACKSLASHES}' if is_escaped else ''}", -1
        return self._unescaped("".join(pieces)), None, closed.end() if closed[1] == self.delimiter else -1

    def _inside_end(self, line: str, position: int) -> int:
        inside = self._inside.match(line, position)
        return inside.end() if inside else position

    def _unescaped(self, value: str) -> str:
        if self.escape == self.quote:
            return value.replace(self.quote * 2, self.quote)
        return re.sub(re.escape(self.escape) + "(.)", r"\1", value, flags=re.DOTALL)

    def _decoded(self, record: Record) -> Record:
        """Find bytes that could not be decoded, which appear as lone surrogates, and records that are too long in bytes."""
        if record.problem or (record.text.isascii() and len(record.text) <= self.limit):
            return record
        try:
            problem = TOO_LONG if len(record.text.encode()) > self.limit else None
        except UnicodeEncodeError as error:
            byte = ord(record.text[error.start]) & 0xFF
            problem = f"contains the byte 0x{byte:02x}, which is not valid in the encoding; {SET_ENCODING}"
        return Record(record.line, record.text[:80], problem=problem) if problem else record
