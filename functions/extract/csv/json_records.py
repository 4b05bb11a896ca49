"""The lines of a JSON lines file, read slowly, with the line and the reason of every malformed one."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from analyst.errors import SourceError
from functions.extract.csv.records import MAX_RECORD_BYTES, TOO_LONG
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened

_BLOCK = 1 << 20
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|-?[0-9][0-9.eE+-]*', re.DOTALL)
"""A text, which may break off at the end of what was read, or a number."""

_QUOTE = ord('"')
_EXACT_LENGTH = 16
"""Characters of a number with a point, and so no more than 15 digits: any such goes through a double unharmed."""


def mend(path: Path, compression: Compression, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the lines of a file that are JSON objects to `into`.

    Raises:
        SourceError: a line is none and is not to be set aside (`collect`), with file, line and reason; or the values are
            spread over several lines.
    """
    rejected = Rejected()
    if _is_spread(path, compression, name):
        raise SourceError(
            f"{name}:1: is no JSON value by itself: the object goes on in the next line; write each object on a line of its "
            "own, for example with jq -c ., or all of them as one array"
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
    """Tell whether the first value of a file is an object that goes on in the next line."""
    with opened(path, compression, name) as file:
        start = file.read(MAX_RECORD_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    first = start.partition("\n")[0].strip()
    try:
        value, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return first in ("{", "[") and len(start) >= MAX_RECORD_BYTES // 4
    return isinstance(value, dict) and "\n" in start[:end].strip()


def mark_numbers(path: Path, compression: Compression, into: Path, *, name: str, mark: str) -> None:
    """Copy a file, with each number that a double does not hold exactly as a text: `mark` and its digits.

    DuckDB takes every number with a point for a double, and rounds it before anybody could look at it.
    """
    with opened(path, compression, name) as file, into.open("wb") as copy:
        rest = b""
        while block := file.read(_BLOCK):
            rest = _marked(rest + block, copy, mark.encode())
        _marked(rest + b"\n", copy, mark.encode())


def _marked(data: bytes, copy: BinaryIO, mark: bytes) -> bytes:
    """Write data up to the last token that may go on behind it; give what is left."""
    done = 0
    for found in _TOKEN.finditer(data):
        if found.end() == len(data):
            copy.write(data[done : found.start()])
            return data[found.start() :]
        token = found[0]
        if token[0] != _QUOTE and not _is_exact(token):
            copy.write(data[done : found.start()] + b'"' + mark + token + b'"')
            done = found.end()
    copy.write(data[done:])
    return b""


def _is_exact(number: bytes) -> bool:
    """Tell whether a number is whole, which DuckDB reads exactly, or the shortest form of a double."""
    text = number.decode()
    if text.lstrip("-").isdigit() or (len(text) <= _EXACT_LENGTH and "e" not in text.lower()):
        return True
    try:
        return Decimal(repr(float(text))) == Decimal(text)
    except (ValueError, ArithmeticError):
        return True  # it is no number, which whoever reads it will say


def lines_of(
    path: Path, compression: Compression, rows: frozenset[int], *, is_array: bool, name: str
) -> dict[int, int]:
    """Find the lines on which some rows, counted from 1, stand; in an array a row is its own number."""
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
    """Give the lines that are not blank, with their numbers; of one that is too long only the first bytes."""
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
        return f"holds the byte 0x{line[error.start]:02x}, which is not in the encoding"
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    except json.JSONDecodeError as error:
        return f"is no JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"can't be read: {error}"
    return None if isinstance(value, dict) else "is no JSON object"


def _without_doubles(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _value in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {twice!r} stands twice in an object")
    return found
