"""The user's database: the server's tables as views, next to the user's own tables.

Each table has a view with a short name in the schema `main`, and one named `table` in a schema named after its source,
so that both `orders` and `shop.orders` work in SQL. Changes are made in a copy that then replaces the database, so that
readers are not disturbed. `_da.tables` and `_da.qualified` record our views with their comments; a view that the user
has replaced no longer has its comment.
"""

import json
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

from da.errors import DaError, cause_of
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
create table if not exists _da.qualified (id varchar, schema varchar, view varchar, comment varchar, definition varchar);
create table if not exists _da.schemas (name varchar);
"""

_CONTENT = """
select count(*) from (
    select schema_name, database_name from duckdb_tables()
    union all select schema_name, database_name from duckdb_views()
    union all select schema_name, database_name from duckdb_sequences()
    union all select schema_name, database_name from duckdb_functions()
    union all select schema_name, database_name from duckdb_types()
)
where lower(schema_name) = $schema and database_name = current_database()
"""
_RECORD_SHORT = """
insert into _da.tables
select row->>0, row->>1, row->>2, (row->>3)::bigint, (row->>4)::bigint, row->>5, row->>6
from (select unnest(cast(? as json[])) as row)
"""
_RECORD_QUALIFIED = """
insert into _da.qualified
select row->>0, row->>1, row->>2, row->>3, row->>4 from (select unnest(cast(? as json[])) as row)
"""
_RESERVED = frozenset({"main", "temp", "system", "information_schema", "pg_catalog", "_da"})
"""Names that mean something else in DuckDB; a source of such a name gets no schema."""

Name = tuple[str, str]
"""The schema and the name of a view."""


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


class _BatchError(Exception):
    """One of the views can't be created."""


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
        _give_views(connection, list(tables), published, path.stem.lower())
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
            names = "select 'main', view from _da.tables union all select schema, view from _da.qualified"
            return all(name in there for name in connection.execute(names).fetchall())
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
        raise DaError(f"can't read '{path}': {cause_of(error)}; fix that and run da sync again") from None
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
        connection.execute("set TimeZone = 'UTC'; set parquet_metadata_cache = true")  # each file has two views
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


def _give_views(
    connection: duckdb.DuckDBPyConnection, tables: list[Mirrored], published: Published, database: str
) -> None:
    """Update all views in one transaction; if a view can't be created, start again without its table."""
    at_once = True
    while True:
        notes: list[str] = []
        connection.execute("begin")
        try:
            _write(connection, _names(tables, database), notes, at_once=at_once)
        except _ViewError as error:
            connection.execute("rollback")
            published.failed[error.table_id] = str(error)
            tables = [each for each in tables if each.table.id != error.table_id]
        except _BatchError:
            connection.execute("rollback")
            at_once = False
        else:
            connection.execute("commit")
            published.notes += notes
            return


def _names(tables: Sequence[Mirrored], database: str) -> dict[Name, Mirrored]:
    """Return the views to create, by name.

    In a file named as a source, `source.table` already means the short name `table`: DuckDB takes the first part for
    the name of the database. A schema would make that ambiguous, which DuckDB refuses. It is created only if a short
    name of the source differs from its table's: then the query must fail rather than read another source's table.
    """
    short = {("main", each.table.view): each for each in tables}
    sources: dict[str, list[Mirrored]] = {}
    for each in tables:
        sources.setdefault(each.table.id.partition(".")[0], []).append(each)
    qualified = {
        (source, each.table.id.partition(".")[2]): each
        for source, theirs in sources.items()
        if source not in _RESERVED
        and (source != database or any(one.table.id != f"{source}.{one.table.view}" for one in theirs))
        for each in theirs
    }
    return {**short, **qualified}


def _write(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[Name, Mirrored], notes: list[str], *, at_once: bool
) -> None:
    """Create the wanted views, drop those of ours that are not wanted any more, and record ours.

    All views are created `at_once`, because each call into DuckDB from Python takes longer than creating a view (with
    1,000 tables, half of the time of a sync). Only one at a time, an error says to which table it belongs.
    """
    connection.execute(_OURS)
    (catalog,) = connection.execute("select current_database()").fetchall()[0]
    there = _relations(connection)
    recorded = connection.execute(
        "select 'main', view, comment, definition from _da.tables"
        " union all select schema, view, comment, definition from _da.qualified"
    ).fetchall()
    ours = {
        (schema, view): definition
        for schema, view, comment, definition in recorded
        if there.get((schema, view)) == comment
    }
    for schema, view in ours.keys() - wanted.keys():
        connection.execute(f"drop view {quote(catalog)}.{quote(schema)}.{quote(view)}")
    schemas = _schemas(connection)
    created = {name for (name,) in connection.execute("select name from _da.schemas").fetchall()} & schemas
    for schema in {schema for schema, _ in wanted} - schemas:
        connection.execute(f"create schema {quote(catalog)}.{quote(schema)}")
        created.add(schema)
    taken = {name for name in wanted if name in there and name not in ours}
    definitions = _definitions(catalog, {name: each for name, each in wanted.items() if name not in taken})
    changed = {name: definition for name, definition in definitions.items() if definition != ours.get(name)}
    if at_once:
        _create_at_once(connection, changed)
    else:
        for name, definition in changed.items():
            _create(connection, wanted[name].table.id, definition)
    notes += _taken_notes(wanted, taken)
    _remove_empty_schemas(connection, catalog, created, {schema for schema, _ in wanted})
    _record(connection, wanted, definitions)


