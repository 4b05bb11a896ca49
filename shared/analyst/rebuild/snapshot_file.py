"""The file of a snapshot, analytics.duckdb: a view of each table under both of its names, and tables that describe them.

The file of one snapshot is turned into that of the next: only the views of tables that differ are written. Nothing in it is
trusted, because others may write to the bucket: a view is kept only if its SQL is what we would write.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Catalog, Column, Table
from analyst.contract.model import is_data_path
from analyst.contract.views import describe, is_view_of, remote_query, remote_table, view_query
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote
from analyst.rebuild import view_names
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TABLES = {
    "table_id": "varchar",
    "source": "varchar",
    "table_name": "varchar",
    "view_name": "varchar",
    "description": "varchar",
    "query_mode": "varchar",
    "rows": "bigint",
    "size_bytes": "bigint",
    "extracted_at": "timestamp",
    "version": "bigint",
    "hash": "varchar",
}
_FILES = {
    "table_id": "varchar",
    "path": "varchar",
    "partition": "varchar",
    "rows": "bigint",
    "size_bytes": "bigint",
    "sha256": "varchar",
}
_REMOTE_ATTACH = {
    "source": "varchar",
    "alias": "varchar",
    "extension": "varchar",
    "url": "varchar",
    "token_env": "varchar",
}
_BUILT = {"table_id": "varchar", "digest": "varchar"}
_OUR_TABLES = {"_tables": _TABLES, "_files": _FILES, "_remote_attach": _REMOTE_ATTACH, "_built": _BUILT}

_STRANGERS = """
    select count(*) from (
        select database_name from duckdb_functions() where not internal
        union all select database_name from duckdb_types() where not internal
        union all select database_name from duckdb_sequences()
        union all select database_name from duckdb_indexes()
    ) where database_name = '-file'
"""
_BASE_TABLES = """
    select schema_name || '.' || table_name, replace(sql, '"', '') from duckdb_tables() where database_name = '-file'
"""
_FILE = "-file"
_OF = quote(_FILE)
_NEW = quote("-new")
"""The file, and new views in memory; no source and no remote database can have these names."""

_AT_ONCE = 500
"""Tables whose views are created in one statement."""

Name = tuple[str, str]
"""The schema and name of a view."""


def update(path: Path, catalog: Catalog, data_url: str) -> dict[str, str]:
    """Turn the file of an earlier snapshot into that of this one, or create it; return why tables have no view, by id.

    A file that can't be read, or that contains something else, is replaced.
    """
    failed = None
    if path.exists():
        with duckdb_files.lent() as con, suppress(ContractError):
            failed = _updated(con, path, catalog, data_url)
    if failed is None:
        path.unlink(missing_ok=True)
        Path(f"{path}.wal").unlink(missing_ok=True)
        with duckdb_files.lent() as con:
            _create(con, path)
            failed = _write(con, catalog, data_url)
    duckdb_files.PLAIN.add(path)
    return failed


def remote_tables(path: Path) -> dict[str, tuple[str, str, str]]:
    """Return what the views in a file select from, by view, of those that select from one table of another database.

    Raises:
        ContractError: the file can't be read.
    """
    with duckdb_files.lent() as con:
        what = "the last snapshot's analytics.duckdb"
        duckdb_files.attach(con, path, _FILE, what=what)
        with raised_as(ContractError, f"{what} can't be read: ", hide=path):
            stored = _views(con)
    found = {name: remote_table(sql) for (schema, name), sql in stored.items() if schema == "main"}
    return {name: remote for name, remote in found.items() if remote is not None}


def _updated(con: "DuckDBPyConnection", path: Path, catalog: Catalog, data_url: str) -> dict[str, str]:
    what = "the last snapshot's analytics.duckdb"
    is_plain = path in duckdb_files.PLAIN
    duckdb_files.attach(con, path, _FILE, what=what, writable=True)
    with raised_as(ContractError, f"{what} can't be used: ", hide=path):
        tables = dict(con.execute(_BASE_TABLES).fetchall())
        if tables != _expected() or not (is_plain or con.execute(_STRANGERS).fetchone() == (0,)):
            raise ContractError("it contains something that we did not write")
        return _write(con, catalog, data_url)


def _expected() -> dict[str, str]:
    """Return the SQL of our tables as DuckDB writes it, without quotes."""
    return {
        f"main.{table}": f"CREATE TABLE {table}({', '.join(f'{c} {kind.upper()}' for c, kind in columns.items())});"
        for table, columns in _OUR_TABLES.items()
    }


def _create(con: "DuckDBPyConnection", path: Path) -> None:
    duckdb_files.create(con, path, _FILE)
    for table, columns in _OUR_TABLES.items():
        declared = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        con.execute(f"create table {_OF}.{table} ({declared})")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table with the names of its views, and a digest of all that its views and rows depend on."""

    table: Table
    names: tuple[Name, ...]
    digest: str


