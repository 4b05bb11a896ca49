"""View names. A name belongs to a table permanently, so a query keeps its meaning when tables come and go.

Every table has two names in analytics.duckdb: the short one that it owns, such as `orders`, and `shop.orders`, its name in
the schema of its source. The second one never depends on other sources.
"""

from collections.abc import Iterable, Mapping

from analyst.catalog import Table

RESERVED = frozenset(
    {
        "_tables",
        "_files",
        "_remote_attach",
        "_delta",
        "_meta",
        "_state",
        "_runs",
        "_registrations",
        "_edits",
        "_parts",
        "_inputs",
    }
)
"""Names of our own tables in analytics.duckdb."""


TAKEN_SCHEMAS = frozenset({"main", "temp", "system", "memory", "information_schema", "pg_catalog"})
"""Sources without a schema of their own: DuckDB has one, or a database, of this name.

In `main`, the tables of such a source would be mistaken for the short names of others.
"""


def by_source(tables: Iterable[Table]) -> dict[str, list[Table]]:
    """Return the tables that get a view in a schema, by schema."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        if table.source not in TAKEN_SCHEMAS and table.columns:
            found.setdefault(table.source, []).append(table)
    return found


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
