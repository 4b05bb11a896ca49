"""Where a query runs: on the mirror, at the server, or here over local tables and rows that the server sends."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from da.errors import DaError
from da.mirror.manifest import Table
from da.mirror.state import State
from da.query.receipts import objects
from da.sql import quote, quote_path, quote_text

if TYPE_CHECKING:
    import duckdb

    from da.server import Server

Scope = Literal["auto", "local", "server"]

_PLAIN: Final = frozenset({"", "main"})


@dataclass(frozen=True, slots=True)
class Remote:
    """A table that is not mirrored, as SQL names it, with the columns that the SQL may read (`None`: all)."""

    schema: str
    name: str
    table: Table
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Named:
    """The tables that SQL names: `remote` ones, which only the server has, and `local` ones by schema and name.

    `has_own` says whether a local one is not the server's: a table of the user, or a snapshot.
    """

    remote: tuple[Remote, ...] = ()
    local: tuple[tuple[str, str], ...] = ()
    has_own: bool = False


def named(connection: "duckdb.DuckDBPyConnection", sql: str, state: State) -> Named:
    """Find the tables that SQL names; of anything but one query, none."""
    row = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree.get("error") or len(tree["statements"]) != 1:
        return Named()
    node = tree["statements"][0]["node"]

    @cache
    def known() -> dict[str, Table]:
        """Return the tables that are not mirrored. Most queries name none, and a large mirror takes long to read."""
        return {
            name: table for table in state.tables.values() for name in (table.view, table.id) if not table.is_mirrored
        }

    ours, there = _ours(connection), _relations(connection)
    defined = {str(cte["key"]).lower() for each in objects(node) if "cte_map" in each for cte in each["cte_map"]["map"]}
    remote: dict[tuple[str, str], Table] = {}
    local: dict[tuple[str, str], bool] = {}
    for each in objects(node):
        if each.get("type") != "BASE_TABLE" or "table_name" not in each or each.get("catalog_name"):
            continue
        schema, name = str(each["schema_name"]).lower(), str(each["table_name"]).lower()
        place = ("main" if schema in _PLAIN else schema, name)
        if place in there:
            local[place] = place in ours
        elif name not in defined and (table := known().get(name if schema in _PLAIN else f"{schema}.{name}")):
            remote[place] = table
    found = tuple(Remote(*place, table, _columns(node, table)) for place, table in sorted(remote.items()))
    return Named(found, tuple(sorted(local)), not all(local.values()))


def _columns(node: Mapping[str, Any], table: Table) -> tuple[str, ...] | None:
    """Return the columns of a table that a query may read; `None` for all of them."""
    mentioned, ends, rows = set[str](), set[str](), set[str]()
    for each in objects(node):
        if (
            each.get("class") == "STAR"
            or str(each.get("type")) in {"PIVOT", "SHOW_REF"}
            or each.get("ref_type") == "NATURAL"
        ):
            return None
        if each.get("column_name_alias"):
            return None
        if each.get("class") == "COLUMN_REF":
            mentioned.update(name.lower() for name in each["column_names"])
            ends.add(each["column_names"][-1].lower())
        mentioned.update(name.lower() for name in each.get("using_columns") or ())
        if each.get("type") == "BASE_TABLE":
            rows.add(str(each.get("alias") or each.get("table_name")).lower())
    if ends & rows:
        return None
    used = tuple(column.name for column in table.columns if column.name.lower() in mentioned)
    return used or tuple(column.name for column in table.columns[:1]) or None


def _ours(connection: "duckdb.DuckDBPyConnection") -> set[tuple[str, str]]:
    """Return the views of the server's tables, by schema and name."""
    query = """
        select r.schema, r.view from (
            select 'main' as schema, view, comment, id from _da.tables
            union all select schema, view, comment, id from _da.qualified
        ) r join duckdb_views() v on v.schema_name = r.schema and v.view_name = r.view and v.comment = r.comment
        where not starts_with(r.id, 'snapshots.')
    """
    return {(schema, view) for schema, view in connection.execute(query).fetchall()}


def _relations(connection: "duckdb.DuckDBPyConnection") -> set[tuple[str, str]]:
    query = (
        "select lower(schema_name), lower(view_name) from duckdb_views() where not internal union "
        "select lower(schema_name), lower(table_name) from duckdb_tables() where not internal"
    )
    return {(schema, name) for schema, name in connection.execute(query).fetchall()}


@contextmanager
def together(database: Path, found: Named, server: "Server") -> Iterator["duckdb.DuckDBPyConnection"]:
    """Open a database in memory with the local tables and the rows of the remote ones, under the names that SQL uses.

    Only the columns that the SQL may read are fetched, into files that are deleted at the end.

    Raises:
        DaError: the server refuses a table, or its rows are too many.
    """
    import duckdb

    from da.mirror.snapshots import fetch

    with TemporaryDirectory(prefix="da-") as folder:
        fetched: list[tuple[Remote, Path]] = []
        for number, each in enumerate(found.remote):
            path = Path(folder) / f"{number}.parquet"
            columns = "*" if each.columns is None else ", ".join(map(quote, each.columns))
            try:
                fetch(server, f"select {columns} from {quote(each.table.view)}", path)
            except DaError as error:
                raise DaError(
                    f"{each.table.id} is not mirrored, and its rows can't be fetched: {error}\nTo use a part of it here, run: "
                    "da snapshot create NAME --sql SQL"
                ) from None
            fetched.append((each, path))
        connection = duckdb.connect()
        try:
            connection.execute("set TimeZone = 'UTC'; set python_enable_replacements = false")
            schemas = {each.schema for each in found.remote} | {schema for schema, _ in found.local}
            mirror = database.stem if database.stem not in schemas else "_mirror"  # or the name would be ambiguous
            connection.execute(f"attach {quote_text(str(database))} as {quote(mirror)} (read_only)")
            for schema in sorted(schemas - {"main"}):
                connection.execute(f"create schema {quote(schema)}")
            views: Sequence[tuple[str, str, str]] = [
                *(
                    (each.schema, each.name, f"read_parquet({quote_path(path)}, hive_partitioning = false)")
                    for each, path in fetched
                ),
                *((schema, name, ".".join(map(quote, (mirror, schema, name)))) for schema, name in found.local),
            ]
            for schema, name, rows in views:
                connection.execute(f"create view memory.{quote(schema)}.{quote(name)} as from {rows}")
            yield connection
        finally:
            connection.close()
