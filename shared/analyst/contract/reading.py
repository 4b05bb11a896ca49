"""Reading an extract.duckdb, whoever wrote it."""

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst import duckdb_files
from analyst.contract.model import NOTICED, QUERY_MODES, SCHEMA, Extract, FileRow, Meta, Notice, TableState
from analyst.duckdb_files import told_as
from analyst.errors import ContractError
from analyst.names import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def open_extract(con: "DuckDBPyConnection", path: Path, alias: str, *, what: str) -> Extract:
    """Attach an extract read-only as `alias` and read what it says.

    Raises:
        ContractError: it is no DuckDB file, has no `_meta`, or a `_meta` that can't be read.
    """
    duckdb_files.attach(con, path, alias, what=what)
    return read(con, alias, what=what)


def read(con: "DuckDBPyConnection", alias: str, *, what: str) -> Extract:
    """Read what an attached extract says. Tables of the contract besides `_meta` may be missing."""
    with told_as(ContractError, f"{what} can't be read: "):
        return Extract(_meta(con, alias, what), _files(con, alias), _states(con, alias), notices=_notices(con, alias))


def originals(con: "DuckDBPyConnection", alias: str, *, what: str) -> dict[str, dict[str, str]]:
    """Read what sources call the columns of the tables, which is their comment where it is not their name."""
    with told_as(ContractError, f"{what} can't be read: "):
        rows = con.execute(
            """
            select table_name, column_name, coalesce(comment, column_name) from duckdb_columns()
            where database_name = ? and schema_name = 'main' and not starts_with(table_name, '_')
            """,
            [alias],
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, original in rows:
        found.setdefault(table, {})[column] = original
    return found


def require_columns(con: "DuckDBPyConnection", alias: str, table: str, what: str) -> None:
    """Make sure that an attached extract has a table of the contract with its columns.

    Raises:
        ContractError: it has not.
    """
    columns = _columns(con, alias, table)
    missing = [column for column in SCHEMA[table] if column not in columns]
    if missing:
        lacks = f"a {table} without {', '.join(missing)}" if columns else f"no table {table}"
        raise ContractError(f"{what} has {lacks}; see the contract of extract.duckdb")


def fetch(con: "DuckDBPyConnection", query: str) -> list[Any] | None:
    """Ask a table of the contract; `None` if it is not there, or not with these columns. Looking first takes longer."""
    import duckdb

    try:
        return con.execute(query).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None


def _columns(con: "DuckDBPyConnection", alias: str, table: str) -> set[str]:
    """Tell a table's columns, none if there is no such table. Catalogue functions would list every attached file."""
    import duckdb

    try:
        return {row[0] for row in con.execute(f"describe {quote(alias)}.main.{table}").fetchall()}
    except duckdb.CatalogException:
        return set()


def _meta(con: "DuckDBPyConnection", alias: str, what: str) -> dict[str, Meta]:
    rows = fetch(
        con,
        f"""
        select table_name::varchar, description::varchar, rows::bigint, size_bytes::bigint, extracted_at::timestamp,
               coalesce(query_mode, 'local')::varchar
        from {quote(alias)}.main._meta order by rowid
        """,
    )
    if rows is None:
        require_columns(con, alias, "_meta", what)
    meta: dict[str, Meta] = {}
    for table, description, count, size, extracted_at, mode in rows or ():
        entry = Meta(table, description, count, size, extracted_at and extracted_at.replace(tzinfo=UTC), mode)
        if entry.table in meta:
            raise ContractError(f"{what} has two rows for the table {entry.table!r} in _meta")
        if entry.query_mode not in QUERY_MODES:
            raise ContractError(f"{what} gives the table {entry.table!r} the unknown query_mode {entry.query_mode!r}")
        meta[entry.table] = entry
    return meta


def _files(con: "DuckDBPyConnection", alias: str) -> dict[str, tuple[FileRow, ...]]:
    rows = fetch(
        con,
        f"""
        select table_name, path, "partition", rows, size_bytes, sha256, stats::varchar
        from {quote(alias)}.main._files order by rowid
        """,
    )
    files: dict[str, list[FileRow]] = {}
    for table, *row in rows or ():
        files.setdefault(table, []).append(FileRow(*row))
    return {table: tuple(found) for table, found in files.items()}


def _notices(con: "DuckDBPyConnection", alias: str) -> dict[str, Notice]:
    rows = fetch(con, f"select table_name::varchar, status::varchar, error::varchar from {quote(alias)}.main._runs")
    return {table: Notice(status, text) for table, status, text in rows or () if status in NOTICED and text}


def _states(con: "DuckDBPyConnection", alias: str) -> dict[str, TableState]:
    import json

    rows = fetch(con, f'select table_name, version, "cursor"::varchar, fingerprint from {quote(alias)}.main._state')
    registered = dict(fetch(con, f"select table_name, uuid from {quote(alias)}.main._registrations") or ())
    return {
        table: TableState(version, None if cursor is None else json.loads(cursor), fingerprint, registered.get(table))
        for table, version, cursor, fingerprint in rows or ()
    }