def _write(con: "DuckDBPyConnection", catalog: Catalog, data_url: str) -> dict[str, str]:
    """Write what differs into the attached file, in one transaction, and detach it."""
    if len(catalog.tables) <= _AT_ONCE:
        duckdb_files.expect_small_files(con)
    aliases: dict[str, set[str]] = {}
    for row in catalog.remote:
        aliases.setdefault(row.source, set()).add(row.alias)
    failed = {table.id: reason for table in catalog.tables if (reason := _refusal(table, aliases)) is not None}
    wanted = {table.id: _wanted(table) for table in catalog.tables if table.id not in failed}
    stored = _views(con)
    digests = dict(con.execute(f"select table_id, digest from {_OF}._built").fetchall())
    same = {
        table_id
        for table_id, one in wanted.items()
        if digests.get(table_id) == one.digest
        and all(_is_ours(one.table, n, stored.get(n), data_url) for n in one.names)
    }
    kept = {name for table_id in same for name in wanted[table_id].names}
    changed = [one for table_id, one in wanted.items() if table_id not in same]
    failed |= _create_views(con, changed, data_url)
    changed = [one for one in changed if one.table.id not in failed]
    con.begin()
    if stale := stored.keys() - kept:
        con.execute(";".join(f"drop view {_OF}.{quote(schema)}.{quote(name)}" for schema, name in stale))
    con.execute(f"copy from database {_NEW} to {_OF} (schema)")
    _drop_schemas(con, {schema for one in wanted.values() for schema, _ in one.names})
    gone = [*(digests.keys() - same)]
    for table in ("_tables", "_files", "_built"):
        con.execute(f"delete from {_OF}.{table} where list_contains(?, table_id)", [gone])
    _describe(con, catalog, changed)
    con.commit()
    duckdb_files.detach(con, _FILE)
    return failed


def _describe(con: "DuckDBPyConnection", catalog: Catalog, changed: Sequence[_Wanted]) -> None:
    """Write the rows of tables that have changed, and the databases to attach."""
    duckdb_files.insert(con, f"{_OF}._tables", _TABLES, [_table_row(one.table) for one in changed])
    duckdb_files.insert(con, f"{_OF}._files", _FILES, [row for one in changed for row in _file_rows(one.table)])
    duckdb_files.insert(con, f"{_OF}._built", _BUILT, [[one.table.id, one.digest] for one in changed])
    con.execute(f"delete from {_OF}._remote_attach")
    remote = [list(row.model_dump().values()) for row in catalog.remote]
    duckdb_files.insert(con, f"{_OF}._remote_attach", _REMOTE_ATTACH, remote)
    # the number of the snapshot: on S3, equal bytes would have equal versions
    con.execute(f"comment on table {_OF}._tables is 'snapshot {catalog.snapshot}'")


def _refusal(table: Table, aliases: Mapping[str, set[str]]) -> str | None:
    """Return why no view of a table can be written; `None` if it can."""
    if table.query_mode == "remote":
        if table.remote is None or table.remote[0] not in aliases.get(table.source, ()):
            return f"the view of the remote table {table.id!r} is missing; run its source again"
        return None
    if not table.files or not table.columns:
        return f"{table.id!r} has no files; run its source again"
    bad = next((file.path for file in table.files if not is_data_path(table.source, file.path)), None)
    return bad and f"{table.id!r} lists the file {bad!r:.300}, which is not in the folder of its source"


def _wanted(table: Table) -> _Wanted:
    names = (("main", table.view), (table.source, table.name))
    text = table.model_dump_json(exclude={"registration", "notice"}, exclude_defaults=True)
    is_taken = table.source in view_names.TAKEN_SCHEMAS or not table.columns
    return _Wanted(table, names[: 1 if is_taken else 2], hashlib.sha256(text.encode()).hexdigest()[:32])


def _is_ours(table: Table, name: Name, stored: str | None, data_url: str) -> bool:
    """Return whether the SQL of a stored view is what we would write."""
    if stored is None:
        return False
    if name[0] != "main":
        return stored.replace('"', "") == f"CREATE VIEW {name[0]}.{name[1]} AS SELECT * FROM main.{table.view};"
    if table.query_mode == "remote":
        return remote_table(stored) == table.remote
    return is_view_of(stored, table.view, tuple(file.path for file in table.files), data_url)


