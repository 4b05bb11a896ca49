"""Metrics: the list, and the page of each with its SQL and a plot."""

from typing import Annotated, Any

from pydantic import StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import View, function
from analyst.http.pages import Form, ask, reason_of
from analyst.names import Name
from analyst.pages.results import Plot, plot
from functions.api import metrics
from functions.api import query as queries

_POINTS = 1000


class MetricsQuery(Form):
    """A search in metrics."""

    q: Annotated[str, StringConstraints(max_length=200)] = ""


class MetricPageQuery(Form):
    """A metric, how to group it, and whether to compute it."""

    name: Name
    by: Annotated[str, StringConstraints(max_length=200)] | None = None
    grain: Annotated[str, StringConstraints(max_length=20)] | None = None
    plot: bool = False


@function("GET", "/metrics", allow=Role.VIEWER)
def metrics_page(query: MetricsQuery, ctx: Context) -> View:
    """Show the metrics whose tables the caller can read."""
    found = ask(ctx, metrics.list_metrics, q=query.q or None)
    shown = [each.model_dump(mode="json", exclude={"compiled"}) for each in found.metrics]
    return View("metrics.html", "Metrics", {"metrics": shown, "snapshot": found.snapshot}, {"q": query.q}, "/metrics")


@function("GET", "/metrics/{name}", allow=Role.VIEWER, audit="query", audit_success=False)
def metric_page(query: MetricPageQuery, ctx: Context) -> View:
    """Show a metric; with `plot`, also its values over time or by a dimension, which runs a query."""
    metric = ask(ctx, metrics.get_metric, name=query.name)
    data: dict[str, Any] = {"metric": metric, "sql": None, "problem": None}
    extras: dict[str, Any] = {
        "wanted": query,
        "plot": None,
        "grains": ("day", "week", "month", "quarter", "year"),
        "can_query": ctx.caller.includes(Role.ANALYST),
    }
    if metric.status == "ok":
        grain = query.grain or (metric.metadata["grain"] if metric.metadata["time_column"] and not query.by else None)
        try:
            data["sql"] = ask(ctx, metrics.compile_sql, name=query.name, by=query.by, grain=grain).sql
            if query.plot and extras["can_query"]:
                extras["plot"] = _plotted(ctx, data["sql"])
        except AnalystError as error:
            data["problem"] = reason_of(error)
    return View("metric.html", metric.display_name, data, extras, "/metrics")


def _plotted(ctx: Context, sql: str) -> Plot:
    answer = ask(ctx, queries.query, sql=sql, limit=_POINTS, receipt=False).loads()
    return plot(answer["columns"], answer["rows"], "auto", None, answer["columns"][-1]["name"])
