"""The rebuild: publishes a snapshot of the current data of all sources."""

from pydantic import BaseModel, ConfigDict

from analyst.context import Context
from analyst.http import Allow, Answer, function
from analyst.names import Name
from analyst.rebuild import Rebuild, RebuildAnswer


class RebuildRequest(BaseModel):
    """The source that caused the rebuild, for the log. Every rebuild reads all sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Name | None = None


@function("POST", "/rebuild", allow=Allow.SERVICE, answers={202: RebuildAnswer}, audit="snapshot.rebuild")
def rebuild(request: RebuildRequest, ctx: Context) -> Answer[RebuildAnswer]:  # noqa: ARG001
    """Publish a snapshot of the current data of all sources, unless the newest snapshot already has it.

    202 means that another rebuild is running and will include it.
    """
    rebuilding = Rebuild(ctx.store, ctx.clock, lambda: tuple(ctx.access.current().tables), ctx.settings.scratch_dir)
    answer = rebuilding.run()
    ctx.audited(snapshot=answer.snapshot, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