def _create_views(con: "DuckDBPyConnection", tables: Sequence[_Wanted], data_url: str) -> dict[str, str]:
    """Create views in a database in memory, from which their schema is copied to the file; return what failed, by id.

    DuckDB binds a view when it is created, and binding one of parquet opens its files. So `read_parquet` is a macro here that
    returns the columns of the table; a view has the text of its query, in which the macro is not resolved. A copy of a schema
    binds nothing, and the macro is dropped before.
    """
    ordered = sorted(tables, key=lambda one: [(column.name, column.type) for column in one.table.columns])
    failed: dict[str, str] = {}
    con.execute(f"attach ':memory:' as {_NEW}")
    try:
        for batch in _batches(ordered, _AT_ONCE):
            _create_batch(con, batch, data_url)
    except ContractError:  # one of them fails: find out which
        con.execute(f"use memory; detach {_NEW}; attach ':memory:' as {_NEW}")
        for (one,) in _batches(ordered, 1):
            try:
                _create_batch(con, [one], data_url)
            except ContractError as error:
                failed[one.table.id] = str(error)
                _withdraw(con, one)
    con.execute(f"use memory; drop macro table if exists {_NEW}.main.read_parquet")
    return failed


def _create_batch(con: "DuckDBPyConnection", batch: Sequence[_Wanted], data_url: str) -> None:
    statements = [f"use {_NEW}"]  # so that the views name no database
    schemas = {schema for one in batch for schema, _ in one.names} - {"main"}
    statements += [f"create schema if not exists {_NEW}.{quote(schema)}" for schema in sorted(schemas)]
    shape: str | None = None
    with raised_as(ContractError, "a view can't be written: "):
        for one in batch:
            if one.table.remote is None and (declared := _nulls(one.table.columns)) != shape:
                shape = declared
                macro = f"{_NEW}.main.read_parquet(f, union_by_name := 1)"
                statements.append(f"create or replace macro {macro} as table {shape}")
            statements += _view_statements(one, data_url)
        con.execute(";".join(statements))
        for one in batch:
            describe(con, "-new", one.table.view, one.table.columns)


def _withdraw(con: "DuckDBPyConnection", one: _Wanted) -> None:
    """Remove what a table that failed has left."""
    for schema, name in reversed(one.names):
        con.execute(f"drop view if exists {_NEW}.{quote(schema)}.{quote(name)}")
    if one.table.remote is not None:
        con.execute(f"detach database if exists {quote(one.table.remote[0])}")


def _view_statements(one: _Wanted, data_url: str) -> Iterator[str]:
    table, view = one.table, quote(one.table.view)
    if table.remote is not None:
        parts = table.remote
        alias, schema, name = quote(parts[0]), quote(parts[1]), quote(parts[2])
        declared = ", ".join(f"{quote(column.name)} {checked_type(column.type)}" for column in table.columns)
        yield f"attach ':memory:' as {alias}; create schema if not exists {alias}.{schema}"
        yield f"create table {alias}.{schema}.{name} ({declared})"
        query = remote_query(parts, table.columns)
    else:
        query = view_query(tuple(file.path for file in table.files), data_url)
    yield f"create view {_NEW}.main.{view} as {query}"
    for schema_of_source, short in one.names[1:]:
        yield f"create view {_NEW}.{quote(schema_of_source)}.{quote(short)} as select * from main.{view}"
    if table.remote is not None:
        yield f"detach {quote(table.remote[0])}"


def _nulls(columns: Iterable[Column]) -> str:
    return f"select {', '.join(f'null::{checked_type(c.type)} as {quote(c.name)}' for c in columns)} where false"


def _batches(tables: Sequence[_Wanted], size: int) -> Iterator[Sequence[_Wanted]]:
    yield from (tables[start : start + size] for start in range(0, len(tables), size))


def _drop_schemas(con: "DuckDBPyConnection", wanted: set[str]) -> None:
    rows = con.execute(
        "select schema_name from duckdb_schemas() where database_name = '-file' and not internal and schema_name <> 'main'"
    ).fetchall()
    for (schema,) in rows:
        if schema not in wanted:
            con.execute(f"drop schema {_OF}.{quote(schema)}")


def _table_row(t: Table) -> list[object]:
    """Return one row of `_tables`."""
    details = [t.description, t.query_mode, t.rows, t.size_bytes, t.extracted_at, t.version, t.hash]
    return [t.id, t.source, t.name, t.view, *details]


def _file_rows(table: Table) -> list[list[object]]:
    return [[table.id, f.path, f.partition, f.rows, f.size_bytes, f.sha256] for f in table.files]


def _views(con: "DuckDBPyConnection") -> dict[Name, str]:
    rows = con.execute(
        "select schema_name, view_name, sql from duckdb_views() where database_name = ? and not internal", [_FILE]
    ).fetchall()
    return {(schema, name): sql for schema, name, sql in rows}
