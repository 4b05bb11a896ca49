"""Lineage: where the data of a table or metric comes from, and what is built on it."""

from typing import Annotated

from pydantic import Field

from analyst import lineage
from analyst.access import Role
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import function
from analyst.lineage import Direction, Lineage
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.names import Name, TableId
from analyst.state.fields import Input
from analyst.visible_tables import require


class LineageQuery(Input):
    """A table by id or a metric by name, the direction, and the greatest number of steps; everything without a start."""

    table: TableId | None = None
    metric: Name | None = None
    direction: Direction = "both"
    depth: Annotated[int, Field(ge=1, le=100)] = 100


@function(
    "GET",
    "/api/catalog/lineage",
    allow=Role.VIEWER,
    answers={404: "The table or metric does not exist.", 422: "Both a table and a metric are named."},
)
def get_lineage(query: LineageQuery, ctx: Context) -> Lineage:
    """Return the lineage of a table or metric, or of everything, as a graph of what the caller can see."""
    if query.table is not None and query.metric is not None:
        raise InvalidInputError("both a table and a metric are named; name one of them")
    snapshot, access, metrics = ctx.snapshots.current(), ctx.access.current(), checked_metrics.read(ctx.store).metrics
    if query.table is not None:
        require(snapshot, access, ctx.caller, query.table)
    if query.metric is not None:
        checked_metrics.require(visible_metrics(metrics, snapshot, access, ctx.caller), query.metric)
    graph = lineage.lineage(snapshot, access, ctx.caller, ctx.texts.current(), metrics)
    if query.table is None and query.metric is None:
        return graph
    start = f"metric:{query.metric}" if query.metric is not None else f"table:{query.table}"
    return lineage.around(graph, start, query.direction, query.depth)
