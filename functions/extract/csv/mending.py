"""Making a clean copy of a CSV file: in UTF-8, with one kind of line end, without its malformed rows."""

import io
from pathlib import Path

from analyst.errors import SourceError
from functions.extract.csv.dialect import Dialect
from functions.extract.csv.records import Record
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened


def mend(path: Path, compression: Compression, dialect: Dialect, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the well-formed records of a file to `into`, as plain UTF-8 with line feeds.

    Raises:
        SourceError: a row is malformed and is not to be set aside (`collect`); it names file, line and reason.
    """
    rejected, width, header = Rejected(), len(dialect.columns), dialect.header
    with opened(path, compression, name) as file, into.open("w", encoding="utf-8", newline="") as copy:
        text = io.TextIOWrapper(file, dialect.encoding, errors="surrogateescape", newline="")
        for record in dialect.grammar.records(text):
            problem = record.problem or _raggedness(record, width, header=header)
            header = header and not record.text
            if problem is None:
                copy.write(record.text + "\n")
            elif collect:
                rejected += Rejected(1, (f"{name}:{record.line}: {problem}",))
            else:
                raise SourceError(f"{name}:{record.line}: {problem}")
    return rejected


def _raggedness(record: Record, width: int, *, header: bool) -> str | None:
    found = len(record.values)
    if found == width or not record.text or header:
        return None
    values = "1 value" if found == 1 else f"{found} values"
    return f"has {values} where the header has {width}"


def lines_of(
    path: Path, compression: Compression, dialect: Dialect, rows: frozenset[int], *, name: str
) -> dict[int, int]:
    """Find the lines on which some rows, counted from 1, begin."""
    lines: dict[int, int] = {}
    with opened(path, compression, name) as file:
        text = io.TextIOWrapper(file, dialect.encoding, errors="surrogateescape", newline="")
        row = 0 if dialect.header else 1
        for record in dialect.grammar.records(text):
            if not record.text and len(dialect.columns) > 1:
                continue
            if row in rows:
                lines[row] = record.line
            if len(lines) == len(rows):
                break
            row += 1
    return lines
