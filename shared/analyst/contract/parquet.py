"""Writing parquet so that equal content is equal bytes, and reading what a file says of itself.

DuckDB's COPY gives differing bytes from run to run when it uses several threads, so ours uses one; it costs less
processor time in all. Several tables are written side by side instead.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.catalog import Column
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import portable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROW_GROUP_ROWS = 100_000
MAX_FILE_BYTES = 128 * 1024 * 1024
_AIM_BYTES = 96 * 1024 * 1024
_SAMPLE_ROWS = 20_000
_OPTIONS = f"format parquet, compression zstd, row_group_size {ROW_GROUP_ROWS}"


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One local parquet file. `stats` is what goes into `_files.stats`: the type and number of nulls of each column."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[Column, ...]
    stats: str


def write(con: "DuckDBPyConnection", query: str, into: Path) -> list[Path]:
    """Write the rows of a query, in their order, to parquet files of at most 128 MB in an empty folder.

    An empty result gives one file without rows, which carries the columns. Types become portable ones.

    Raises:
        SourceError: a value does not fit its portable type, or the query can't be run.
    """
    select = portable_select(con, query)
    groups = _row_groups_per_file(con, select, into)
    while True:
        paths = _copy(con, select, into, groups)
        if groups == 1 or all(path.stat().st_size <= MAX_FILE_BYTES for path in paths):
            return paths
        for path in paths:
            path.unlink()
        groups = max(1, groups // 2)


def portable_select(con: "DuckDBPyConnection", query: str) -> str:
    """Wrap a query so that every column has a portable type."""
    described = con.execute(f"describe {query}").fetchall()
    columns = ", ".join(f"{portable(name, kind).expression} as {quote(name)}" for name, kind, *_ in described)
    return f"select {columns} from ({query})"


def _row_groups_per_file(con: "DuckDBPyConnection", select: str, into: Path) -> int:
    """Guess from the first rows how many row groups make a file of a good size: a power of two, equal for equal rows."""
    sample = into / "sample.parquet"
    con.execute(f"copy (select * from ({select}) limit {_SAMPLE_ROWS}) to {quote_text(str(sample))} ({_OPTIONS})")
    rows = _count(con, sample)
    size = max(sample.stat().st_size, 1)
    sample.unlink()
    if rows < _SAMPLE_ROWS:
        return 1024
    groups = int(_AIM_BYTES / (size * ROW_GROUP_ROWS / rows))
    return 1 << max(groups, 1).bit_length() - 1


def _copy(con: "DuckDBPyConnection", select: str, into: Path, groups: int) -> list[Path]:
    folder = into / "parts"
    threads = con.execute("select current_setting('threads')").fetchone()
    con.execute("set threads = 1")
    try:
        con.execute(f"copy ({select}) to {quote_text(str(folder))} ({_OPTIONS}, row_groups_per_file {groups})")
    finally:
        con.execute(f"set threads = {threads[0] if threads else 1}")
    parts = sorted(folder.glob("data_*.parquet"), key=lambda path: int(path.stem.removeprefix("data_")))
    paths = [part.rename(into / f"{number:05}.parquet") for number, part in enumerate(parts)]
    folder.rmdir()
    if paths:
        return paths
    empty = into / "00000.parquet"
    con.execute(f"copy ({select}) to {quote_text(str(empty))} ({_OPTIONS})")
    return [empty]


def _count(con: "DuckDBPyConnection", path: Path) -> int:
    row = con.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchone()
    return int(row[0]) if row else 0


def inspect(con: "DuckDBPyConnection", path: Path) -> ParquetFile:
    """Read what a parquet file says of itself, and hash it.

    Raises:
        SourceError: it is no parquet file.
    """
    import duckdb

    try:
        rows = _count(con, path)
        described = con.execute(f"describe from read_parquet({quote_text(str(path))})").fetchall()
        columns = tuple(Column(name=name, type=kind) for name, kind, *_ in described)
        stats = _statistics(con, path, columns)
    except duckdb.Error as error:
        raise SourceError(f"{path.name} can't be read as parquet: {str(error).splitlines()[0]}") from error
    return ParquetFile(path, rows, path.stat().st_size, sha256_of(path), columns, stats)


def _statistics(con: "DuckDBPyConnection", path: Path, columns: Iterable[Column]) -> str:
    """Gather the type and the number of nulls of each column, as JSON."""
    counted = con.execute(
        """
        select path_in_schema, sum(stats_null_count)::bigint from parquet_metadata(?)
        where stats_null_count is not null group by 1
        """,
        [str(path)],
    ).fetchall()
    nulls = dict(counted)
    members = {
        column.name: {"type": column.type} | ({"nulls": nulls[column.name]} if column.name in nulls else {})
        for column in columns
    }
    return json.dumps({"columns": members}, ensure_ascii=False, separators=(",", ":"))


def sha256_of(path: Path) -> str:
    """Hash a file: SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
