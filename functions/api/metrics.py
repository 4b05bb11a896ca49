"""Metrics: listing them, showing one, compiling it to SQL, and exporting them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.metrics.view import MetricDetail, MetricSummary, detail, summary
from analyst.names import Name
from analyst.state.fields import Input, Output

_NONE = "The metric does not exist."
Short = Annotated[str, StringConstraints(max_length=200)]


class MetricQuery(Input):
    """Filter for metrics: `q` is searched for in their names, descriptions, synonyms and sample questions."""

    q: Short | None = None


class SqlRequest(Input):
    """A metric, the dimensions to group by (separated by commas), a condition in SQL, and a unit of time."""

    name: Name
    by: Short | None = None
    where: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    grain: Annotated[str, StringConstraints(max_length=20)] | None = None


class ExportQuery(Input):
    """The format of an export."""

    format: Literal["ossie", "dbt"] = Field(default="ossie")


class MetricList(Output):
    """The metrics whose tables the caller can read, by category and name."""

    snapshot: int
    metrics: tuple[MetricSummary, ...]


class MetricSql(Output):
    """The SQL of a metric."""

    name: str
    sql: str


class MetricExport(Output):
    """Metrics as a YAML document."""

    format: str
    text: str


@function("GET", "/api/metrics", allow=Role.VIEWER)
def list_metrics(query: MetricQuery, ctx: Context) -> MetricList:
    """List the metrics whose tables the caller can read."""
    found = checked_metrics.read(ctx.store)
    listed = tuple(summary(metric) for metric in _visible(ctx) if metric.has(query.q or ""))
    return MetricList(snapshot=found.snapshot, metrics=listed)


@function("GET", "/api/metrics/{name}", allow=Role.VIEWER, answers={404: _NONE})
def get_metric(name: Name, ctx: Context) -> MetricDetail:
    """Return a metric in full: what it measures, how to use it, and, if it is broken, why."""
    return detail(checked_metrics.require(_visible(ctx), name))


@function(
    "GET",
    "/api/metrics/{name}/sql",
    allow=Role.VIEWER,
    answers={404: _NONE, 422: "The metric is broken, or has no such dimension or grain."},
)
def compile_sql(request: SqlRequest, ctx: Context) -> MetricSql:
    """Compile a metric to SQL, by dimensions and time; nothing is run."""
    metric = checked_metrics.require(_visible(ctx), request.name)
    by = [name for name in (request.by or "").split(",") if name.strip()]
    return MetricSql(name=metric.name, sql=metric.sql(by, request.where, request.grain))


@function("GET", "/api/catalog/metrics", allow=Role.VIEWER)
def export_metrics(query: ExportQuery, ctx: Context) -> MetricExport:
    """Export the metrics whose tables the caller can read, for other tools: Ossie, or dbt's semantic layer."""
    from analyst.metrics import dbt, ossie

    found = [metric.defined.definition for metric in _visible(ctx)]
    if query.format == "dbt":
        return MetricExport(format="dbt", text=dbt.export(found))
    models = checked_metrics.read(ctx.store).models
    text = ossie.export_visible(found, models, ctx.snapshots.current(), ctx.access.current(), ctx.caller)
    return MetricExport(format="ossie", text=text)


def _visible(ctx: Context) -> list[CheckedMetric]:
    metrics = checked_metrics.read(ctx.store).metrics
    return visible_metrics(metrics, ctx.snapshots.current(), ctx.access.current(), ctx.caller)
