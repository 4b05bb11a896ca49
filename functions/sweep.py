"""The sweep: what nothing refers to any more goes, in its time."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from analyst.context import Context
from analyst.http import Allow, function
from analyst.sweep import Sweep, SweepAnswer


class SweepRequest(BaseModel):
    """Whether to sweep, or only to tell what would go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: bool = False


@function("POST", "/sweep", allow=Allow.SERVICE, audit="bucket.sweep")
def sweep(request: SweepRequest, ctx: Context) -> SweepAnswer:
    """Delete what nothing refers to any more, and write the checkpoints of Delta logs that are due; best once a day."""
    settings = ctx.settings
    sweeping = Sweep(ctx.store, timedelta(hours=settings.keep_hours), scratch=settings.scratch_dir)
    answer = sweeping.run(dry_run=request.dry_run)
    ctx.audited(dry_run=answer.dry_run, deleted=answer.deleted, deleted_bytes=answer.deleted_bytes)
    return answer
