"""The user's database: the server's tables as views, next to the user's own tables.

Each table has a view with a short name in the schema `main`, and one named `table` in a schema named after its source,
so that both `orders` and `shop.orders` work in SQL. A few changes are made in place; many, or while another program has the
database open, in a copy that then replaces it, so that readers are not disturbed. `_da.tables` and `_da.qualified` record our views with their comments; a view that the user
has replaced no longer has its comment.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import duckdb

from da.errors import DaError, cause_of
from da.manifest import Table, source_of
from da.sql import quote, quote_path, quote_text
from da.types import checked_type
from da.workspace import is_read, stamp

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
_RECORDED = """
select 'main', view, comment, definition from _da.tables where $all or list_contains($sources, split_part(id, '.', 1))
union all
select schema, view, comment, definition from _da.qualified where $all or list_contains($sources, split_part(id, '.', 1))
"""
_FORGET_SHORT = "delete from _da.tables where $all or list_contains($sources, split_part(id, '.', 1))"
_FORGET_QUALIFIED = "delete from _da.qualified where $all or list_contains($sources, split_part(id, '.', 1))"
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

MOST_IN_PLACE = 500
"""Tables that are changed in place: while that lasts, up to half a second, no other program can open the database."""

_MANY_VIEWS = 4000
_LONGEST_LOG = 4 << 20
_ATTEMPTS = 3
_AT_ONCE = 500

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

    @property
    def source(self) -> str:
        """The source of the table."""
        return source_of(self.table.id)


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


def publish(
    path: Path,
    tables: Sequence[Mirrored],
    aside: Path | None = None,
    changed: Collection[str] | None = None,
    others: Callable[[], Sequence[Mirrored]] = tuple,
    *,
    begun: "InPlace | Draft | None" = None,
) -> Published:
    """Update the views of the database at `path` to match these tables; everything else in it is kept.

    If nobody else has changed the database since the last time, only the views of sources that have `changed` need to be
    compared, and `tables` are theirs; `others` are asked for if the database turns out to be a new one. A few changes are
    made in place; more, or if another program has the database open, in a copy that then replaces it. The replaced one is
    kept at `aside` if another process reads it.

    Raises:
        DaError: another program has it open for writing, or it can't be written.
    """
    if begun is None and len(tables) <= MOST_IN_PLACE:
        begun = InPlace.of(path)
    for _ in range(_ATTEMPTS):
        with closing(begun or Draft(path)) as database:
            if database.finish(tables, aside, changed, others):
                return database.published
        begun = None
    raise DaError(f"can't update '{path}': another program keeps changing it; close it and run da sync again")


class InPlace:
    """The database itself, changed in one transaction.

    A crash at any point leaves the state before or after it, because DuckDB writes a transaction to its log first.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.published = Published()
        self._path = path
        self._connection = connection

    @classmethod
    def of(cls, link: Path) -> Self | None:
        """Open the database; `None` if that is not possible, for a reason that making a copy will explain."""
        path = Path(os.path.realpath(link))
        try:
            # DuckDB would make a database of an empty file, and a device may never end.
            if not path.is_file() or _head(path)[8:12] != b"DUCK":
                return None
            _clean_up(path)
            connection = _connected(path)
        except (OSError, duckdb.Error):
            return None
        # A checkpoint writes the whole catalog: half a second for 20,000 views. The log takes changes of these in
        # milliseconds. Whoever opens the database applies it, and a writer merges it into the file; but DuckDB finds it by
        # the name by which the database is opened.
        if _number_of_views(connection) > _MANY_VIEWS and _size(_log(path)) < _LONGEST_LOG and not link.is_symlink():
            connection.execute("pragma disable_checkpoint_on_shutdown")
        return cls(path, connection)

    def finish(
        self,
        tables: Sequence[Mirrored],
        _aside: Path | None,
        changed: Collection[str] | None,
        others: Callable[[], Sequence[Mirrored]],
    ) -> bool:
        """Make the views match these tables; return whether it is done. If not, a copy will show the reason."""
        try:
            _update(self._connection, self._path, self.published, tables, changed=changed, others=others)
        except duckdb.Error:
            return False
        return True

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class Draft:
    """A copy of the database, in which views can be created while files are still being downloaded.

    Raises:
        DaError: another program has the database open for writing, or it can't be copied.
    """

    def __init__(self, path: Path) -> None:
        self.published = Published()
        self._path = Path(os.path.realpath(path))
        # In the same folder, so that the rename is atomic.
        self._fresh = _fresh(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(self._path)
        found = stamp(self._path)
        _copy(self._path, self._fresh, self.published, path)
        self._stamp = found if self._path.exists() else None
        self._connection = _connected(self._fresh)
        self._is_new = _is_new(self._connection)

    def add(self, tables: Sequence[Mirrored]) -> None:
        """Create the views of some more tables; those that can't be created are left to `finish`."""
        connection = self._connection
        connection.execute("begin")
        try:
            _write(connection, _names(tables, self._path.stem.lower()), [], None, at_once=True, only_add=True)
        except (_BatchError, _ViewError):
            connection.execute("rollback")
        else:
            connection.execute("commit")

    def finish(
        self,
        tables: Sequence[Mirrored],
        aside: Path | None,
        changed: Collection[str] | None,
        others: Callable[[], Sequence[Mirrored]],
    ) -> bool:
        """Make the views match these tables, and replace the database; return whether nobody has changed it meanwhile."""
        if self._is_new and changed is not None:
            tables, changed = [*tables, *others()], None
        _update(self._connection, self._path, self.published, tables, changed=changed, others=others)
        self.close()
        if stamp(self._path) != self._stamp:
            return False
        _replace(self._path, self._fresh, aside)
        return True

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()


def _update(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    published: Published,
    tables: Sequence[Mirrored],
    *,
    changed: Collection[str] | None,
    others: Callable[[], Sequence[Mirrored]],
) -> None:
    if _is_new(connection) and changed is not None:
        tables, changed = [*tables, *others()], None
    _give_views(connection, list(tables), published, path.stem.lower(), changed)


def _is_new(connection: duckdb.DuckDBPyConnection) -> bool:
    return not connection.execute("select 1 from duckdb_tables() where schema_name = '_da'").fetchall()


def _log(path: Path) -> Path:
    return Path(f"{path}.wal")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(84)


def _number_of_views(connection: duckdb.DuckDBPyConnection) -> int:
    ((number,),) = connection.execute("select count(*) from duckdb_views() where not internal").fetchall()
    return int(number)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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
    log = _log(path)
    try:
        with duckdb.connect(path, read_only=True):  # no other program can write to it while this is open
            shutil.copy(path, fresh)
            if log.exists():
                shutil.copy(log, _log(fresh))
        if _log(fresh).exists():  # merge it into the copy, which has to be one file when it replaces the database
            with duckdb.connect(fresh) as connection:
                connection.execute("checkpoint")
    except duckdb.Error as error:
        _explain(path, link, str(error))
        for half in (fresh, _log(fresh)):
            half.unlink(missing_ok=True)
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
    if (log := _log(path)).exists():
        log.replace(_log(aside))
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
    head = _head(path)
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


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path)
    connection.execute("set TimeZone = 'UTC'; set parquet_metadata_cache = true")  # each file has two views
    return connection


