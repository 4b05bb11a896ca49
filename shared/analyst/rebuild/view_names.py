"""View names. A name belongs to a table permanently, so a query keeps its meaning when tables come and go.

Every table has two names in analytics.duckdb: the short one that it owns, such as `orders`, and `shop.orders`, its name in
the schema of its source. The second one never depends on other sources.
"""

from collections.abc import Iterable, Mapping

from analyst.contract.model import SCHEMA
from analyst.names import quote

RESERVED = frozenset({*SCHEMA, "_tables", "_built"})
"""Names of the tables of the contract, and of our own in analytics.duckdb."""

TAKEN_SCHEMAS = frozenset({"main", "temp", "system", "memory", "information_schema", "pg_catalog"})
"""Sources without a schema of their own: DuckDB has one, or a database, of this name.

In `main`, the tables of such a source would be mistaken for the short names of others.
"""


def name_parts(table_id: str, view: str) -> tuple[str, ...]:
    """Return a table's name in a statement: its source and name, or its view if DuckDB has a schema named like the source."""
    source, name = table_id.split(".")
    return (view,) if source in TAKEN_SCHEMAS else (source, name)


def sql_name(table_id: str, view: str) -> str:
    """Return a table's name in a statement, quoted: `"shop"."orders"`."""
    return ".".join(map(quote, name_parts(table_id, view)))


def assign(owners: Mapping[str, str], tables: Iterable[str]) -> dict[str, str]:
    """Assign a view name to each table id, the oldest table first; return `{view: table id}` with all earlier owners.

    The first table gets its own name, a later one of the same name `<source>_<name>`, then `…_2`. Names are compared
    without case, as DuckDB does.
    """
    assigned = dict(owners)
    views = {table: view for view, table in owners.items()}
    taken = {view.lower() for view in owners} | RESERVED
    for table in tables:
        if table not in views:
            view = _free_name(table, taken)
            views[table] = view
            taken.add(view.lower())
            assigned[view] = table
    return assigned


def _free_name(table: str, taken: set[str]) -> str:
    source, name = table.split(".", 1)
    if name.lower() not in taken:
        return name
    long = f"{source}_{name}"
    if long.lower() not in taken:
        return long
    number = 2
    while f"{long}_{number}".lower() in taken:
        number += 1
    return f"{long}_{number}"
