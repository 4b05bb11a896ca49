"""Lineage: from sources to tables, to the tables that were computed from them, to metrics; as a graph of what a caller sees.

The graph of a caller is built from what they may see and nothing else: a hidden table is not a node, and what lies
behind it is not connected through it, so no name or edge of it can be inferred.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.descriptions import Texts
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.snapshots import Snapshot
from analyst.visible_tables import of_now, visible_by_id

Kind = Literal["source", "table", "materialized", "metric"]
Direction = Literal["up", "down", "both"]


class Node(BaseModel):
    """A node. `id` is the kind and the name: `source:shop`, `table:shop.orders`, `metric:revenue`.

    `is_stale` is whether an input of a materialized table has changed since it was computed.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    name: str
    description: str | None = None
    is_stale: bool = False


class Edge(BaseModel):
    """A flow of data between two nodes; `columns` are those that are read, or null if unknown."""

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    columns: tuple[str, ...] | None = None


class Lineage(BaseModel):
    """A graph: nodes and edges in the order of their ids."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def lineage(
    snapshot: Snapshot, access: AccessList, caller: Caller, texts: Texts, metrics: Mapping[str, CheckedMetric]
) -> Lineage:
    """Return the graph of everything that the caller may see."""
    tables = visible_by_id(snapshot, access, caller)
    using = visible_metrics(metrics, snapshot, access, caller) if metrics else ()
    return _graph(tables, tables, snapshot, access, texts, using)


def of_table(  # noqa: PLR0917 - of whom and of what
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
    texts: Texts,
    metrics: Iterable[CheckedMetric],
    table_id: str,
) -> Lineage:
    """Return what a table comes from and what is built on it, at a cost that depends on these alone.

    `metrics` are those that the caller may see.
    """
    tables = visible_by_id(snapshot, access, caller)
    steps = snapshot.derived.of(_steps, snapshot, access)
    steps = [(one, other) for one, other in steps if one in tables and other in tables]
    reached = _reached(table_id, steps, len(tables)) | _reached(table_id, ((b, a) for a, b in steps), len(tables))
    beside = {each: tables[each] for each in sorted(reached)}
    using = [each for each in metrics if reached.intersection(each.tables)]
    return around(_graph(beside, tables, snapshot, access, texts, using), f"table:{table_id}", "both", len(tables))


def _steps(snapshot: Snapshot, access: AccessList) -> list[tuple[str, str]]:
    """Return the ids of each input and of the table computed from it, regardless of access."""
    computed = [(id_, table) for id_, table in of_now(snapshot, access).items() if table.inputs]
    return [(each.table, id_) for id_, table in computed for each in table.inputs if each.table != id_]


def _graph(  # noqa: PLR0917 - what a graph is made of
    tables: Mapping[str, Table],
    known: Mapping[str, Table],
    snapshot: Snapshot,
    access: AccessList,
    texts: Texts,
    metrics: Iterable[CheckedMetric],
) -> Lineage:
    """Make the graph of some tables and metrics; `known` are all tables that the caller may see."""
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    for table in tables.values():
        source = f"source:{table.source}"
        nodes.setdefault(source, Node(id=source, kind="source", name=table.source))
        description = texts.description(table, access)
        kind: Kind = "materialized" if table.inputs or table.query_mode == "materialized" else "table"
        here = f"table:{table.id}"
        nodes[here] = Node(id=here, kind=kind, name=table.id, description=description, is_stale=_is_stale(table, known))
        inputs = [each for each in table.inputs if each.table in tables and each.table != table.id]
        edges += [Edge(source=f"table:{each.table}", target=here, columns=each.columns) for each in inputs]
        if not inputs:  # also if all are hidden, so that nothing shows that they exist
            edges.append(Edge(source=source, target=here))
    for metric in metrics:
        here = f"metric:{metric.name}"
        nodes[here] = Node(id=here, kind="metric", name=metric.name, description=metric.defined.definition.description)
        edges += [Edge(source=f"table:{each}", target=here) for each in metric.tables if each in tables]
    used = {each.source for each in edges} | {each.target for each in edges}
    kept = [nodes[id_] for id_ in sorted(nodes) if nodes[id_].kind != "source" or id_ in used]
    ordered = sorted(edges, key=lambda each: (each.source, each.target))
    return Lineage(snapshot=snapshot.number, nodes=tuple(kept), edges=tuple(ordered))


def around(graph: Lineage, start: str, direction: Direction, depth: int) -> Lineage:
    """Return the part of a graph upstream of a node, downstream of it, or both, up to a number of edges away."""
    reached = {start}
    if direction in {"up", "both"}:
        reached |= _reached(start, ((each.target, each.source) for each in graph.edges), depth)
    if direction in {"down", "both"}:
        reached |= _reached(start, ((each.source, each.target) for each in graph.edges), depth)
    return Lineage(
        snapshot=graph.snapshot,
        nodes=tuple(node for node in graph.nodes if node.id in reached),
        edges=tuple(edge for edge in graph.edges if edge.source in reached and edge.target in reached),
    )


def _reached(start: str, steps: Iterable[tuple[str, str]], depth: int) -> set[str]:
    following: dict[str, list[str]] = {}
    for one, other in steps:
        following.setdefault(one, []).append(other)
    reached, last = {start}, {start}
    for _ in range(depth):
        last = {after for each in last for after in following.get(each, ())} - reached
        if not last:
            break
        reached |= last
    return reached


def _is_stale(table: Table, tables: Mapping[str, Table]) -> bool:
    """Return whether a visible input has other data than the table was computed from."""
    return any(each.table in tables and tables[each.table].hash != each.hash for each in table.inputs)
