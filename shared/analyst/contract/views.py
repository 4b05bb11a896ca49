"""The view of a table over its parquet files.

The same view works in the bucket, in a mirror and on a laptop: its paths are relative to the variable `data_root`, or
to the bucket's address if the variable is not set.
"""

import re
from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.contract.model import FileRow, shown
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def view_query(paths: tuple[str, ...], data_url: str) -> str:
    """Return the query of a table's view: its files below the variable `data_root`, or below `data_url` if it is not set.

    It uses `lambda p:` instead of `p ->`, which DuckDB 2 rejects.
    """
    files = ", ".join(quote_text(path) for path in paths)
    root = f"coalesce(getvariable('data_root'), {quote_text(data_url)})"
    return f"select * from read_parquet(list_transform([{files}], lambda p: {root} || '/' || p), union_by_name = true)"


def is_view_of(stored: str, name: str, paths: tuple[str, ...], data_url: str) -> bool:
    """Return whether the SQL of a stored view, as DuckDB 1.5 writes it, is that of our own view."""
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
    """Return the database, schema and table of a stored view that is a plain select from one remote table.

    `None` if it is anything else, because readers run the views of a snapshot.
    """
    found = _REMOTE.fullmatch(stored)
    if found is None:
        return None
    alias, schema, table = (part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found.groups())
    return alias, schema, table


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
    """Create the view of a table in an attached database, with its columns' descriptions.

    Creating a view reads the columns of its files. Empty placeholder files with the same columns, below `home`, take
    their place, so nothing is downloaded.

    Raises:
        ContractError: the listed columns of the files can't form a table.
    """
    view = f"{quote(database)}.main.{quote(name)}"
    with duckdb_files.scratch(home) as root, raised_as(ContractError, f"the view {name!r} can't be made: ", hide=root):
        _stand_in(con, root, files)
        query = view_query(tuple(file.path for file in files), data_url)
        con.execute(
            f"set variable data_root = {quote_text(str(root))}; create or replace view {view} as {query}; "
            "reset variable data_root"
        )
        describe(con, database, name, columns)


def remote_query(remote: tuple[str, str, str], columns: Sequence[Column]) -> str:
    """Return the query of the view of a remote table: it names the columns, because there may be others that are not published."""
    return f"select {', '.join(quote(column.name) for column in columns)} from {'.'.join(map(quote, remote))}"


def write_remote_view(
    con: "DuckDBPyConnection", database: str, name: str, remote: tuple[str, str, str], columns: Sequence[Column]
) -> str:
    """Create the view of a remote table in an attached database; return its SQL.

    It is bound to an empty table with the same columns, so the remote database need not be attached.

    Raises:
        ContractError: the columns can't form a table.
    """
    alias, schema, table = map(quote, remote)
    declared = ", ".join(f"{quote(column.name)} {checked_type(column.type)}" for column in columns)
    view = f"{quote(database)}.main.{quote(name)}"
    query = remote_query(remote, columns)
    with raised_as(ContractError, f"the view {name!r} can't be made: "):
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
    """Store the descriptions of columns as comments on the columns of a view in an attached database."""
    view = f"{quote(database)}.main.{quote(name)}"
    comments = [
        f"comment on column {view}.{quote(column.name)} is {quote_text(column.description)}"
        for column in columns
        if column.description
    ]
    if comments:
        con.execute(";".join(comments))


def columns_of(file: FileRow) -> tuple[Column, ...]:
    """Return the columns of a file according to its statistics.

    Raises:
        ContractError: the statistics are malformed.
    """
    return tuple(Column(name=name, type=stats["type"]) for name, stats in file.column_stats.items())


def described_columns(con: "DuckDBPyConnection", database: str, name: str) -> tuple[Column, ...]:
    """Return the columns of a view in an attached database with their descriptions, without opening a file."""
    return view_columns(con, {database}).get((database, name), ())


def view_columns(con: "DuckDBPyConnection", databases: Collection[str]) -> dict[tuple[str, str], tuple[Column, ...]]:
    """Return the columns of the views in attached databases, by database and name, without opening a file."""
    if not databases:  # otherwise DuckDB would list the columns of every database
        return {}
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
            raise ContractError(f"{file.path} is listed without its columns in stats")
        if columns not in made:
            made[columns] = root / f"{next(numbers)}.parquet"
            nulls = ", ".join(
                f"cast(null as {checked_type(column.type)}) as {quote(column.name)}" for column in columns
            )
            con.execute(f"copy (select {nulls} where false) to {quote_text(str(made[columns]))} (format parquet)")
        place = root / file.path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():  # an extract may list a file twice; then its rows count twice
                place.symlink_to(made[columns])
        except OSError as error:  # one path is a parent of another, or they differ only in case
            raise ContractError(f"{file.path} can't be the path of a file: {error.strerror}") from error
