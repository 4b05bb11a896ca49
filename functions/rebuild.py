"""The rebuild: publishes a snapshot of the current data of all sources."""

import logging

from analyst import logs
from analyst.connectors.materialized.connector import follow
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import Allow, Answer, function
from analyst.metrics.check import Checking, metrics_folder
from analyst.names import Name
from analyst.rebuild import RebuildAnswer
from analyst.state.fields import Input

_LOG = logging.getLogger(f"{logs.ROOT}.rebuild")


class RebuildRequest(Input):
    """The source that caused the rebuild, for the log: every rebuild looks at all sources.

    With `file`, nothing is rebuilt: only `analytics/analytics.duckdb` is brought up to date with the newest snapshot. With
    `lake`, only the frozen DuckLakes of snapshots without one are written.
    """

    source: Name | None = None
    file: bool = False
    lake: bool = False


@function("POST", "/rebuild", allow=Allow.SERVICE, answers={202: RebuildAnswer}, audit="snapshot.rebuild")
def rebuild(request: RebuildRequest, ctx: Context) -> Answer[RebuildAnswer]:
    """Publish a snapshot of the current data of all sources, unless the newest snapshot already has it.

    202 means that another rebuild is running and will include it. The frozen DuckLake of the snapshot, and
    `analytics/analytics.duckdb` of a large one, follow in the background.
    """
    rebuilding = ctx.rebuilding
    run = rebuilding.refresh_file if request.file else rebuilding.write_lakes if request.lake else rebuilding.run
    answer = run()
    if answer.status == "running":  # the one that runs may be dead, and its lease has not ended yet
        ctx.rebuild_later()
    if answer.status == "published":
        _check_metrics(ctx)
        _follow(ctx)
    ctx.audited(snapshot=answer.snapshot, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)


def _follow(ctx: Context) -> None:
    """Start the materialized tables whose inputs have changed; otherwise their schedule does."""
    try:
        follow(ctx)
    except AnalystError as error:
        _LOG.warning("materialized tables could not be started", extra={"fields": {"reason": str(error)}})


def _check_metrics(ctx: Context) -> None:
    """Have the metrics checked against the new snapshot; the answer does not wait for it."""
    try:
        if Checking(ctx.store, ctx.clock, metrics_folder(ctx.settings, ctx.process.configuration.file)).has_any:
            ctx.tasks.enqueue("/check-metrics", {}, name="all")
    except AnalystError as error:
        _LOG.warning("metrics could not be checked", extra={"fields": {"reason": str(error)}})