def _replace(path: Path, fresh: Path, aside: Path | None) -> None:
    # Readers keep the old file open by its inode, so they are not disturbed by the rename, but the views in it refer to
    # parquet files that a later sync deletes. A second name for the inode lets a later sync ask whether it is still in
    # use. The name is made before the rename: afterwards, the old file has none and can't be found any more.
    if aside and path.exists():
        aside.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(path, aside)
    # A log belongs to its database, and would be applied to the new one, too. It goes first, under a name by which it can
    # be put back if this process dies before the rename.
    log, log_aside = _log(path), _log_aside(path)
    if log.exists():
        log.replace(log_aside)
    try:
        fresh.replace(path)
    except PermissionError:  # Windows does not replace what somebody has open
        raise DaError(f"can't replace '{path}': another program has it open; close it and run da sync again") from None
    finally:
        log_aside.unlink(missing_ok=True)
        # Checked only after the rename: until then, a new reader could still open the old file.
        if aside and not is_read(aside):
            aside.unlink(missing_ok=True)
            with suppress(OSError):
                aside.parent.rmdir()


def _log_aside(path: Path) -> Path:
    found = path.stat() if path.exists() else None
    return path.with_name(f".{path.name}.{found.st_size}-{found.st_mtime_ns}.wal" if found else f".{path.name}.0.wal")


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _clean_up(path: Path) -> None:
    """Remove what a sync that died left beside the database, and put the log back that it had taken away."""
    log, log_aside = _log(path), _log_aside(path)
    if log_aside.exists() and not log.exists():
        log_aside.replace(log)
    for stale in (_fresh(path), *path.parent.glob(f".{path.name}.*.wal")):
        stale.unlink(missing_ok=True)


