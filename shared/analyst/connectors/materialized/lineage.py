"""The graph of materialized tables: which is computed from which, in what order, and which are out of date."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from analyst.catalog import Table

Graph = Mapping[str, Sequence[str]]
"""Materialized tables by id, each with the ids of its inputs; inputs that are not in it are ordinary tables."""

PATIENCE: Final = timedelta(hours=1)
"""How long a table waits for inputs that are out of date themselves, before it is computed from their current data."""


def cycle_through(graph: Graph, table: str) -> tuple[str, ...] | None:
    """Return a cycle that begins and ends with a table, as ids in the order of computation.

    `None` if there is none.
    """
    before: dict[str, str] = {}
    left = [table]
    while left:
        at = left.pop()
        for each in graph.get(at, ()):
            if each == table:
                way = [table, at]
                while way[-1] != table:
                    way.append(before[way[-1]])
                return tuple(way)
            if each in graph and each not in before:
                before[each] = at
                left.append(each)
    return None


def levels(graph: Graph, tables: Iterable[str]) -> Iterator[list[str]]:
    """Yield tables so that each comes after those of its inputs that are among them; tables of a cycle come last."""
    left = {table: _ancestors(graph, table) for table in tables}
    while left:
        free = sorted(table for table, above in left.items() if above.isdisjoint(left)) or sorted(left)
        yield free
        for table in free:
            del left[table]


def _ancestors(graph: Graph, table: str) -> set[str]:
    found: set[str] = set()
    left = [table]
    while left:
        for each in graph.get(left.pop(), ()):
            if each not in found and each != table:
                found.add(each)
                left.append(each)
    return found


def outdated(tables: Mapping[str, Table], now: datetime) -> list[str]:
    """Return the materialized tables of a snapshot whose inputs have other data than when they were computed, by id.

    One whose inputs are out of date themselves is not among them until those were computed, or for an hour. One whose
    input is gone is not among them either: its SQL would fail.
    """
    stale = {
        table.id: [each.table for each in table.inputs if tables[each.table].hash != each.hash]
        for table in tables.values()
        if table.inputs and all(each.table in tables for each in table.inputs)
    }
    stale = {table: changed for table, changed in stale.items() if changed}
    graph = {table.id: [each.table for each in table.inputs] for table in tables.values() if table.inputs}

    def since(table: str) -> datetime:
        return max(tables[each].extracted_at or now for each in stale[table])

    return sorted(
        table
        for table in stale
        if not any(above in stale and now - since(above) < PATIENCE for above in _ancestors(graph, table))
    )
