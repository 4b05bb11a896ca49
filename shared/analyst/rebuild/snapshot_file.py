"""The file of a snapshot, analytics.duckdb: its views, and the tables that describe them."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Catalog, Table
from analyst.contract.model import FileRow, is_data_path
from analyst.contract.views import is_view_of, remote_table, stand_ins, write_view
from analyst.duckdb_files import told_as
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
_OUR_TABLES = {"_tables": _TABLES, "_files": _FILES, "_remote_attach": _REMOTE_ATTACH}


def begin(con: "DuckDBPyConnection", path: Path) -> None:
    """Create an analytics.duckdb and attach it as `merged`, which collects the views."""
    begin_views(con, path)
    for table, columns in _OUR_TABLES.items():
        declared = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
        con.execute(f"create table merged.{table} ({declared})")


def begin_views(con: "DuckDBPyConnection", path: Path) -> None:
    """Create a database file for views only, and attach it as `merged`."""
    duckdb_files.create(con, path, "merged")


def keep_views(
    con: "DuckDBPyConnection",
    previous: Path,
    tables: Iterable[Table],
    aliases: Mapping[str, frozenset[str]],
    data_url: str,
) -> frozenset[str]:
    """Copy the views of these tables of the last snapshot into `merged`; return those that equal the ones we would write.

    `aliases` are the databases that the remote views of each source may select from.

    Raises:
        ContractError: the last snapshot's file can't be opened.
    """
    what = "the last snapshot's analytics.duckdb"
    duckdb_files.attach(con, previous, "previous", what=what)
    with told_as(ContractError, f"{what} can't be read: ", hide=previous):
        con.execute("attach ':memory:' as kept")
        con.execute("copy from database previous to kept (schema)")
        for table in _OUR_TABLES:
            con.execute(f"drop table kept.main.{quote(table)}")
        stored = _views(con, "kept")
        proven = frozenset(
            table.view
            for table in tables
            if table.view in stored and _is_proven(table, stored[table.view], aliases, data_url)
        )
        for view in stored.keys() - proven:
            con.execute(f"drop view kept.main.{quote(view)}")
        _drop_named(con, "kept", {(table.source, table.name): table for table in tables if table.view in proven})
        gather(con, ["kept"])
        duckdb_files.detach(con, "kept")
        duckdb_files.detach(con, "previous")
    return proven


def _is_proven(table: Table, stored: str, aliases: Mapping[str, frozenset[str]], data_url: str) -> bool:
    if table.query_mode == "remote":
        remote = remote_table(stored)
        return remote is not None and remote[0] in aliases.get(table.source, ())
    return is_view_of(stored, table.view, tuple(file.path for file in table.files), data_url)


def make_view(con: "DuckDBPyConnection", table: Table, data_url: str) -> None:
    """Write the view of a table into `merged` from its entry in the catalog.

    Raises:
        ContractError: the table is remote, or its entry is not valid.
    """
    if not table.files:
        raise ContractError(f"the view of the remote table {table.id!r} is missing; run its source again")
    if bad := [file.path for file in table.files if not is_data_path(table.source, file.path)]:
        raise ContractError(f"{table.id!r} lists the file {bad[0]!r:.300}, which is not in the folder of its source")
    stats = json.dumps({"columns": {column.name: {"type": column.type} for column in table.columns}})
    files = [FileRow(f.path, f.partition, f.rows, f.size_bytes, f.sha256, stats) for f in table.files]
    with stand_ins() as home:
        write_view(con, "merged", table.view, files, table.columns, data_url=data_url, home=home)


def rename(con: "DuckDBPyConnection", database: str, names: Mapping[str, str]) -> None:
    """Rename the views in a database to the names that they own, through temporary names that can't collide."""
    moved = [(old, new) for old, new in names.items() if old != new]
    for number, (old, _new) in enumerate(moved):
        con.execute(f"alter view {quote(database)}.main.{quote(old)} rename to {quote(f'-{number}')}")
    for number, (_old, new) in enumerate(moved):
        con.execute(f"alter view {quote(database)}.main.{quote(f'-{number}')} rename to {quote(new)}")


def gather(con: "DuckDBPyConnection", databases: Iterable[str]) -> None:
    """Copy databases to `merged` in one transaction: every commit waits for the disk."""
    con.begin()
    for database in databases:
        con.execute(f"copy from database {quote(database)} to merged (schema)")
    con.commit()


def add_views(con: "DuckDBPyConnection", paths: Iterable[Path]) -> None:
    """Copy the views of database files into `merged`."""
    names = {f"batch_{number}": path for number, path in enumerate(paths)}
    for name, path in names.items():
        duckdb_files.attach(con, path, name, what="a batch of views")
    gather(con, names)
    for name in names:
        duckdb_files.detach(con, name)


