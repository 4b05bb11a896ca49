"""Who owns which view name: a name belongs to a table for good."""

from collections.abc import Iterable, Mapping

RESERVED = frozenset(
    {"_tables", "_files", "_remote_attach", "_delta", "_meta", "_state", "_runs", "_registrations", "_edits"}
)
"""Names of our own tables in analytics.duckdb."""


def assign(owners: Mapping[str, str], tables: Iterable[str]) -> dict[str, str]:
    """Give each table (by id, in order of seniority) a view name: `{view: table id}`, with all earlier owners.

    The first to come has its own name, a later one of the same name `<source>_<name>`, then `…_2`. Names are compared
    without case.
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
