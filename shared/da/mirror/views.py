"""The user's database: the server's tables as views, next to the user's own tables.

Each table has a view with a short name in the schema `main`, and one named `table` in a schema named after its source,
so that both `orders` and `shop.orders` work in SQL. `_da.tables` and `_da.qualified` record our views with their
comments and a digest of their definitions; a view that the user has replaced no longer has its comment. Descriptions of
columns are comments of one view per table only, that with the short name if there is one: they take more time than the view.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import duckdb

from da.errors import DaError
from da.mirror.manifest import Table, source_of
from da.sql import quote, quote_path, quote_text
from da.types import checked_type

_OURS = """
create schema if not exists _da;
create table if not exists _da.tables (
    id varchar, view varchar, comment varchar, rows bigint, size_bytes bigint, updated varchar, definition varchar
);
comment on table _da.tables is 'The tables that da sync mirrors; it rewrites this table each time.';
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
_RELATIONS = """
select schema, name, comment from (
    select lower(schema_name) as schema, lower(view_name) as name, comment
    from duckdb_views() where not internal and database_name = current_database()
    union all
    select lower(schema_name), lower(table_name), null
    from duckdb_tables() where not internal and database_name = current_database()
)
where $all or schema || '.' || name in (select unnest(cast($names as varchar[])))
"""
_RECORDED = """
select 'main', view, comment, definition from _da.tables where $all or list_contains(cast($sources as varchar[]), split_part(id, '.', 1))
union all
select schema, view, comment, definition from _da.qualified where $all or list_contains(cast($sources as varchar[]), split_part(id, '.', 1))
"""
_FORGET_SHORT = (
    "delete from _da.tables where $all or list_contains(cast($sources as varchar[]), split_part(id, '.', 1))"
)
_FORGET_QUALIFIED = (
    "delete from _da.qualified where $all or list_contains(cast($sources as varchar[]), split_part(id, '.', 1))"
)
_FORGET_NAMES = "delete from _da.tables where view in (select unnest(cast(? as varchar[])))"
_FORGET_QUALIFIED_NAMES = """
delete from _da.qualified where (schema, view) in (select (row->>0, row->>1) from (select unnest(cast(? as json[])) as row))
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

_STAGE = "_da_stage"
_AT_ONCE = 500
_DIGEST = 32
"""Characters of the digest of a definition."""

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


def recorded_views(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Return about how many views of ours a database has, by its record of them; `None` if it has none."""
    sizes = "select cast(sum(estimated_size) as bigint) from duckdb_tables()"
    where = "where database_name = current_database() and schema_name = '_da' and table_name in ('tables', 'qualified')"
    ((number,),) = connection.execute(f"{sizes} {where}").fetchall()
    return None if number is None else int(number)


