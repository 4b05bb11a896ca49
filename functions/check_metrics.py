"""The check of metrics against the newest snapshot, as a task of its own: a rebuild starts it and does not wait."""

from datetime import datetime

from analyst.context import Context
from analyst.http import Allow, function
from analyst.metrics import checked_metrics
from analyst.metrics.check import Checking, metrics_folder
from analyst.state.fields import Input, Output


class CheckRequest(Input):
    """No parameters: all metrics are checked."""


class MetricsChecked(Output):
    """The snapshot that the metrics were checked against, their number, and the names of broken ones."""

    snapshot: int
    checked_at: datetime | None
    metrics: int
    broken: tuple[str, ...]


@function("POST", "/check-metrics", allow=Allow.SERVICE, audit="metrics.check")
def check_metrics(_request: CheckRequest, ctx: Context) -> MetricsChecked:
    """Check all metrics against the newest snapshot."""
    folder = metrics_folder(ctx.settings, ctx.process.configuration.file)
    Checking(ctx.store, ctx.clock, folder).run(ctx.snapshots.current())
    found = checked_metrics.read(ctx.store)
    broken = tuple(sorted(name for name, each in found.metrics.items() if each.status == "broken"))
    ctx.audited(metrics=len(found.metrics), broken=len(broken), is_unchanged=not found.metrics)
    return MetricsChecked(
        snapshot=found.snapshot, checked_at=found.checked_at, metrics=len(found.metrics), broken=broken
    )
