"""The user's database: the server's tables as views in it, beside the tables of the user's own.

The database is changed in a copy that then replaces it, so that whoever has it open for reading is not disturbed.
Which views are ours stands in `_da.tables`, with the comment each was given: a view that somebody replaced has lost it.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from da.errors import DaError
from da.manifest import Table
from da.sql import quote, quote_path, quote_text
from da.types import checked_type

_OURS = """
create schema if not exists _da;
create table if not exists _da.tables (
    id varchar, view varchar, comment varchar, rows bigint, size_bytes bigint, updated varchar, definition varchar
);
comment on table _da.tables is 'The tables that da sync mirrors; it writes this table anew each time.';
"""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A table and the files its view reads, in their order."""

    table: Table
    paths: tuple[Path, ...]

    @property
    def comment(self) -> str:
        """What the view is commented with: never nothing, for the comment shows that the view is ours."""
        table = self.table
        return f"{table.description} ({table.id})" if table.description else f"({table.id})"


@dataclass(slots=True)
class Published:
    """What came of it. `failed` is `{table id: why}`, `notes` what the user should know."""

    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _ViewError(Exception):
    def __init__(self, table_id: str, reason: str) -> None:
        super().__init__(reason)
        self.table_id = table_id


def publish(path: Path, tables: Sequence[Mirrored]) -> Published:
    """Give the database at `path` exactly the views of these tables; everything else in it stays.

    Raises:
        DaError: another program has it open for writing, or it can't be written.
    """
    published = Published()
    path = Path(os.path.realpath(path))
    fresh = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in (fresh, Path(f"{fresh}.wal")):
        stale.unlink(missing_ok=True)
    _copy(path, fresh, published)
    with _open(fresh) as connection:
        _give_views(connection, list(tables), published)
    _replace(path, fresh)
    return published


def _copy(path: Path, fresh: Path, published: Published) -> None:
    if not path.exists():
        with duckdb.connect() as connection:
            connection.execute(f"attach {quote_text(str(fresh))} as fresh (storage_version 'v1.0.0', block_size 16384)")
        return
    try:
        if Path(f"{path}.wal").exists():  # what a program that died has left; it belongs into the file
            duckdb.connect(path).close()
        with duckdb.connect(path, read_only=True):  # no other program can write to it while this is open
            shutil.copy(path, fresh)
    except duckdb.Error as error:
        _explain(path, str(error))
        aside = path.with_name(f"{path.stem}.broken-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
        path.replace(aside)
        Path(f"{path}.wal").unlink(missing_ok=True)
        published.notes.append(f"{path} was damaged; it is {aside.name} now, and a new one takes its place")
        _copy(path, fresh, published)


def _explain(path: Path, reason: str) -> None:
    """Raise what the user can do something about; return if the file is just no database."""
    if "lock" in reason.lower() or "being used by another process" in reason:
        holder = re.search(r"\(PID (\d+)\)", reason)
        who = f"process {holder[1]}" if holder else "another program"
        raise DaError(f"{path} is open for writing in {who}; close it and run da sync again") from None
    if "newer version" in reason or "version number" in reason:
        raise DaError(f"{path} was written by a newer DuckDB than this one ({duckdb.__version__}); update da") from None
    if "not a valid DuckDB database" not in reason:
        raise DaError(f"{path} can't be opened: {reason}") from None


@contextmanager
def _open(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(path)
    try:
        connection.execute("set TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _replace(path: Path, fresh: Path) -> None:
    try:
        fresh.replace(path)
    except PermissionError:  # Windows does not replace what somebody has open
        raise DaError(f"{path} is open in another program; close it and run da sync again") from None


def _give_views(connection: duckdb.DuckDBPyConnection, tables: list[Mirrored], published: Published) -> None:
    """Do all of it in one transaction; without a table whose view can't be made, begin again."""
    while True:
        notes: list[str] = []
        connection.execute("begin")
        try:
            _write(connection, tables, notes)
        except _ViewError as error:
            connection.execute("rollback")
            published.failed[error.table_id] = str(error)
            tables = [each for each in tables if each.table.id != error.table_id]
        else:
            connection.execute("commit")
            published.notes += notes
            return


def _write(connection: duckdb.DuckDBPyConnection, tables: Sequence[Mirrored], notes: list[str]) -> None:
    connection.execute(_OURS)
    there = _relations(connection)
    recorded = connection.execute("select view, comment, definition from _da.tables").fetchall()
    ours = {view: definition for view, comment, definition in recorded if there.get(view) == comment}
    wanted = {each.table.view: each for each in tables}
    for view in ours.keys() - wanted.keys():
        connection.execute(f"drop view main.{quote(view)}")
    definitions = {}
    for view, each in wanted.items():
        if view in there and view not in ours:
            notes.append(
                f"{view} is a table or view of your own, so {each.table.id} has no view; rename yours to see it"
            )
        else:
            definitions[view] = _ensure(connection, each, ours.get(view))
    _record(connection, wanted, definitions)


def _record(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, Mirrored], definitions: Mapping[str, str]
) -> None:
    """Write down which views are ours, in one statement: one for each would take half of the time."""
    rows = [
        (
            each.table.id,
            view,
            each.comment,
            each.table.rows,
            each.table.size_bytes,
            each.table.updated,
            definitions[view],
        )
        for view, each in wanted.items()
        if view in definitions
    ]
    connection.execute("delete from _da.tables")
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(f"insert into _da.tables select {', '.join('unnest(?)' for _ in columns)}", columns)


def _relations(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """List what has a name in `main`, in lower case as DuckDB compares it: a view with its comment, a table without."""
    views = "select lower(view_name), comment from duckdb_views() where schema_name = 'main' and not internal"
    tables = "select lower(table_name), null from duckdb_tables() where schema_name = 'main' and not internal"
    here = "and database_name = current_database()"
    return dict(connection.execute(f"{views} {here} union all {tables} {here}").fetchall())


def _ensure(connection: duckdb.DuckDBPyConnection, each: Mirrored, definition: str | None) -> str:
    """Make a view unless it is as it should be already; return its definition."""
    try:
        wanted = _definition(each)
        if wanted != definition:
            connection.execute(wanted)
    except (duckdb.Error, DaError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise _ViewError(each.table.id, f"its files can't be read as a table: {reason}") from None
    return wanted


def _definition(each: Mirrored) -> str:
    """Write the statements that make a view and its comments."""
    view = f"main.{quote(each.table.view)}"
    statements = [
        f"create or replace view {view} as {_select(each)}",
        f"comment on view {view} is {quote_text(each.comment)}",
    ]
    statements += [
        f"comment on column {view}.{quote(column.name)} is {quote_text(column.description)}"
        for column in each.table.columns
        if column.description
    ]
    return ";\n".join(statements)


def _select(each: Mirrored) -> str:
    if each.paths:
        paths = ", ".join(quote_path(path) for path in each.paths)
        return f"select * from read_parquet([{paths}], union_by_name = true)"
    typed = (f"cast(null as {checked_type(c.type)}) as {quote(c.name)}" for c in each.table.columns)
    return f"select {', '.join(typed) or 'null as empty'} where false"