def is_new(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a database has no record of our views."""
    return recorded_views(connection) is None


@dataclass(slots=True)
class Existing:
    """What a database holds: the comments of its relations by name, digests of the definitions of our views, its schemas.

    `catalog` is its name, `recorded` are the schemas that are noted as created by us. Reading all of it takes 0.1 s where
    there are 20,000 views: whoever adds views in batches to a database of its own reads it once and keeps it up to date,
    and a change of a few sources reads what has the names of their views, old and new.
    """

    catalog: str
    relations: dict[Name, str | None]
    ours: dict[Name, str]
    schemas: set[str]
    recorded: set[str]

    @classmethod
    def of(
        cls,
        connection: duckdb.DuckDBPyConnection,
        sources: Collection[str] | None = None,
        wanted: Collection[Name] = (),
    ) -> Self:
        """Read it; limited to some sources (`None`: all), whose views are to have the `wanted` names."""
        connection.execute(_OURS)
        (catalog,) = connection.execute("select current_database()").fetchall()[0]
        recorded = connection.execute(_RECORDED, _limits(sources)).fetchall()
        names = None if sources is None else {*wanted, *((schema, view) for schema, view, *_ in recorded)}
        there = relations(connection, names)
        noted = {name for (name,) in connection.execute("select name from _da.schemas").fetchall()}
        ours = {
            (schema, view): definition
            if len(definition) == _DIGEST
            else _digest(definition)  # as older versions had it
            for schema, view, comment, definition in recorded
            if there.get((schema, view)) == comment
        }
        return cls(catalog, there, ours, _schemas(connection), noted)


class Stage:
    """Views that are created in memory while the database is still being opened, and then copied into it.

    Copying binds nothing, and writes each view with its comments at once: of 100 tables, 0.03 s instead of 0.15 s. What can't
    be created here is left to who creates the other views.
    """

    def __init__(self, memory: duckdb.DuckDBPyConnection) -> None:
        self._connection = memory
        self._connection.execute(f"attach ':memory:' as {_STAGE}")
        self._digests: dict[Name, str] = {}

    def add(self, tables: Sequence[Mirrored], catalog: str) -> None:
        """Create the views of some tables, which are to be copied into a database of a name."""
        wanted = _names(tables, catalog.lower())
        schemas = sorted({schema for schema, _ in wanted})
        self._connection.execute("begin")
        try:
            digests = {name: _digest(text) for name, text in _definitions(catalog, wanted).items()}
            self._connection.execute(
                ";".join(f"create schema if not exists {_STAGE}.{quote(schema)}" for schema in schemas)
            )
            _create_at_once(self._connection, _definitions(_STAGE, wanted))
        except (_BatchError, _ViewError):
            self._connection.execute("rollback")
        else:
            self._connection.execute("commit")
            self._digests |= digests

    def copy(
        self, connection: duckdb.DuckDBPyConnection, existing: "Existing", definitions: Mapping[Name, str]
    ) -> set[Name]:
        """Copy the views of these definitions (digests by name) that are here into a database; return their names."""
        here = {name for name, digest in self._digests.items() if definitions.get(name) == digest}
        if not here:
            return here
        source = self._only(here) if self._digests.keys() - here else _STAGE
        catalog = quote(existing.catalog)
        replaced = [
            f"drop view {catalog}.{quote(schema)}.{quote(view)}" for schema, view in here & existing.ours.keys()
        ]
        connection.execute(";".join([*replaced, f"copy from database {source} to {catalog} (schema)"]))
        self._digests = {}
        return here

    def _only(self, here: Collection[Name]) -> str:
        """Return another database with some of the views: the transaction that copies them has seen all that are in this one."""
        only = f"{_STAGE}_only"
        dropped = [f"drop view {only}.{quote(schema)}.{quote(view)}" for schema, view in self._digests.keys() - here]
        schemas = {schema for schema, _ in self._digests} - {schema for schema, _ in here} - {"main"}
        dropped += [f"drop schema {only}.{quote(schema)}" for schema in schemas]
        self._connection.execute(f"attach ':memory:' as {only}")
        self._connection.execute(";".join([f"copy from database {_STAGE} to {only} (schema)", *dropped]))
        return only

    def close(self) -> None:
        """Close the memory."""
        self._connection.close()


def add_views(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Mirrored], database: str, existing: Existing
) -> None:
    """Create the views of some more tables, and add them to what exists; none of these if one can't be created."""
    wanted = _names(tables, database)
    connection.execute("begin")
    try:
        definitions = _create_missing(connection, wanted, existing, at_once=True)
        new = {schema for schema, _ in wanted} - existing.schemas
        connection.execute("insert into _da.schemas select unnest(cast(? as varchar[]))", [json.dumps(sorted(new))])
        _record(connection, wanted, definitions, None)
    except (_BatchError, _ViewError):
        connection.execute("rollback")
    else:
        connection.execute("commit")
        existing.relations |= {name: wanted[name].comment for name in definitions}
        existing.ours |= definitions
        existing.schemas |= new
        existing.recorded |= new


def give_views(
    connection: duckdb.DuckDBPyConnection,
    tables: list[Mirrored],
    published: Published,
    database: str,
    changed: Collection[str] | None,
    *,
    stage: Stage | None = None,
) -> None:
    """Update all views in one transaction; if a view can't be created, start again without its table."""
    at_once = True
    while True:
        notes: list[str] = []
        connection.execute("begin")
        try:
            _write(connection, _names(tables, database), notes, changed, stage if at_once else None, at_once=at_once)
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
    stage: Stage | None,
    *,
    at_once: bool,
) -> None:
    """Create the wanted views of some sources (`None`: all), drop those of ours that are not wanted any more, record ours."""
    wanted = {name: each for name, each in all_wanted.items() if sources is None or each.source in sources}
    existing = Existing.of(connection, sources, wanted)
    catalog = existing.catalog
    for schema, view in existing.ours.keys() - wanted.keys():
        connection.execute(f"drop view {quote(catalog)}.{quote(schema)}.{quote(view)}")
    needed = {schema for schema, _ in all_wanted}
    definitions = _create_missing(connection, wanted, existing, at_once=at_once, schemas=needed, stage=stage)
    notes += _taken_notes(wanted, wanted.keys() - definitions.keys())
    created = (existing.recorded & existing.schemas) | (needed - existing.schemas)
    unwanted = created - needed
    created -= set(_removed_schemas(connection, catalog, unwanted if sources is None else unwanted & set(sources)))
    if created != existing.recorded:
        connection.execute("delete from _da.schemas")
        connection.execute("insert into _da.schemas select unnest(cast(? as varchar[]))", [json.dumps(sorted(created))])
    _record(connection, wanted, definitions, _limits(sources))