def finish(con: "DuckDBPyConnection", catalog: Catalog) -> None:
    """Write the views in the schemas of sources, and the catalog's tables, into analytics.duckdb, and close it."""
    _name_by_source(con, catalog.tables)
    insert = partial(duckdb_files.insert, con)
    con.begin()
    insert("merged._tables", _TABLES, [_table_row(table) for table in catalog.tables])
    insert("merged._files", _FILES, [row for table in catalog.tables for row in _file_rows(table)])
    insert("merged._remote_attach", _REMOTE_ATTACH, [list(remote.model_dump().values()) for remote in catalog.remote])
    _number(con, catalog)
    con.commit()
    duckdb_files.detach(con, "merged")


def _name_by_source(con: "DuckDBPyConnection", tables: Iterable[Table]) -> None:
    """Write a view `<source>.<table>` for each view in `merged` that has none.

    DuckDB binds a view when it is created, and binding one of parquet opens its files. So the new views are created over
    empty tables of the same names and columns, and are copied without these: a copy of a schema binds nothing.
    """
    there = _named(con, "merged")
    statements: list[str] = []
    for source, named in view_names.by_source(tables).items():
        statements.append(f"create schema {quote(source)}")
        for table in named:
            if (source, table.name) not in there:
                columns = ", ".join(f"{quote(column.name)} {checked_type(column.type)}" for column in table.columns)
                short, full = f"main.{quote(table.view)}", f"{quote(source)}.{quote(table.name)}"
                statements.append(f"create table {short} ({columns})")
                statements.append(f"create view {full} as select * from {short}")
                statements.append(f"drop table {short}")
    if statements:
        con.execute("attach ':memory:' as named; use named")  # so that the views name no database
        con.execute("; ".join(statements))
        con.execute("use memory")
        gather(con, ["named"])
        duckdb_files.detach(con, "named")


def _drop_named(con: "DuckDBPyConnection", database: str, kept: Mapping[tuple[str, str], Table]) -> None:
    """Drop the views in schemas of sources, except those of `kept` tables that equal the ones that we would write."""
    for (schema, name), sql in _named(con, database).items():
        table = kept.get((schema, name))
        ours = None if table is None else f"CREATE VIEW {schema}.{name} AS SELECT * FROM main.{table.view};"
        if sql.replace('"', "") != ours:
            con.execute(f"drop view {quote(database)}.{quote(schema)}.{quote(name)}")
    left = {schema for schema, _name in _named(con, database)}
    rows = con.execute(
        "select schema_name from duckdb_schemas() where database_name = ? and not internal and schema_name <> 'main'",
        [database],
    ).fetchall()
    for (schema,) in rows:
        if schema not in left:
            con.execute(f"drop schema {quote(database)}.{quote(schema)} cascade")


def renumber(path: Path, catalog: Catalog) -> None:
    """Turn the analytics.duckdb of an earlier snapshot into that of a new one with the same tables.

    Raises:
        ContractError: the file can't be opened.
    """
    with duckdb_files.connect(threads=1) as con:
        duckdb_files.attach(con, path, "merged", what="the earlier snapshot's analytics.duckdb", writable=True)
        _number(con, catalog)
        duckdb_files.detach(con, "merged")


def _number(con: "DuckDBPyConnection", catalog: Catalog) -> None:
    """Write the number of the snapshot into the file: on S3, equal bytes would have equal versions."""
    con.execute(f"comment on table merged._tables is 'snapshot {catalog.snapshot}'")


def _table_row(t: Table) -> list[object]:
    """Return one row of `_tables`."""
    about = [t.description, t.query_mode, t.rows, t.size_bytes, t.extracted_at, t.version, t.hash]
    return [t.id, t.source, t.name, t.view, *about]


def _file_rows(table: Table) -> list[list[object]]:
    return [[table.id, f.path, f.partition, f.rows, f.size_bytes, f.sha256] for f in table.files]


def _views(con: "DuckDBPyConnection", database: str) -> dict[str, str]:
    rows = con.execute(
        "select view_name, sql from duckdb_views() where database_name = ? and schema_name = 'main' and not internal",
        [database],
    ).fetchall()
    return dict(rows)


def _named(con: "DuckDBPyConnection", database: str) -> dict[tuple[str, str], str]:
    """Return the SQL of the views in schemas of sources, by schema and name."""
    rows = con.execute(
        "select schema_name, view_name, sql from duckdb_views() "
        "where database_name = ? and schema_name <> 'main' and not internal",
        [database],
    ).fetchall()
    return {(schema, name): sql for schema, name, sql in rows}
