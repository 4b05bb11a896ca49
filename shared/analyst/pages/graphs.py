"""Graphs as inline SVG, drawn at the server: nodes in layers from left to right, joined by curves.

A graph is readable without its picture: nodes are links with full names, and templates list the edges below it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from analyst.lineage import Lineage
from analyst.profiles.relations import Relation

_WIDTH: Final = 192
_HEIGHT: Final = 44
_ACROSS: Final = 40
_DOWN: Final = 12
_MARGIN: Final = 4
_LONGEST: Final = 24
_MOST: Final = 40
"""Nodes of a drawing; a graph with more is cut off at those that are farthest from its middle."""

_SVG: Final = Markup(
    '<div class="chart graph" tabindex="0" role="group" aria-label="{0}">'
    '<svg class="graph" width="{1}" height="{2}" viewBox="0 0 {1} {2}" role="group" aria-label="{0}">{3}</svg></div>'
)
_CURVE: Final = Markup('<path class="edge" d="M{} {}C{} {} {} {} {} {}"/>')
_BOX: Final = Markup(
    '<rect class="node {}" x="{}" y="{}" width="{}" height="{}" rx="6"/>'
    '<text x="{}" y="{}" class="name">{}</text><text x="{}" y="{}">{}</text><title>{}</title>'
)


@dataclass(frozen=True, slots=True)
class Node:
    """A box: its name, a note below it, the page that it links to, and its class in the stylesheet."""

    name: str
    note: str = ""
    url: str | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawing, how many nodes are not in it, and its edges as texts: from, to, and what flows."""

    markup: Markup
    left_out: int
    edges: tuple[tuple[Node, Node, str], ...]


_NOTES: Final[Mapping[str, str]] = {
    "source": "source",
    "table": "table",
    "materialized": "materialized",
    "metric": "metric",
}


def lineage_drawing(graph: Lineage, here: str) -> Drawn:
    """Draw where a node comes from and what is built on it; `here` is its id."""
    made = {
        node.id: Node(
            node.name,
            f"{_NOTES[node.kind]}{' · outdated' if node.is_stale else ''}",
            None if node.id == here else _url(node.kind, node.name),
            f"{node.kind}{' here' if node.id == here else ''}",
        )
        for node in graph.nodes
    }
    edges = [(edge.source, edge.target) for edge in graph.edges if edge.source in made and edge.target in made]
    columns = {(edge.source, edge.target): ", ".join(edge.columns or ()) for edge in graph.edges}
    kept = _nearest(here, edges, made)
    shown = [edge for edge in edges if kept.issuperset(edge)]
    title = f"Lineage of {made[here].name}"
    markup = _drawn({key: node for key, node in made.items() if key in kept}, shown, _layers(kept, shown), title)
    return Drawn(markup, len(made) - len(kept), tuple((made[a], made[b], columns[a, b]) for a, b in shown))


def relations_drawing(table_id: str, relations: Sequence[Relation]) -> Drawn:
    """Draw the tables that refer to a table at its left, and those that it refers to at its right."""
    here = Node(table_id, "this table", None, "table here")
    nodes, edges, layers = {"here": here}, list[tuple[str, str]](), {"here": 1}
    for number, each in enumerate(relations[: _MOST - 1]):
        key, is_right = str(number), each.direction == "belongs_to"
        note = " → ".join((", ".join(each.columns), ", ".join(each.references))[:: 1 if is_right else -1])
        style = "table" if each.is_declared else "table proposed"
        nodes[key] = Node(each.table, note, _url("table", each.table), style)
        edges.append(("here", key) if is_right else (key, "here"))
        layers[key] = 2 if is_right else 0
    first = min(layers.values())
    placed = {key: layer - first for key, layer in layers.items()}
    markup = _drawn(nodes, edges, placed, f"Relations of {table_id}")
    listed = tuple((nodes[a], nodes[b], nodes[a if b == "here" else b].note) for a, b in edges)
    return Drawn(markup, max(0, len(relations) - _MOST + 1), listed)


def _url(kind: str, name: str) -> str:
    if kind == "source":
        return f"/catalog?source={name}"
    return f"/metrics/{name}" if kind == "metric" else f"/tables/{name.replace('.', '/', 1)}"


def _nearest(start: str, edges: Iterable[tuple[str, str]], nodes: Iterable[str]) -> set[str]:
    """Return the nodes to draw: those with the fewest steps from the start."""
    beside: dict[str, list[str]] = {}
    for one, other in edges:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    found, last = [start], [start]
    while last and len(found) < _MOST:
        seen = set(found)
        last = [*dict.fromkeys(each for node in last for each in beside.get(node, ()) if each not in seen)]
        found += last
    return set(found[:_MOST]) & set(nodes)


def _layers(nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the layer of each node: after those of all that lead to it. Edges of a cycle that lead back are ignored."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    for one, other in edges:
        before[other].append(one)
    layers: dict[str, int] = {}
    for start in sorted(before):
        left: list[tuple[str, bool]] = [(start, False)]
        under_way: set[str] = set()
        while left:
            node, is_ready = left.pop()
            if node in layers:
                continue
            if is_ready:
                layers[node] = max((layers[each] + 1 for each in before[node] if each in layers), default=0)
            elif node not in under_way:
                under_way.add(node)
                left.append((node, True))
                left += [(each, False) for each in before[node]]
    return layers


def _drawn(
    nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]], layers: Mapping[str, int], title: str
) -> Markup:
    columns: list[list[str]] = []
    place: dict[str, float] = {}
    for number in range(max(layers.values(), default=0) + 1):
        # at the mean height of what leads to them, so that fewer curves cross
        before = {
            node: [place[one] for one, other in edges if other == node and one in place]
            for node in nodes
            if layers[node] == number
        }
        mean = {node: sum(found) / len(found) if found else 0 for node, found in before.items()}
        column = sorted(before, key=lambda node: (mean[node], node))
        columns.append(column)
        place |= {node: at / max(1, len(column)) for at, node in enumerate(column)}
    tallest = max(len(column) for column in columns)
    height = _MARGIN * 2 + tallest * (_HEIGHT + _DOWN) - _DOWN
    corner: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (_HEIGHT + _DOWN) + _DOWN) / 2
        for at, node in enumerate(column):
            corner[node] = (_MARGIN + number * (_WIDTH + _ACROSS), top + at * (_HEIGHT + _DOWN))
    curves = [_curve(corner[one], corner[other]) for one, other in edges]
    boxes = [_box(node, *corner[key]) for key, node in nodes.items()]
    width = _MARGIN * 2 + len(columns) * (_WIDTH + _ACROSS) - _ACROSS
    return _SVG.format(title, width, round(height), Markup("").join([*curves, *boxes]))


def _curve(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
    x2, y2 = end[0], end[1] + _HEIGHT / 2
    middle = _ACROSS / 2
    return _CURVE.format(*map(round, (x1, y1, x1 + middle, y1, x2 - middle, y2, x2, y2)))


def _box(node: Node, x: float, y: float) -> Markup:
    left, top = round(x), round(y)
    inner = _BOX.format(
        node.style, left, top, _WIDTH, _HEIGHT, left + 10, top + 18, _short(node.name), left + 10, top + 34,
        _short(node.note), f"{node.name} ({node.note})" if node.note else node.name,
    )  # fmt: skip
    return inner if node.url is None else Markup('<a href="{}">{}</a>').format(node.url, inner)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
