"""The values of a JSON text, read strictly and slowly, with the line and the problem of every malformed one.

DuckDB reads the files. This module finds what is wrong where DuckDB failed: its messages count records instead of lines.
"""

import codecs
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from analyst.connectors.files.columns.enforcement import Rejected
from analyst.connectors.files.formats.compression import Compression, opened
from analyst.connectors.files.formats.csv_records import MAX_RECORD_BYTES, TOO_LONG
from analyst.errors import SourceError

_BLOCK = 1 << 20
_SHOWN = 20
_BLANKS = " \t\r\n"


def mend(path: Path, compression: Compression, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the lines of a file that are JSON objects to `into`.

    Raises:
        SourceError: a line is not one, unless those are set aside (`collect`); or values extend over several lines.
    """
    rejected = Rejected()
    if _is_spread(path, compression, name):
        raise SourceError(
            f"{name}:1: is not a JSON value by itself: the object continues on the next line; write each object on one line, "
            "for example with jq -c ., or all of them as one array"
        )
    with opened(path, compression, name) as file, into.open("wb") as copy:
        for number, line in _lines(file):
            problem = _problem(line)
            if problem is None:
                copy.write(line + b"\n")
            elif collect:
                rejected += Rejected(1, (f"{name}:{number}: {problem}",))
            else:
                raise SourceError(f"{name}:{number}: {problem}")
    return rejected


def _is_spread(path: Path, compression: Compression, name: str) -> bool:
    """Return whether the first value of a file is an object that continues on the next line."""
    with opened(path, compression, name) as file:
        start = file.read(MAX_RECORD_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    first = start.partition("\n")[0].strip()
    try:
        value, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return first in ("{", "[") and len(start) >= MAX_RECORD_BYTES // 4
    return isinstance(value, dict) and "\n" in start[:end].strip()


def check_array(path: Path, compression: Compression, name: str) -> None:
    """Check that a file is one array of JSON objects and nothing else.

    Raises:
        SourceError: it is not; the message names the line.
    """
    with opened(path, compression, name) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        array = _Array(text)
        try:
            problem = array.problem()
        except UnicodeDecodeError as error:
            problem = f"contains the byte 0x{error.object[error.start]:02x}, which is not valid UTF-8"
    if problem is not None:
        raise SourceError(f"{name}:{array.line}: {problem}")


class _Array:
    """A JSON array, of which one element at a time is in memory. `line` is that of the next value."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._decoder = json.JSONDecoder(object_pairs_hook=_without_doubles)
        self._rest, self._position = "", 0
        self.line = 1

    def problem(self) -> str | None:
        """Return what is wrong with the array."""
        number, end = 0, self._next()
        self._position += 1
        while end != "]":
            if number == 0 and self._next() == "]":
                break
            number += 1
            if problem := self._element(number):
                return problem
            end = self._next()
            if end not in (",", "]"):
                return (
                    "the array is never closed; the file may be truncated" if not end else self._unexpected("a comma")
                )
            self._position += 1
        self._position += end != "]"
        return "the array ends, but text follows; write one array, or one object on each line" if self._next() else None

    def _next(self) -> str:
        """Skip blanks; return the next character without reading it, or nothing at the end."""
        while True:
            while self._position < len(self._rest) and self._rest[self._position] in _BLANKS:
                self.line += self._rest[self._position] == "\n"
                self._position += 1
            if self._position < len(self._rest):
                return self._rest[self._position]
            self._rest, self._position = self._text.read(_BLOCK), 0
            if not self._rest:
                return ""

    def _element(self, number: int) -> str | None:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._rest, self._position)
                json.dumps(value, ensure_ascii=False).encode()
            except json.JSONDecodeError as error:
                size = len(self._rest) - self._position
                more = self._text.read(max(_BLOCK, size)) if size <= MAX_RECORD_BYTES else ""
                if more:
                    self._rest, self._position = self._rest[self._position :] + more, 0
                    continue
                self.line += self._rest.count("\n", self._position, error.pos)
                if size > MAX_RECORD_BYTES:
                    return TOO_LONG
                self._position = error.pos
                return self._unexpected(f"{error.msg[0].lower()}{error.msg[1:]}".removeprefix("expecting "))
            except UnicodeEncodeError:
                return "contains an unpaired surrogate"
            except (ValueError, RecursionError) as error:
                return f"can't be read: {error}"
            if not isinstance(value, dict):
                return f"element {number} of the array is not a JSON object"
            self.line += self._rest.count("\n", self._position, end)
            self._position = end
            return None

    def _unexpected(self, expected: str) -> str:
        there = self._rest[self._position : self._position + _SHOWN].partition("\n")[0].rstrip()
        return f"is not JSON: expecting {expected}" + (f", found {there!r}" if there else "")


def check_encoding(start: bytes, name: str) -> None:
    """Check that the first bytes of a file can be UTF-8, the only encoding of JSON.

    Raises:
        SourceError: they are UTF-16 or UTF-32.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)) or b"\x00" in start[:4]:
        raise SourceError(f"{name} looks like UTF-16 or UTF-32, and JSON is read as UTF-8; convert it to UTF-8")


def lines_of(
    path: Path, compression: Compression, rows: frozenset[int], *, is_array: bool, name: str
) -> dict[int, int]:
    """Find the lines of rows, counted from 1; in an array, a row is its own line number."""
    if is_array:
        return {row: row for row in rows}
    lines: dict[int, int] = {}
    with opened(path, compression, name) as file:
        for row, (number, _line) in enumerate(_lines(file), start=1):
            if row in rows:
                lines[row] = number
            if len(lines) == len(rows):
                break
    return lines


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers; of a line that is too long, only its first bytes."""
    number = 0
    while line := file.readline(MAX_RECORD_BYTES + 1):
        number += 1
        piece = line
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(MAX_RECORD_BYTES + 1)
        plain = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if plain:
            yield number, plain


def _problem(line: bytes) -> str | None:
    if len(line) > MAX_RECORD_BYTES:
        return TOO_LONG
    try:
        value = json.loads(line, object_pairs_hook=_without_doubles)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"contains the byte 0x{line[error.start]:02x}, which is not valid UTF-8"
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"can't be read: {error}"
    return None if isinstance(value, dict) else "is not a JSON object"


def _without_doubles(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        counts = Counter(name for name, _value in members)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"an object has the member {twice[:80]!r} twice")
    return found
