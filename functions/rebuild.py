"""The rebuild: publishes a snapshot of what the sources have now."""

from pydantic import BaseModel, ConfigDict

from analyst.catalog import Problem
from analyst.context import Context
from analyst.extracting import Name
from analyst.http import Allow, Answer, function


class RebuildRequest(BaseModel):
    """What prompted the rebuild; every rebuild looks at all sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Name | None = None


class RebuildAnswer(BaseModel):
    """How a rebuild ended; `running` means that another one is at it and will see to it."""

    model_config = ConfigDict(frozen=True)

    status: str
    snapshot: int | None = None
    tables: int | None = None
    problems: tuple[Problem, ...] = ()


@function("POST", "/rebuild", allow=Allow.SERVICE, answers={202: "Another rebuild is running and sees to it."})
def rebuild(request: RebuildRequest, ctx: Context) -> Answer[RebuildAnswer]:  # noqa: ARG001
    """Publish a snapshot of what the sources have now, unless the newest one has it already."""
    from analyst.rebuild import Rebuild

    done = Rebuild(ctx.store, ctx.run_id, ctx.clock, ctx.seniority, ctx.settings.scratch_dir).run()
    if done is None:
        return Answer(RebuildAnswer(status="running"), status=202)
    status = "published" if done.changed else "unchanged"
    return Answer(RebuildAnswer(status=status, snapshot=done.snapshot, tables=done.tables, problems=done.problems))
