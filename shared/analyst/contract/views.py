"""The view of a table over its parquet files.

The same view works in the bucket, in a mirror and on a laptop: its paths are relative, and stand below the variable
`data_root`, or below the bucket's address where that is not set.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract.model import FileRow, shown
from analyst.duckdb_files import told_as
from analyst.errors import ContractError
from analyst.names import quote, quote_text
from analyst.types import checked_type

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


_PART = r'(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\x00-\x1f\x7f]|"")+")'
_REMOTE = re.compile(
    rf"CREATE VIEW {_PART} AS SELECT (?:\*|{_PART}(?:, {_PART})*) FROM ({_PART})\.({_PART})\.({_PART});"
)


def remote_table(stored: str) -> tuple[str, str, str] | None:
    """Return the database, schema and table that a stored view of a remote table selects from, and does no more.

    `None` if it is anything else: readers run what is in a snapshot.
    """
    found = _REMOTE.fullmatch(stored)
    if found is None:
        return None
    alias, schema, table = (part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found.groups())
    return alias, schema, table


@contextmanager
def stand_ins() -> Iterator[Path]:
    """Lend a folder for the stand-ins that `write_view` makes; a confined connection has to be allowed it."""
    with duckdb_files.scratch(_MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None) as home:
        yield home


def write_view(
    con: "DuckDBPyConnection",
    database: str,
    name: str,
    files: Sequence[FileRow],
    columns: Sequence[Column],
    *,
    data_url: str,
    home: Path,
) -> None:
    """Make the view of a table in an attached database, with its columns' descriptions.

    Making a view reads its files' columns; empty stand-ins of the same columns are put in their place for that, below
    `home`, so that nothing is fetched.

    Raises:
        ContractError: the columns that the files are listed with can't be those of a table.
    """
    view = f"{quote(database)}.main.{quote(name)}"
    with duckdb_files.scratch(home) as root, told_as(ContractError, f"the view {name!r} can't be made: ", hide=root):
        _stand_in(con, root, files)
        query = view_query(tuple(file.path for file in files), data_url)
        con.execute(
            f"set variable data_root = {quote_text(str(root))}; create or replace view {view} as {query}; "
            "reset variable data_root"
        )
        describe(con, database, name, columns)


def write_remote_view(
    con: "DuckDBPyConnection", database: str, name: str, remote: tuple[str, str, str], columns: Sequence[Column]
) -> str:
    """Make the view of a remote table in an attached database; return its SQL.

    An empty table of the same columns stands in for the remote one meanwhile, so that nothing is attached.

    Raises:
        ContractError: its columns can't be those of a table.
    """
    alias, schema, table = map(quote, remote)
    declared = ", ".join(f"{quote(column.name)} {checked_type(column.type)}" for column in columns)
    view = f"{quote(database)}.main.{quote(name)}"
    query = f"select * from {alias}.{schema}.{table}"
    with told_as(ContractError, f"the view {name!r} can't be made: "):
        con.execute(f"attach ':memory:' as {alias}")
        try:
            con.execute(
                f"create schema if not exists {alias}.{schema}; create table {alias}.{schema}.{table} ({declared})"
            )
            con.execute(f"create or replace view {view} as {query}")
            describe(con, database, name, columns)
        finally:
            con.execute(f"detach {alias}")
    return query


def describe(con: "DuckDBPyConnection", database: str, name: str, columns: Sequence[Column]) -> None:
    """Comment the columns of a view in an attached database with their descriptions."""
    view = f"{quote(database)}.main.{quote(name)}"
    comments = [
        f"comment on column {view}.{quote(column.name)} is {quote_text(column.description)}"
        for column in columns
        if column.description
    ]
    if comments:
        con.execute(";".join(comments))


def columns_of(file: FileRow) -> tuple[Column, ...]:
    """Tell the columns of a file by its statistics.

    Raises:
        ContractError: its statistics can't be read.
    """
    return tuple(Column(name=name, type=said["type"]) for name, said in file.column_stats.items())


def described_columns(con: "DuckDBPyConnection", database: str, name: str) -> tuple[Column, ...]:
    """Tell the columns of a view in an attached database with their descriptions, without opening a file."""
    return view_columns(con, {database}).get((database, name), ())


def view_columns(con: "DuckDBPyConnection", databases: Collection[str]) -> dict[tuple[str, str], tuple[Column, ...]]:
    """Tell the columns of the views in some attached databases, by database and name, without opening a file."""
    rows = con.execute(
        """
        select c.database_name, c.table_name, c.column_name, c.data_type, c.comment
        from duckdb_columns() c
        where c.schema_name = 'main' and not c.internal and list_contains(?, c.database_name)
        order by c.database_name, c.table_name, c.column_index
        """,
        [list(databases)],
    ).fetchall()
    found: dict[tuple[str, str], list[Column]] = {}
    for database, view, name, kind, comment in rows:
        column = Column.model_construct(name=name, type=kind, description=shown(comment))
        found.setdefault((database, view), []).append(column)
    return {place: tuple(columns) for place, columns in found.items()}


def _stand_in(con: "DuckDBPyConnection", root: Path, files: Sequence[FileRow]) -> None:
    made: dict[tuple[Column, ...], Path] = {}
    numbers = count()
    for file in files:
        columns = columns_of(file)
        if not columns:
            raise ContractError(f"{file.path} is listed without the columns that it has, in stats")
        if columns not in made:
            made[columns] = root / f"{next(numbers)}.parquet"
            nulls = ", ".join(
                f"cast(null as {checked_type(column.type)}) as {quote(column.name)}" for column in columns
            )
            con.execute(f"copy (select {nulls} where false) to {quote_text(str(made[columns]))} (format parquet)")
        place = root / file.path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():  # an extract may list a file twice, whose rows then count twice
                place.symlink_to(made[columns])
        except OSError as error:  # one path is the folder of another, or both are the same without regard to case
            raise ContractError(f"{file.path} can't be the path of a file: {error.strerror}") from error
