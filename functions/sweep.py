"""The sweep: deletes unreferenced objects and compacts small files."""

from datetime import timedelta

from analyst.context import Context
from analyst.http import Allow, function
from analyst.iceberg.metadata import unneeded
from analyst.state.fields import Input
from analyst.sweep import Sweep, SweepAnswer


class SweepRequest(Input):
    """`dry_run` only reports what would be deleted and compacted."""

    dry_run: bool = False


@function("POST", "/sweep", allow=Allow.SERVICE, audit="bucket.sweep")
def sweep(request: SweepRequest, ctx: Context) -> SweepAnswer:
    """Delete unreferenced objects, write checkpoints of Delta logs, and compact small files. Run it once a day."""
    settings = ctx.settings
    keep, delta_keep = timedelta(hours=settings.keep_hours), timedelta(hours=settings.delta_keep_hours)
    sweeping = Sweep(
        ctx.store,
        keep,
        delta_keep,
        settings.scratch_dir,
        ctx.clock,
        settings.memory_limit,
        call=ctx.tasks.call,
        unneeded_by=lambda tables: unneeded(ctx.store, tables),
    )
    answer = sweeping.run(dry_run=request.dry_run)
    if not request.dry_run:
        ctx.tasks.enqueue(
            "/profile", {}, name="all"
        )  # for tables that no extract has had profiled, such as those of webhooks
    ctx.audited(
        dry_run=answer.dry_run,
        deleted=answer.deleted,
        deleted_bytes=answer.deleted_bytes,
        compacted=len(answer.compacted),
        gathered=answer.gathered,
    )
    return answer
