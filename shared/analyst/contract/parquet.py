"""Writing parquet so that equal content produces equal bytes, and reading a file's metadata.

With several threads, DuckDB's COPY writes different bytes from run to run, so ours uses one, which takes less processor
time in all; several tables are written in parallel instead. A row group ends after a number of rows or bytes, whichever
comes first, so wide rows fit into memory. DuckDB accepts the bound in bytes only if it need not preserve the order of
rows; one thread preserves it anyway (`tests/unit/contract/test_parquet.py` verifies this).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.catalog import Column
from analyst.contract.column_statistics import statistics
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type, portable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

    from da.types import Portable

MAX_FILE_BYTES = 128 * 1024 * 1024
ROW_GROUP_ROWS = 100_000
KEYED_GROUP_ROWS = 25_000
"""Rows of a row group of a keyed table: DuckDB ends a file only between row groups, and its files are small."""

_ROW_GROUP_BYTES = 32 * 1024 * 1024
# compared with level 3, zstd level 1 takes 13 % less processor time for a whole file, which gets 3 to 5 % larger
_FORMAT = "format parquet, compression zstd, compression_level 1"
_ENDED_AT = MAX_FILE_BYTES - _ROW_GROUP_BYTES - 4 * 1024 * 1024
"""Bytes at which a file is ended: the row group that exceeds them still fits."""


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One local parquet file.

    `stats` is the value of `_files.stats`; see `analyst.contract.column_statistics`. `partition` names the part of the table, if
    the table has parts.
    """

    path: Path
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[Column, ...]
    stats: str
    partition: str | None = None


def write(
    con: "DuckDBPyConnection",
    query: str,
    into: Path,
    *,
    is_portable: bool = False,
    file_bytes: int = _ENDED_AT,
    group_rows: int = ROW_GROUP_ROWS,
) -> list[Path]:
    """Write the rows of a query, in their order, to parquet files of at most 128 MB in an empty folder.

    A file ends after the row group that brings it to `file_bytes`.

    An empty result is one file without rows, which has the columns. Types become portable ones, unless the query
    `is_portable` already. The query runs once; if its rows come from several files or a join and their order matters, it
    needs an `order by`.

    Raises:
        SourceError: a value does not fit its portable type, column names are ambiguous, or the query fails.
        UnavailableError: memory or disk space is exhausted.
    """
    with raised_as(SourceError), _one_thread(con):
        select = query if is_portable else portable_select(con, query)
        pieces = [
            piece for part in _copy(con, select, into / "parts", file_bytes, group_rows) for piece in _cut(con, part)
        ]
    paths = [piece.rename(into / f"{number:05}.parquet") for number, piece in enumerate(pieces)]
    (into / "parts").rmdir()
    return paths


def portable_select(
    con: "DuckDBPyConnection", query: str, written: "Callable[[str, DuckDBPyType], Portable]" = portable
) -> str:
    """Wrap a query so that every column has a portable type. `written` returns how a column of a type is written.

    Raises:
        SourceError: two columns have the same name without regard to case, or a type can't be written.
    """
    return f"select {portable_columns(con, query, written)} from ({query}\n)"


def portable_columns(
    con: "DuckDBPyConnection", query: str, written: "Callable[[str, DuckDBPyType], Portable]" = portable
) -> str:
    """Return the columns of a query, separated by commas, each with a portable type, as `portable_select` takes them.

    Raises:
        SourceError: two columns have the same name without regard to case, or a type can't be written.
    """
    _check_names([str(row[0]) for row in con.execute(f"describe {query}").fetchall()])
    described = con.execute(f"select * from ({query}\n) limit 0").description
    return ", ".join(f"{written(name, kind).expression} as {quote(name)}" for name, kind, *_ in described)