def _taken_notes(wanted: Mapping[Name, Mirrored], taken: set[Name]) -> Iterator[str]:
    """Say which tables can't have a name, because the user has used it, and how they can be queried instead."""
    for name in sorted(taken):
        table = wanted[name].table
        others = [other for other, each in wanted.items() if each is wanted[name] and other not in taken]
        instead = " or ".join(view if schema == "main" else f"{schema}.{view}" for schema, view in others)
        shown = name[1] if name[0] == "main" else ".".join(name)
        how = f"query it as {instead}, or rename yours" if instead else "rename yours"
        yield f"{table.id} has no view '{shown}': the name is used by a table or view of yours; {how} and sync again"


def _schemas(connection: duckdb.DuckDBPyConnection) -> set[str]:
    found = connection.execute(
        "select lower(schema_name) from duckdb_schemas() where database_name = current_database()"
    ).fetchall()
    return {name for (name,) in found}


def _remove_empty_schemas(
    connection: duckdb.DuckDBPyConnection, catalog: str, created: set[str], wanted: set[str]
) -> None:
    """Drop the schemas that we created and that hold nothing any more, also nothing of the user's; record the others."""
    for schema in created - wanted:
        # Asked beforehand, because a statement that fails would abort the transaction.
        found = connection.execute(_CONTENT, {"schema": schema}).fetchone()
        if found == (0,):
            connection.execute(f"drop schema {quote(catalog)}.{quote(schema)}")
    connection.execute("delete from _da.schemas")
    for schema in created & _schemas(connection):
        connection.execute("insert into _da.schemas values (?)", [schema])


def _record(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[Name, Mirrored], definitions: Mapping[Name, str]
) -> None:
    """Record our views.

    The rows are passed as one JSON text: for each null in a list of Python values, DuckDB looks for pandas on the disk.
    """
    short, qualified = [], []
    for (schema, view), definition in definitions.items():
        each = wanted[schema, view]
        table = each.table
        if schema == "main":
            short.append((table.id, view, each.comment, table.rows, table.size_bytes, table.updated, definition))
        else:
            qualified.append((table.id, schema, view, each.comment, definition))
    connection.execute("delete from _da.tables; delete from _da.qualified")
    connection.execute(_RECORD_SHORT, [json.dumps(short)])
    connection.execute(_RECORD_QUALIFIED, [json.dumps(qualified)])


def _relations(connection: duckdb.DuckDBPyConnection) -> dict[Name, str | None]:
    """List tables (without a comment) and views by name, in lower case, as DuckDB compares names."""
    views = "select lower(schema_name), lower(view_name), comment from duckdb_views()"
    tables = "select lower(schema_name), lower(table_name), null from duckdb_tables()"
    here = "where not internal and database_name = current_database()"
    found = connection.execute(f"{views} {here} union all {tables} {here}").fetchall()
    return {(schema, name): comment for schema, name, comment in found}


def _definitions(catalog: str, wanted: Mapping[Name, Mirrored]) -> dict[Name, str]:
    definitions = {}
    for name, each in wanted.items():
        try:
            definitions[name] = _definition(catalog, name, each)
        except (DaError, ValueError) as error:
            raise _unreadable(each.table.id, error) from None
    return definitions


def _create_at_once(connection: duckdb.DuckDBPyConnection, definitions: Mapping[Name, str]) -> None:
    try:
        if definitions:
            connection.execute(";\n".join(definitions.values()))
    except (duckdb.Error, ValueError):
        raise _BatchError from None


def _create(connection: duckdb.DuckDBPyConnection, table_id: str, definition: str) -> None:
    try:
        connection.execute(definition)
    except (duckdb.Error, ValueError) as error:
        raise _unreadable(table_id, error) from None


def _unreadable(table_id: str, error: Exception) -> _ViewError:
    return _ViewError(table_id, f"can't read its files as a table: {str(error).splitlines()[0]}")


def _definition(catalog: str, name: Name, each: Mirrored) -> str:
    """Build the statements that create a view and its comments.

    The name of the database is part of the view's name, because a schema may have the same name.
    """
    schema, short = name
    view = f"{quote(catalog)}.{quote(schema)}.{quote(short)}"
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
