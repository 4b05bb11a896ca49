"""Metrics of the registry: defining, importing and removing them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import function
from analyst.metrics import checked_metrics, documents
from analyst.metrics.check import Checking, check_as_seen, metrics_folder
from analyst.metrics.checked_metrics import CheckedMetric
from analyst.metrics.definition import parse
from analyst.metrics.documents import DocumentFormat
from analyst.metrics.registry import Defined, FileProblem, MetricRegistry
from analyst.metrics.view import MetricDetail, MetricSummary, detail, summary
from analyst.names import Name
from analyst.state.fields import Input, Output


class NewMetric(Input):
    """A metric and its definition, as in a file of `config/metrics`; the name is that of the path."""

    name: Name
    definition: Annotated[dict[str, Any], Field(max_length=200)]


class ImportRequest(Input):
    """A document with metrics. `dry_run` only checks it."""

    format: DocumentFormat
    text: Annotated[str, StringConstraints(max_length=600_000)]
    dry_run: bool = False


class Imported(Output):
    """The imported metrics; `problems` are files of metrics that can't be used."""

    dry_run: bool
    metrics: tuple[MetricSummary, ...]
    problems: tuple[FileProblem, ...] = ()


@function(
    "PUT",
    "/api/admin/metrics/{name}",
    allow=Role.KM_ADMIN,
    answers={422: "The definition is not that of a metric."},
    audit="metric.define",
)
def define_metric(new: NewMetric, ctx: Context) -> MetricDetail:
    """Define or redefine a metric; it overrides a metric of the same name that a file defines."""
    ctx.audited(f"metric:{new.name}")
    definitions = list(parse({**new.definition, "name": new.name}, "the definition"))
    _registry(ctx).put(definitions, ctx.caller.email)
    made = _checked(ctx).metrics
    return detail(_as_seen(ctx, made, [made[new.name].defined])[0])


@function(
    "DELETE",
    "/api/admin/metrics/{name}",
    allow=Role.KM_ADMIN,
    answers={404: "The metric is not in the registry."},
    audit="metric.remove",
)
def remove_metric(name: Name, ctx: Context) -> None:
    """Remove a metric from the registry. A metric of the same name that a file defines takes effect again."""
    ctx.audited(f"metric:{name}")
    known = checked_metrics.read(ctx.store).metrics.get(name)
    if known is not None and known.defined.origin != "registry":
        raise NotFoundError(f"the metric {name!r} is defined in '{known.defined.origin}'; remove it there")
    _registry(ctx).remove(name)
    _checked(ctx)


@function(
    "POST",
    "/api/admin/metrics/import",
    allow=Role.KM_ADMIN,
    body_limit=8 << 20,
    answers={422: "The document is not of the named format, or defines no valid metrics."},
    audit="metric.import",
)
def import_metrics(request: ImportRequest, ctx: Context) -> Imported:
    """Import metrics from a document of Ossie, of dbt, or in the format of `config/metrics`, into the registry."""
    definitions, models = documents.read(request.format, request.text)
    if request.dry_run:
        imported = [Defined(definition=each, origin="import") for each in definitions]
        found = _as_seen(ctx, checked_metrics.read(ctx.store).metrics, imported)
        return Imported(dry_run=True, metrics=tuple(map(summary, found)))
    _registry(ctx).put(definitions, ctx.caller.email, models)
    made = _checked(ctx)
    ctx.audited(*(f"metric:{each.name}" for each in definitions))
    found = _as_seen(ctx, made.metrics, [made.metrics[each.name].defined for each in definitions])
    return Imported(dry_run=False, metrics=tuple(map(summary, found)), problems=made.problems)


def _registry(ctx: Context) -> MetricRegistry:
    return MetricRegistry(ctx.store, ctx.clock)


def _as_seen(ctx: Context, metrics: Mapping[str, CheckedMetric], defined: Sequence[Defined]) -> list[CheckedMetric]:
    return check_as_seen(defined, metrics, ctx.snapshots.current(), ctx.access.current(), ctx.caller)


def _checked(ctx: Context) -> checked_metrics.CheckedMetrics:
    folder = metrics_folder(ctx.settings, ctx.process.configuration.file)
    return Checking(ctx.store, ctx.clock, folder).run(ctx.snapshots.current())