def _create_missing(
    connection: duckdb.DuckDBPyConnection,
    wanted: Mapping[Name, Mirrored],
    existing: Existing,
    *,
    at_once: bool,
    schemas: Collection[str] | None = None,
    stage: Stage | None = None,
) -> dict[Name, str]:
    """Create the wanted views that differ from what exists; return digests of all definitions, without names that are taken.

    All are created `at_once`, because each call into DuckDB from Python takes longer than creating a view (with 1,000
    tables, half of the time of a sync). Only one at a time, an error says to which table it belongs.
    """
    catalog = existing.catalog
    for schema in {schema for schema, _ in wanted}.union(schemas or ()) - existing.schemas:
        connection.execute(f"create schema {quote(catalog)}.{quote(schema)}")
    taken = {name for name in wanted if name in existing.relations and name not in existing.ours}
    definitions = _definitions(catalog, {name: each for name, each in wanted.items() if name not in taken})
    digests = {name: _digest(text) for name, text in definitions.items()}
    changed = {name: text for name, text in definitions.items() if digests[name] != existing.ours.get(name)}
    if stage:
        copied = stage.copy(connection, existing, {name: digests[name] for name in changed})
        changed = {name: text for name, text in changed.items() if name not in copied}
    if at_once:
        _create_at_once(connection, changed)
    else:
        for name, definition in changed.items():
            _create(connection, wanted[name].table.id, definition)
    return digests


def _limits(sources: Collection[str] | None) -> dict[str, object]:
    return {"all": sources is None, "sources": json.dumps(sorted(sources or ()))}


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
    limits: Mapping[str, object] | None,
) -> None:
    """Record our views in place of the ones within the limits; `None`: in place of those of the same names.

    Others of their tables stay recorded as ours, so that they are dropped in the end if they are not wanted any more.
    The rows are passed as one JSON text: for each value of a Python list, DuckDB looks for pandas on the disk.
    """
    short, qualified = [], []
    for (schema, view), definition in definitions.items():
        each = wanted[schema, view]
        table = each.table
        if schema == "main":
            short.append((table.id, view, each.comment, table.rows, table.size_bytes, table.updated, definition))
        else:
            qualified.append((table.id, schema, view, each.comment, definition))
    if limits is None:
        connection.execute(_FORGET_NAMES, [json.dumps([view for _, view, *_ in short])])
        connection.execute(_FORGET_QUALIFIED_NAMES, [json.dumps([(schema, view) for _, schema, view, *_ in qualified])])
    else:
        connection.execute(_FORGET_SHORT, limits)
        connection.execute(_FORGET_QUALIFIED, limits)
    connection.execute(_RECORD_SHORT, [json.dumps(short)])
    connection.execute(_RECORD_QUALIFIED, [json.dumps(qualified)])


def relations(connection: duckdb.DuckDBPyConnection, names: Collection[Name] | None = None) -> dict[Name, str | None]:
    """List tables (without a comment) and views by name, in lower case, as DuckDB compares names; all, or those of `names`.

    `names` contain no dot, so `schema.name` is unambiguous.
    """
    asked = {"all": names is None, "names": json.dumps([*map(".".join, names or ())])}
    return {(schema, name): comment for schema, name, comment in connection.execute(_RELATIONS, asked).fetchall()}


def _definitions(catalog: str, wanted: Mapping[Name, Mirrored]) -> dict[Name, str]:
    definitions = {}
    for name, each in wanted.items():
        short = "main", each.table.view
        try:
            definitions[name] = _definition(catalog, name, each, columns=name == short or wanted.get(short) is not each)
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


def _digest(definition: str) -> str:
    return hashlib.blake2b(definition.encode(), digest_size=_DIGEST // 2).hexdigest()


def _definition(catalog: str, name: Name, each: Mirrored, *, columns: bool) -> str:
    """Build the statements that create a view and its comments, also those of its `columns`.

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
        if columns and column.description
    ]
    return ";\n".join(statements)


def _select(each: Mirrored) -> str:
    # DuckDB takes a folder such as `year=2026` for a column, also one above the mirror. Elsewhere, views are shorter without.
    plain = ", hive_partitioning = false" if any("=" in str(path) for path in each.paths) else ""
    if len(each.paths) == 1:  # binding this takes two thirds of the time
        return f"select * from system.main.read_parquet({quote_path(each.paths[0])}{plain})"
    if each.paths:
        paths = ", ".join(quote_path(path) for path in each.paths)
        return f"select * from system.main.read_parquet([{paths}], union_by_name = true{plain})"
    typed = (f"cast(null as {checked_type(c.type)}) as {quote(c.name)}" for c in each.table.columns)
    return f"select {', '.join(typed) or 'null as empty'} where false"
