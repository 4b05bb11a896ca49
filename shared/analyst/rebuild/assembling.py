"""Assembling a snapshot: analytics.duckdb and the catalog."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Catalog, Column, Table
from analyst.names import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCRATCH = "scratch.main"
_OUR_TABLES = """
create table merged._tables (
    table_id varchar, source varchar, table_name varchar, view_name varchar, description varchar, query_mode varchar,
    rows bigint, size_bytes bigint, extracted_at timestamp, version bigint, hash varchar);
create table merged._files (
    table_id varchar, path varchar, "partition" varchar, rows bigint, size_bytes bigint, sha256 varchar);
create table merged._remote_attach (source varchar, alias varchar, extension varchar, url varchar, token_env varchar);
"""


def begin(con: "DuckDBPyConnection") -> None:
    """Make the empty database `merged`, in which views gather."""
    con.execute("attach ':memory:' as merged")
    con.execute(_OUR_TABLES)


def keep_views(
    con: "DuckDBPyConnection", previous: Path, views: frozenset[str], sources: frozenset[str]
) -> list[tuple[str, ...]]:
    """Bring these views of the last snapshot into `merged`; return the rows of `_remote_attach` of these sources.

    Raises:
        ContractError: the last snapshot's file can't be opened.
    """
    duckdb_files.attach(con, previous, "previous", what="the last snapshot's analytics.duckdb")
    con.execute("attach ':memory:' as scratch")
    con.execute("copy from database previous to scratch (schema)")
    for table in ("_tables", "_files", "_remote_attach"):
        con.execute(f"drop table {SCRATCH}.{table}")
    for view in _view_names(con, "scratch") - views:
        con.execute(f"drop view {SCRATCH}.{quote(view)}")
    remote = con.execute("select source, alias, extension, url, token_env from previous._remote_attach").fetchall()
    gather(con)
    duckdb_files.detach(con, "previous")
    return [row for row in remote if row[0] in sources]


def rename(con: "DuckDBPyConnection", names: Mapping[str, str]) -> None:
    """Give the views in `scratch` the names that they own, by way of names that nobody has."""
    moved = [(old, new) for old, new in names.items() if old != new]
    for number, (old, _new) in enumerate(moved):
        con.execute(f"alter view {SCRATCH}.{quote(old)} rename to {quote(f'-{number}')}")
    for number, (_old, new) in enumerate(moved):
        con.execute(f"alter view {SCRATCH}.{quote(f'-{number}')} rename to {quote(new)}")


def gather(con: "DuckDBPyConnection") -> None:
    """Move what is in `scratch` on to `merged`."""
    con.execute("copy from database scratch to merged (schema)")
    con.execute("detach scratch")


def columns(con: "DuckDBPyConnection") -> dict[str, tuple[Column, ...]]:
    """Tell the columns of each view in `merged`, without opening a file."""
    rows = con.execute(
        """
        select table_name, column_name, data_type, comment from duckdb_columns()
        where database_name = 'merged' and not internal order by table_name, column_index
        """
    ).fetchall()
    found: dict[str, list[Column]] = {}
    for view, name, kind, comment in rows:
        found.setdefault(view, []).append(Column(name=name, type=kind, description=comment))
    return {view: tuple(listed) for view, listed in found.items()}


def write(con: "DuckDBPyConnection", catalog: Catalog, remote: Iterable[Sequence[str]], path: Path) -> None:
    """Write `merged` and the catalog's tables to a new analytics.duckdb."""
    duckdb_files.create(con, path, "analytics")
    con.execute("copy from database merged to analytics (schema)")
    _insert(con, "_tables", [_table_row(table) for table in catalog.tables])
    _insert(con, "_files", [row for table in catalog.tables for row in _file_rows(table)])
    _insert(con, "_remote_attach", [list(row) for row in remote])
    duckdb_files.detach(con, "analytics")


def _table_row(t: Table) -> list[object]:
    """Lay out one row of `_tables`."""
    about = [t.description, t.query_mode, t.rows, t.size_bytes, t.extracted_at, t.version, t.hash]
    return [t.id, t.source, t.name, t.view, *about]


def _file_rows(table: Table) -> list[list[object]]:
    return [[table.id, f.path, f.partition, f.rows, f.size_bytes, f.sha256] for f in table.files]


def _insert(con: "DuckDBPyConnection", table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows in few statements: one for each would take most of a rebuild's time."""
    for start in range(0, len(rows), 500):
        chunk = rows[start : start + 500]
        marks = ", ".join(["(" + ", ".join("?" * len(chunk[0])) + ")"] * len(chunk))
        con.execute(f"insert into analytics.{table} values {marks}", [value for row in chunk for value in row])


def _view_names(con: "DuckDBPyConnection", database: str) -> set[str]:
    rows = con.execute(
        "select view_name from duckdb_views() where database_name = ? and not internal", [database]
    ).fetchall()
    return {name for (name,) in rows}
