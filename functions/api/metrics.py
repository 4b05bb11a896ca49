"""Metrics: listing them, showing one, compiling it to SQL, and exporting them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.access import Role
from analyst.catalog import Table
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import function
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.metrics.view import MetricDetail, MetricSummary, detail, summary
from analyst.names import Name
from analyst.visible_tables import visible
from da.errors import DaError
from da.metrics.compilation import Metric, compile_metric

_NONE = "The metric does not exist."
Short = Annotated[str, StringConstraints(max_length=200)]


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricQuery(_Input):
    """Filter for metrics: `q` is searched for in their names, descriptions, synonyms and sample questions."""

    q: Short | None = None


class MetricRequest(_Input):
    """The name of a metric."""

    name: Name


class SqlRequest(_Input):
    """A metric, the dimensions to group by (separated by commas), a condition in SQL, and a unit of time."""

    name: Name
    by: Short | None = None
    where: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    grain: Annotated[str, StringConstraints(max_length=20)] | None = None


class ExportQuery(_Input):
    """The format of an export."""

    format: Literal["ossie", "dbt"] = Field(default="ossie")


class MetricList(BaseModel):
    """The metrics whose tables the caller can read, by category and name."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    metrics: tuple[MetricSummary, ...]


class MetricSql(BaseModel):
    """The SQL of a metric."""

    model_config = ConfigDict(frozen=True)

    name: str
    sql: str


class MetricExport(BaseModel):
    """Metrics as a YAML document."""

    model_config = ConfigDict(frozen=True)

    format: str
    text: str


@function("GET", "/api/metrics", allow=Role.VIEWER)
def list_metrics(query: MetricQuery, ctx: Context) -> MetricList:
    """List the metrics whose tables the caller can read."""
    found = checked_metrics.read(ctx.store)
    words = (query.q or "").lower().split()
    listed = tuple(summary(metric) for metric in _visible(ctx) if all(word in _text(metric) for word in words))
    return MetricList(snapshot=found.snapshot, metrics=listed)


@function("GET", "/api/metrics/{name}", allow=Role.VIEWER, answers={404: _NONE})
def get_metric(request: MetricRequest, ctx: Context) -> MetricDetail:
    """Return a metric in full: what it measures, how to use it, and why it is broken if it is."""
    return detail(checked_metrics.require(_visible(ctx), request.name))


@function(
    "GET",
    "/api/metrics/{name}/sql",
    allow=Role.VIEWER,
    answers={404: _NONE, 422: "The metric is broken, or has no such dimension or grain."},
)
def compile_sql(request: SqlRequest, ctx: Context) -> MetricSql:
    """Compile a metric to SQL, by dimensions and time; nothing is run."""
    metric = checked_metrics.require(_visible(ctx), request.name)
    if metric.compiled is None or metric.status == "broken":
        raise InvalidInputError(f"the metric {request.name!r} is broken: {metric.problem}")
    names = [name for name in (request.by or "").split(",") if name.strip()]
    try:
        sql = compile_metric(
            Metric.from_json(metric.compiled),
            by=names,
            where=[request.where] if request.where else (),
            grain=request.grain,
        )
    except DaError as error:
        raise InvalidInputError(str(error)) from None
    return MetricSql(name=metric.name, sql=sql)


@function("GET", "/api/catalog/metrics", allow=Role.VIEWER)
def export_metrics(query: ExportQuery, ctx: Context) -> MetricExport:
    """Export the metrics whose tables the caller can read, for other tools: Ossie, or dbt's semantic layer."""
    from analyst.metrics import dbt, ossie

    found = [metric.defined.definition for metric in _visible(ctx)]
    if query.format == "dbt":
        return MetricExport(format="dbt", text=dbt.export(found))
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    tables: dict[str, Table] = {}
    for table in visible(snapshot, access, ctx.caller):
        tables[table.id] = tables[table.view] = table

    def shows(source: str) -> bool:
        return source not in snapshot.by_id and access.may_read(ctx.caller, source)

    models = checked_metrics.read(ctx.store).models
    return MetricExport(format="ossie", text=ossie.export(found, tables, models, shows))


def _visible(ctx: Context) -> list[CheckedMetric]:
    metrics = checked_metrics.read(ctx.store).metrics
    return visible_metrics(metrics, ctx.snapshots.current(), ctx.access.current(), ctx.caller)


def _text(metric: CheckedMetric) -> str:
    said = metric.defined.definition
    parts = [said.name, said.display_name, said.category, said.description, *said.synonyms, *said.questions]
    return " ".join(part for part in parts if part).lower()
