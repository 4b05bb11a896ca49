"""Files that end at rows chosen by their content, so that full refreshes of almost equal data share most of them.

A file normally ends after a fixed number of bytes. One inserted row then moves every later row, and all later files
change. Here a hash of the row decides whether a file may end after it (content-defined chunking, as in rsync and
restic), so the files after a change begin and end at the same rows as before, have the same bytes, and keep their
names.

The rows are read and written once more for this. That costs too much for every table, so the registry asks for it; see
DESIGN, "Decisions with measurements". The hash is DuckDB's own: a version that changes it cuts each table again, once.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import parquet
from analyst.contract.parquet import ParquetFile
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FILE_BYTES = 16 << 20
_FEWEST, _MOST = 4, 4
"""A file has at least a fourth of the usual number of rows, and at most four times as many."""

_MARK = "stable"


@dataclass(frozen=True, slots=True)
class _Piece:
    """The rows from `start` to before `end` of one file."""

    path: Path
    start: int
    end: int


def cut(
    con: "DuckDBPyConnection", files: Sequence[ParquetFile], into: Path, *, file_bytes: int = FILE_BYTES
) -> list[Path]:
    """Write the rows of files, in order, to an empty folder, in files of about `file_bytes` that end by content.

    Raises:
        SourceError: a file can't be read.
        UnavailableError: memory or disk space is exhausted.
    """
    rows = sum(file.rows for file in files)
    if not rows:
        return [file.path for file in files]
    usual = _usual_rows(sum(file.size_bytes for file in files) / rows, file_bytes)
    con.execute("set threads = 1")
    paths: list[Path] = []
    for number, (start, end) in enumerate(pairwise([0, *_ends(_candidates(con, files, usual), rows, usual)])):
        home = into / str(number)
        home.mkdir()
        query = " union all by name ".join(_scan(piece) for piece in _pieces(files, start, end))
        # DuckDB ends a row group after a whole vector, and vectors of a filtered scan depend on the rows before `start`;
        # those of a table that was filled by one thread do not
        with raised_as(SourceError):
            con.execute(f"create or replace temp table file as {query}")
        paths += parquet.write(con, "from file", home, is_portable=True)
    con.execute("drop table file")
    return paths


def marked(file: ParquetFile) -> ParquetFile:
    """Record in the statistics of a file that it ends by content, so that a sweep does not join it with others."""
    stats = json.loads(file.stats or "{}") | {_MARK: True}
    return replace(file, stats=json.dumps(stats, ensure_ascii=False, separators=(",", ":")))


def is_marked(stats: str | None) -> bool:
    """Return whether a file with these statistics ends by content."""
    return f'"{_MARK}":true' in (stats or "") and json.loads(stats or "{}").get(_MARK) is True


def _usual_rows(row_bytes: float, file_bytes: int) -> int:
    """Return the usual number of rows of a file: a power of two, so that it stays as rows come, go and change a little."""
    return 1 << max(int(file_bytes / row_bytes).bit_length() - 1, 0)


def _candidates(con: "DuckDBPyConnection", files: Sequence[ParquetFile], usual: int) -> list[int]:
    """Return the numbers of the rows after which a file may end: about one of every `usual`."""
    found: list[int] = []
    before = 0
    for file in files:
        columns = ", ".join(quote(column.name) for column in file.columns)
        query = f"""
            select file_row_number from read_parquet({quote_text(str(file.path))}, file_row_number = true, hive_partitioning = false)
            where hash({columns}) % {usual} = 0 order by 1
        """
        with raised_as(SourceError):
            found += [before + number + 1 for (number,) in con.execute(query).fetchall()]
        before += file.rows
    return found


def _ends(candidates: Sequence[int], rows: int, usual: int) -> Iterator[int]:
    """Choose the ends of files: the first candidate after the fewest rows, or the most rows if there is none.

    Two sequences of rows that differ at one place have the same candidates after it. As soon as they choose one in
    common, all later ones are the same, whatever was skipped before.
    """
    start, fewest, most = 0, usual // _FEWEST, usual * _MOST
    for candidate in candidates:
        while candidate - start > most:
            start += most
            yield start
        if candidate - start > fewest and candidate < rows:
            start = candidate
            yield start
    while rows - start > most:
        start += most
        yield start
    yield rows


def _pieces(files: Sequence[ParquetFile], start: int, end: int) -> Iterator[_Piece]:
    """Return where the rows from `start` to before `end` of all files are."""
    before = 0
    for file in files:
        first, last = max(start - before, 0), min(end - before, file.rows)
        if first < last:
            yield _Piece(file.path, first, last)
        before += file.rows


def _scan(piece: _Piece) -> str:
    # DuckDB skips the row groups that lie outside of a condition on file_row_number
    return f"""
        select * exclude (file_row_number)
        from read_parquet({quote_text(str(piece.path))}, file_row_number = true, hive_partitioning = false)
        where file_row_number >= {piece.start} and file_row_number < {piece.end}
    """