def _check_names(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise SourceError(f"the columns {seen[name.lower()]!r} and {name!r} have the same name; rename one of them")
        seen[name.lower()] = name


@contextmanager
def _one_thread(con: "DuckDBPyConnection") -> Iterator[None]:
    import duckdb

    asked = "select current_setting('threads'), current_setting('preserve_insertion_order')"
    threads, ordered = con.execute(asked).fetchall()[0]
    con.execute("set threads = 1")
    again = f"set preserve_insertion_order = {str(ordered).lower()}; set threads = {threads}"
    try:
        yield
    except BaseException:
        with suppress(
            duckdb.FatalException
        ):  # after an internal error, whose message is the one to show, nothing works
            con.execute(again)
        raise
    con.execute(again)


def _copy(con: "DuckDBPyConnection", select: str, folder: Path, file_bytes: int, group_rows: int) -> list[Path]:
    con.execute("set preserve_insertion_order = false")
    con.execute(copy_statement(select, folder, file_bytes, group_rows))
    return copied(folder)


def copy_statement(select: str, folder: Path, file_bytes: int = _ENDED_AT, group_rows: int = ROW_GROUP_ROWS) -> str:
    """Return the statement that writes the rows of a query of portable types, for a connection with one thread.

    It also needs `preserve_insertion_order = false`. `copied` lists the files, which `pieces` makes small enough.
    """
    return (
        f"copy ({select}) to {quote_text(str(folder))} ({_FORMAT}, row_group_size {group_rows}, "
        f"row_group_size_bytes {_ROW_GROUP_BYTES}, file_size_bytes {min(file_bytes, _ENDED_AT)}, "
        "filename_pattern 'data_{i}', write_empty_file true)"
    )


def copied(folder: Path) -> list[Path]:
    """List the files of `copy_statement` in the order of their rows."""
    return sorted(folder.iterdir(), key=lambda path: int(path.stem.removeprefix("data_")))


def pieces(con: "DuckDBPyConnection", paths: Iterable[Path]) -> list[Path]:
    """Cut files that are larger than 128 MB."""
    with raised_as(SourceError), _one_thread(con):
        return [piece for path in paths for piece in _cut(con, path)]


def _cut(con: "DuckDBPyConnection", path: Path) -> list[Path]:
    """Halve a file until its pieces are small enough; with rows of many kilobytes, DuckDB exceeds the size."""
    rows = _count(con, path)
    if path.stat().st_size <= MAX_FILE_BYTES or rows < 2:  # noqa: PLR2004
        return [path]
    con.execute("set preserve_insertion_order = true")
    halves = [path.with_name(f"{path.stem}-{number}.parquet") for number in range(2)]
    for half, (limit, offset) in zip(halves, ((rows // 2, 0), (rows - rows // 2, rows // 2)), strict=True):
        scan = f"from read_parquet({quote_text(str(path))}, hive_partitioning = false) limit {limit} offset {offset}"
        con.execute(f"copy ({scan}) to {quote_text(str(half))} ({_FORMAT}, row_group_size {ROW_GROUP_ROWS})")
    path.unlink()
    return [piece for half in halves for piece in _cut(con, half)]


def _count(con: "DuckDBPyConnection", path: Path) -> int:
    row = con.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchone()
    return int(row[0]) if row else 0


def inspect(con: "DuckDBPyConnection", path: Path, columns: Sequence[Column] | None = None) -> ParquetFile:
    """Read the metadata of a parquet file and hash it; its `columns` are not read if they are given.

    Types are spelled as `types.checked_type` spells them, so they can be compared with those of published files.

    Raises:
        SourceError: it is not a parquet file.
    """
    with raised_as(SourceError, f"{path.name} can't be read as parquet: ", hide=path):
        rows = _count(con, path)
        if columns is None:
            described = con.execute(
                f"describe from read_parquet({quote_text(str(path))}, hive_partitioning = false)"
            ).fetchall()
            columns = [Column(name=name, type=checked_type(kind)) for name, kind, *_ in described]
        stats = statistics(con, path, columns)
    return ParquetFile(path, rows, path.stat().st_size, sha256_of(path), tuple(columns), stats)


def sha256_of(path: Path) -> str:
    """Hash a file: SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
