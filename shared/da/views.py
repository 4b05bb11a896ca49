"""The user's database: the server's tables as views in it, beside the tables of the user's own.

The database is changed in a copy that then replaces it, so that whoever has it open for reading is not disturbed.
Which views are ours stands in `_da.tables`, with the comment each was given: a view that somebody replaced has lost it.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from da.errors import DaError
from da.manifest import Table
from da.sql import quote, quote_path, quote_text
from da.types import checked_type
from da.workspace import is_read

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


def publish(path: Path, tables: Sequence[Mirrored], aside: Path | None = None) -> Published:
    """Give the database at `path` exactly the views of these tables; everything else in it stays.

    The database that is replaced stays at `aside` if another process reads it.

    Raises:
        DaError: another program has it open for writing, or it can't be written.
    """
    published = Published()
    link, path = path, Path(os.path.realpath(path))
    fresh = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in (fresh, Path(f"{fresh}.wal")):
        stale.unlink(missing_ok=True)
    _copy(path, fresh, published, link)
    with _open(fresh) as connection:
        _give_views(connection, list(tables), published)
    _replace(path, fresh, aside)
    return published


def is_sound(path: Path) -> bool:
    """Tell whether a database can be opened and still has the views that it was given.

    One that another program writes to counts as sound: it can't be looked into.
    """
    if not path.is_file():
        return False
    try:
        with duckdb.connect(path, read_only=True) as connection:
            there = _relations(connection)
            return all(view in there for (view,) in connection.execute("select view from _da.tables").fetchall())
    except duckdb.Error as error:
        return _is_locked(str(error))


def _copy(path: Path, fresh: Path, published: Published, link: Path) -> None:
    if not path.exists():
        with duckdb.connect() as connection:
            connection.execute(f"attach {quote_text(str(fresh))} as fresh (storage_version 'v1.0.0', block_size 16384)")
        return
    if not path.is_file():
        raise DaError(f"{path} is not a regular file; move it away and run da sync again")
    try:
        if Path(f"{path}.wal").exists():  # what a program that died has left; it belongs into the file
            duckdb.connect(path).close()
        with duckdb.connect(path, read_only=True):  # no other program can write to it while this is open
            shutil.copy(path, fresh)
    except duckdb.Error as error:
        _explain(path, link, str(error))
        fresh.unlink(missing_ok=True)
        published.notes.append(_moved_aside(path, str(error)))
        _copy(path, fresh, published, link)


def _explain(path: Path, link: Path, reason: str) -> None:
    """Raise what the user can do something about; return if the file can't be read as a database by this DuckDB."""
    if _is_locked(reason):
        holder = re.search(r"\(PID (\d+)\)", reason)
        who = f"process {holder[1]}" if holder else "another program"
        raise DaError(f"{path} is open for writing in {who}; close it and run da sync again") from None
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DaError(f"{path} can't be read: {why}; correct that and run da sync again") from None
    if link.is_symlink() or not path.is_file():  # whatever it is, it is not ours to move
        raise DaError(f"{link} leads to {path}, which is not a DuckDB database; remove the link and run da sync again")


def _is_locked(reason: str) -> bool:
    return "Could not set lock" in reason or "being used by another process" in reason


def _moved_aside(path: Path, reason: str) -> str:
    """Move a database aside with all that belongs to it; return what to tell the user. Nothing is deleted."""
    newer = _newer_version(path, reason)
    word, stamp = ("newer" if newer else "broken"), time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.stem}.{word}-{stamp}{n}{path.suffix}") for n in ("", *(f"-{i}" for i in range(99))))
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    wal = Path(f"{path}.wal")
    if wal.exists():
        wal.replace(f"{aside}.wal")
    if newer:
        what = f"was written by {newer}, which is newer than this one ({duckdb.__version__})"
        how = "open that file with the newer DuckDB"
    else:
        what, how = f"was damaged ({reason.splitlines()[0]})", "try to open that file with DuckDB"
    return (
        f"{path} {what}; it is {aside.name} now, and a new one takes its place."
        f" To get a table of your own out of it, {how} and run: copy TABLE to 'TABLE.parquet'"
    )


def _newer_version(path: Path, reason: str) -> str | None:
    """Name the DuckDB that wrote a file, if its storage format is newer than what this DuckDB can read.

    A database begins with a checksum of 8 bytes, `DUCK`, the version of the format (8 bytes, little endian) and, at
    byte 52, the version of the library.
    """
    with path.open("rb") as file:
        head = file.read(84)
    if head[8:12] != b"DUCK" or len(head) < 84:  # noqa: PLR2004
        return None
    library = head[52:84].rstrip(b"\0").decode("ascii", "replace")
    name = f"DuckDB {library}" if re.fullmatch(r"v\d[\w.+-]*", library) else "a DuckDB"
    if "version number" in reason or "newer version" in reason:
        return name
    return name if int.from_bytes(head[12:20], "little") > _newest_format() else None


def _newest_format() -> int:
    """Find the newest storage format that this DuckDB writes."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        sample = Path(folder) / "sample.duckdb"
        connection.execute(f"attach {quote_text(str(sample))} as sample (storage_version 'latest')")
        connection.execute("create table sample.t(i integer); detach sample")
        return int.from_bytes(sample.read_bytes()[12:20], "little")


@contextmanager
def _open(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(path)
    try:
        connection.execute("set TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _replace(path: Path, fresh: Path, aside: Path | None) -> None:
    if aside and path.exists():
        aside.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(path, aside)
    try:
        fresh.replace(path)
    except PermissionError:  # Windows does not replace what somebody has open
        raise DaError(f"{path} is open in another program; close it and run da sync again") from None
    finally:
        # Looked at only now: who opens the database from here on opens the new one.
        if aside and not is_read(aside):
            aside.unlink(missing_ok=True)
            with suppress(OSError):
                aside.parent.rmdir()


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
        return f"select * from system.main.read_parquet([{paths}], union_by_name = true)"
    typed = (f"cast(null as {checked_type(c.type)}) as {quote(c.name)}" for c in each.table.columns)
    return f"select {', '.join(typed) or 'null as empty'} where false"