def _give_views(
    connection: duckdb.DuckDBPyConnection,
    tables: list[Mirrored],
    published: Published,
    database: str,
    changed: Collection[str] | None,
) -> None:
    """Update all views in one transaction; if a view can't be created, start again without its table."""
    at_once = True
    while True:
        notes: list[str] = []
        connection.execute("begin")
        try:
            _write(connection, _names(tables, database), notes, changed, at_once=at_once)
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
    connection: duckdb.DuckDBPyConnection,
    all_wanted: Mapping[Name, Mirrored],
    notes: list[str],
    sources: Collection[str] | None,
    *,
    at_once: bool,
    only_add: bool = False,
) -> None:
    """Create the wanted views of some sources (`None`: all), drop those of ours that are not wanted any more, record ours.

    With `only_add`, nothing is dropped.

    All views are created `at_once`, because each call into DuckDB from Python takes longer than creating a view (with
    1,000 tables, half of the time of a sync). Only one at a time, an error says to which table it belongs.
    """
    connection.execute(_OURS)
    (catalog,) = connection.execute("select current_database()").fetchall()[0]
    there = _relations(connection)
    limits = {"all": sources is None, "sources": list(sources or ())}
    recorded = connection.execute(_RECORDED, limits).fetchall()
    wanted = {name: each for name, each in all_wanted.items() if sources is None or each.source in sources}
    ours = {
        (schema, view): definition
        for schema, view, comment, definition in recorded
        if there.get((schema, view)) == comment
    }
    for schema, view in () if only_add else ours.keys() - wanted.keys():
        connection.execute(f"drop view {quote(catalog)}.{quote(schema)}.{quote(view)}")
    schemas = _schemas(connection)
    known = {name for (name,) in connection.execute("select name from _da.schemas").fetchall()}
    created = known & schemas
    for schema in {schema for schema, _ in all_wanted} - schemas:
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
    if not only_add:
        unwanted = created - {schema for schema, _ in all_wanted}
        created -= set(_removed_schemas(connection, catalog, unwanted if sources is None else unwanted & set(sources)))
    if created != known:
        connection.execute("delete from _da.schemas")
        connection.execute("insert into _da.schemas select unnest(?)", [sorted(created)])
    _record(connection, wanted, definitions, limits, only_add=only_add)


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


def _removed_schemas(connection: duckdb.DuckDBPyConnection, catalog: str, unwanted: Collection[str]) -> Iterator[str]:
    """Drop those of the schemas that hold nothing any more, also nothing of the user's."""
    for schema in unwanted:
        # Asked beforehand, because a statement that fails would abort the transaction.
        found = connection.execute(_CONTENT, {"schema": schema}).fetchone()
        if found == (0,):
            connection.execute(f"drop schema {quote(catalog)}.{quote(schema)}")
            yield schema


def _record(
    connection: duckdb.DuckDBPyConnection,
    wanted: Mapping[Name, Mirrored],
    definitions: Mapping[Name, str],
    limits: Mapping[str, object],
    *,
    only_add: bool,
) -> None:
    """Record our views in place of the ones within the limits, or with `only_add` in place of those of their tables.

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
    if only_add:
        ids = [sorted({each.table.id for each in wanted.values()})]
        connection.execute("delete from _da.tables where id in (select unnest(?))", ids)
        connection.execute("delete from _da.qualified where id in (select unnest(?))", ids)
    else:
        connection.execute(_FORGET_SHORT, limits)
        connection.execute(_FORGET_QUALIFIED, limits)
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
    statements = list(definitions.values())
    try:
        for start in range(0, len(statements), _AT_ONCE):  # parsed statements take 40 kB each
            connection.execute(";\n".join(statements[start : start + _AT_ONCE]))
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
    if len(each.paths) == 1:  # binding this takes two thirds of the time
        return f"select * from system.main.read_parquet({quote_path(each.paths[0])})"
    if each.paths:
        paths = ", ".join(quote_path(path) for path in each.paths)
        return f"select * from system.main.read_parquet([{paths}], union_by_name = true)"
    typed = (f"cast(null as {checked_type(c.type)}) as {quote(c.name)}" for c in each.table.columns)
    return f"select {', '.join(typed) or 'null as empty'} where false"
