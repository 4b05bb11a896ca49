"""The view of a table over its parquet files.

The same view works in the bucket, in a mirror and on a laptop: its paths are relative, and stand below the variable
`data_root`, or below the bucket's address where that is not set.
"""

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract.model import FileRow
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_MEMORY = Path("/dev/shm")  # noqa: S108 - where it is there, links for hundreds of files are made in no time


def view_query(paths: tuple[str, ...], data_url: str) -> str:
    """Write the query of a table's view: its files below the variable `data_root`, or below `data_url` when it is not set.

    `lambda p:` and not `p ->`, which DuckDB 2 refuses.
    """
    files = ", ".join(quote_text(path) for path in paths)
    root = f"coalesce(getvariable('data_root'), {quote_text(data_url)})"
    return f"select * from read_parquet(list_transform([{files}], lambda p: {root} || '/' || p), union_by_name = true)"


def is_view_of(stored: str, name: str, paths: tuple[str, ...], data_url: str) -> bool:
    """Tell whether a stored view, as DuckDB 1.5 tells it back, is the one that we would make."""
    files = ", ".join(quote_text(path) for path in paths)
    root = f"COALESCE(getvariable('data_root'), {quote_text(data_url)})"
    body = (
        f"AS SELECT * FROM read_parquet(list_transform(main.list_value({files}), "
        f"(p -> (({root} || '/') || p))), (union_by_name = CAST('t' AS BOOLEAN)));"
    )
    return stored in (f"CREATE VIEW {name} {body}", f"CREATE VIEW {quote(name)} {body}")


def write_view(
    con: "DuckDBPyConnection",
    database: str,
    name: str,
    files: Sequence[FileRow],
    columns: Sequence[Column],
    *,
    data_url: str,
) -> None:
    """Make the view of a table in an attached database, with its columns' descriptions.

    Making a view reads its files' columns; empty stand-ins of the same columns are put in their place for that, so
    that nothing is fetched.
    """
    view = f"{quote(database)}.main.{quote(name)}"
    with duckdb_files.scratch(_MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None) as root:
        _stand_in(con, root, files)
        query = view_query(tuple(file.path for file in files), data_url)
        con.execute(
            f"set variable data_root = {quote_text(str(root))}; create or replace view {view} as {query}; "
            "reset variable data_root"
        )
    comments = [
        f"comment on column {view}.{quote(column.name)} is {quote_text(column.description)}"
        for column in columns
        if column.description
    ]
    if comments:
        con.execute(";".join(comments))


def columns_of(file: FileRow) -> tuple[Column, ...]:
    """Tell the columns of a file by its statistics."""
    return tuple(Column(name=name, type=said["type"]) for name, said in file.column_stats.items())


def described_columns(con: "DuckDBPyConnection", database: str, name: str) -> tuple[Column, ...]:
    """Tell the columns of a view in an attached database with their descriptions, without opening a file."""
    rows = con.execute(
        """
        select column_name, data_type, comment from duckdb_columns()
        where database_name = ? and schema_name = 'main' and table_name = ? order by column_index
        """,
        [database, name],
    ).fetchall()
    return tuple(Column(name=column, type=kind, description=comment) for column, kind, comment in rows)


def _stand_in(con: "DuckDBPyConnection", root: Path, files: Sequence[FileRow]) -> None:
    made: dict[tuple[Column, ...], Path] = {}
    numbers = count()
    for file in files:
        columns = columns_of(file)
        if columns not in made:
            made[columns] = root / f"{next(numbers)}.parquet"
            nulls = ", ".join(f"cast(null as {column.type}) as {quote(column.name)}" for column in columns)
            con.execute(f"copy (select {nulls} where false) to {quote_text(str(made[columns]))} (format parquet)")
        place = root / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():  # a stranger's extract may list a file twice, whose rows then count twice
            place.symlink_to(made[columns])
