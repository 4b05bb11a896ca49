"""Making a clean copy of a CSV file: in UTF-8, as RFC 4180 has it, without its malformed rows."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from analyst.errors import SourceError
from functions.extract.csv.dialect import Dialect, broken_end, on_broken_bytes
from functions.extract.csv.records import Record
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened

_QUOTED = re.compile(r'[,"\r\n]|^ | $')
"""What has to stand in quotes."""


def mend(path: Path, compression: Compression, dialect: Dialect, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the well-formed rows of a file to `into`: UTF-8 with commas and line feeds, below the numbers of the columns.

    Raises:
        SourceError: a row is malformed and is not to be set aside (`collect`); it names file, line and reason.
    """
    rejected = Rejected()
    width = len(dialect.columns)
    with _decoded(path, compression, dialect, name) as text, into.open("w", encoding="utf-8", newline="") as copy:
        copy.write(",".join(map(str, range(width))) + "\n")  # DuckDB takes the first line end for that of all lines
        for record, problem in _rows(text, dialect):
            if problem is None:
                copy.write(_line(record, width, dialect))
            elif collect:
                rejected += Rejected(1, (f"{name}:{record.line}: {problem}",))
            else:
                raise SourceError(f"{name}:{record.line}: {problem}")
    return rejected


def lines_of(
    path: Path, compression: Compression, dialect: Dialect, rows: frozenset[int], *, name: str
) -> dict[int, int]:
    """Find the lines on which some rows begin: they are counted from 1, without the malformed ones."""
    lines: dict[int, int] = {}
    with _decoded(path, compression, dialect, name) as text:
        sound = (record for record, problem in _rows(text, dialect) if problem is None)
        for row, record in enumerate(sound, start=1):
            if row in rows:
                lines[row] = record.line
            if len(lines) == len(rows):
                break
    return lines


@contextmanager
def _decoded(path: Path, compression: Compression, dialect: Dialect, name: str) -> Iterator[TextIO]:
    errors = on_broken_bytes(dialect.encoding)
    try:
        with (
            opened(path, compression, name) as file,
            io.TextIOWrapper(file, dialect.encoding, errors=errors, newline="") as text,
        ):
            yield text
    except UnicodeDecodeError as error:
        raise broken_end(name, dialect.encoding) from error


def _rows(text: TextIO, dialect: Dialect) -> Iterator[tuple[Record, str | None]]:
    """Read the rows, each with what is wrong with it; without empty lines where several columns give them no meaning."""
    is_single = len(dialect.columns) == 1
    for record in dialect.grammar.records(text):
        is_header = record.line < dialect.start or (record.line == dialect.start and dialect.header)
        if not is_header and (record.text or is_single):
            yield record, record.problem or _misshape(record, dialect)


def _misshape(record: Record, dialect: Dialect) -> str | None:
    """Tell what is wrong with the number of values, or whether the header stands here again."""
    found, width = len(record.values), len(dialect.columns) + dialect.trailing
    if found != width:
        values = "1 value" if found == 1 else f"{found} values"
        return f"has {values} where {'the header has' if dialect.header else 'the first row has'} {width}{dialect.hint}"
    if dialect.trailing and record.values[-1]:
        return f"has the value {record.values[-1][:80]!r} behind its last column"
    if dialect.header and width > 1 and record.values == dialect.first:
        return "repeats the header; remove it, or put the table that follows into a file of its own"
    return None


def _line(record: Record, width: int, dialect: Dialect) -> str:
    has_quotes = '"' in record.text or (dialect.grammar.quote and dialect.grammar.quote in record.text)
    if dialect.delimiter == "," and not has_quotes and len(record.values) == width:
        return record.text + "\n"
    values = (
        '"' + value.replace('"', '""') + '"' if index in record.blanks or _QUOTED.search(value) else value
        for index, value in enumerate(record.values[:width])
    )
    return ",".join(values) + "\n"
