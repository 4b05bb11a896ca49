"""Making a clean copy of a CSV file: in UTF-8, with one kind of line end, without its malformed rows."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from analyst.errors import SourceError
from functions.extract.csv.dialect import Dialect, broken_end, on_broken_bytes
from functions.extract.csv.records import Record
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened


def mend(path: Path, compression: Compression, dialect: Dialect, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the well-formed records of a file to `into`, as plain UTF-8 with line feeds.

    Raises:
        SourceError: a row is malformed and is not to be set aside (`collect`); it names file, line and reason.
    """
    rejected = Rejected()
    with _decoded(path, compression, dialect, name) as text, into.open("w", encoding="utf-8", newline="") as copy:
        for number, record in enumerate(_records(text, dialect)):
            is_header = number == 0 and dialect.header
            problem = record.problem or (None if is_header else _raggedness(record, dialect))
            if problem is None:
                copy.write(record.text + "\n")
            elif collect:
                rejected += Rejected(1, (f"{name}:{record.line}: {problem}",))
            else:
                raise SourceError(f"{name}:{record.line}: {problem}")
    return rejected


def lines_of(
    path: Path, compression: Compression, dialect: Dialect, rows: frozenset[int], *, name: str
) -> dict[int, int]:
    """Find the lines on which some rows, counted from 1, begin."""
    lines: dict[int, int] = {}
    with _decoded(path, compression, dialect, name) as text:
        for row, record in enumerate(_records(text, dialect), start=0 if dialect.header else 1):
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


def _records(text: TextIO, dialect: Dialect) -> Iterator[Record]:
    """Read the records, but for empty lines where they mean nothing: before the header, and among several columns."""
    begun = False
    for record in dialect.grammar.records(text):
        begun = begun or bool(record.text)
        if record.text or (begun and len(dialect.columns) == 1):
            yield record


def _raggedness(record: Record, dialect: Dialect) -> str | None:
    """Tell what is wrong with the number of values; delimiters may stand over at the end of a line."""
    found, width = len(record.values), len(dialect.columns)
    over = found - width
    if over == 0 or (over > 0 and record.text.endswith(dialect.delimiter * over)):
        return None
    values = "1 value" if found == 1 else f"{found} values"
    return f"has {values} where the header has {width}"
