"""The user's database: the server's tables as views, next to the user's own tables.

Changes are made in a copy that then replaces the database, so that readers are not disturbed. `_da.tables` records our
views with their comments; a view that the user has replaced no longer has its comment.
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
    """A table and the files that its view reads, in order."""

    table: Table
    paths: tuple[Path, ...]

    @property
    def comment(self) -> str:
        """The comment of the view; never empty, because it marks the view as ours."""
        table = self.table
        return f"{table.description} ({table.id})" if table.description else f"({table.id})"


@dataclass(slots=True)
class Published:
    """The result. `failed` is `{table id: reason}`, `notes` are for the user."""

    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _ViewError(Exception):
    def __init__(self, table_id: str, reason: str) -> None:
        super().__init__(reason)
        self.table_id = table_id


def publish(path: Path, tables: Sequence[Mirrored], aside: Path | None = None) -> Published:
    """Update the views of the database at `path` to match these tables; everything else in it is kept.

    The replaced database is kept at `aside` if another process reads it.

    Raises:
        DaError: another program has it open for writing, or it can't be written.
    """
    published = Published()
    link, path = path, Path(os.path.realpath(path))
    # A new file, not changes in place: DuckDB admits no writer beside readers, and a crash in the middle would leave a
    # database with half of the views. In the same folder, so that the rename is atomic.
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
    """Return whether a database can be opened and still has the views that `publish` created.

    A database that another program writes to counts as sound, because it can't be inspected.
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
        raise DaError(f"'{path}' is not a regular file; move it away and run da sync again")
    try:
        if Path(f"{path}.wal").exists():  # left by a program that died; merge it into the file
            duckdb.connect(path).close()
        with duckdb.connect(path, read_only=True):  # no other program can write to it while this is open
            shutil.copy(path, fresh)
    except duckdb.Error as error:
        _explain(path, link, str(error))
        fresh.unlink(missing_ok=True)
        published.notes.append(_moved_aside(path, str(error)))
        _copy(path, fresh, published, link)


def _explain(path: Path, link: Path, reason: str) -> None:
    """Raise an error that the user can fix; return if this DuckDB can't read the file as a database."""
    if _is_locked(reason):
        holder = re.search(r"\(PID (\d+)\)", reason)
        who = f"process {holder[1]}" if holder else "another program"
        raise DaError(f"can't update '{path}': {who} has it open for writing; close it and run da sync again") from None
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DaError(f"can't read '{path}': {why}; fix that and run da sync again") from None
    if link.is_symlink() or not path.is_file():  # not a file of ours: don't move it
        raise DaError(
            f"'{link}' is a link to '{path}', which is not a DuckDB database; remove the link and run da sync again"
        )


def _is_locked(reason: str) -> bool:
    return "Could not set lock" in reason or "being used by another process" in reason


def _moved_aside(path: Path, reason: str) -> str:
    """Rename a database and its log; return a note for the user. Nothing is deleted."""
    newer = _newer_version(path, reason)
    word, stamp = ("newer" if newer else "broken"), time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.stem}.{word}-{stamp}{n}{path.suffix}") for n in ("", *(f"-{i}" for i in range(99))))
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    wal = Path(f"{path}.wal")
    if wal.exists():
        wal.replace(f"{aside}.wal")
    if newer:
        what = f"was written by {newer}, which is newer than the installed DuckDB {duckdb.__version__}"
        how = "open that file with the newer DuckDB"
    else:
        what, how = f"was damaged ({reason.splitlines()[0]})", "try to open that file with DuckDB"
    return (
        f"{path} {what}; it was renamed to {aside.name} and replaced by a new database."
        f" To recover your own tables, {how} and run: copy TABLE to 'TABLE.parquet'"
    )


def _newer_version(path: Path, reason: str) -> str | None:
    """Return the name of the DuckDB that wrote a file, if this DuckDB can't read its newer storage format.

    A database starts with a checksum of 8 bytes, `DUCK`, the version of the format (8 bytes, little endian) and, at
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
    """Return the newest storage format that this DuckDB writes."""
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
    # Readers keep the old file open by its inode, so they are not disturbed by the rename, but the views in it refer to
    # parquet files that a later sync deletes. A second name for the inode lets a later sync ask whether it is still in
    # use. The name is made before the rename: afterwards, the old file has none and can't be found any more.
    if aside and path.exists():
        aside.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(path, aside)
    try:
        fresh.replace(path)
    except PermissionError:  # Windows does not replace what somebody has open
        raise DaError(f"can't replace '{path}': another program has it open; close it and run da sync again") from None
    finally:
        # Checked only after the rename: until then, a new reader could still open the old file.
        if aside and not is_read(aside):
            aside.unlink(missing_ok=True)
            with suppress(OSError):
                aside.parent.rmdir()


def _give_views(connection: duckdb.DuckDBPyConnection, tables: list[Mirrored], published: Published) -> None:
    """Update all views in one transaction; if a view can't be created, start again without its table."""
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
                f"{each.table.id} has no view: its name {view} is used by a table or view of yours; rename yours and sync again"
            )
        else:
            definitions[view] = _ensure(connection, each, ours.get(view))
    _record(connection, wanted, definitions)


def _record(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, Mirrored], definitions: Mapping[str, str]
) -> None:
    """Record our views in one statement; one statement per view would take half of the time."""
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
    """List the names in `main` in lower case, as DuckDB compares them: views with their comment, tables with none."""
    views = "select lower(view_name), comment from duckdb_views() where schema_name = 'main' and not internal"
    tables = "select lower(table_name), null from duckdb_tables() where schema_name = 'main' and not internal"
    here = "and database_name = current_database()"
    return dict(connection.execute(f"{views} {here} union all {tables} {here}").fetchall())


def _ensure(connection: duckdb.DuckDBPyConnection, each: Mirrored, definition: str | None) -> str:
    """Create a view unless it is up to date; return its definition."""
    try:
        wanted = _definition(each)
        if wanted != definition:
            connection.execute(wanted)
    except (duckdb.Error, DaError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise _ViewError(each.table.id, f"can't read its files as a table: {reason}") from None
    return wanted


def _definition(each: Mirrored) -> str:
    """Build the statements that create a view and its comments."""
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
