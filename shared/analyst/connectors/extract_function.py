"""What the extract functions of all connectors share: their declaration, environment and answers."""

from typing import Final

from analyst.context import Context
from analyst.contract.extraction import SIDE_BY_SIDE, FanOut
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest, ProfileLater
from analyst.http import Allow, Answer
from analyst.http.spec import Options

DECLARED: Final[Options] = {
    "allow": Allow.SERVICE,
    "answers": {202: ExtractAnswer, 207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    "body_limit": 8 << 20,
    "audit": "source.extract",
}
"""The options of `@function`. 202: the time was up, and another call reads the tables that are left; 207: some tables failed;
422: all failed."""


def extracting(
    ctx: Context,
    path: str,
    request: ExtractRequest,
    *,
    fan_out: FanOut | None = None,
    side_by_side: int = SIDE_BY_SIDE,
) -> Extracting:
    """Return the environment in which the extract function at `path` runs its connector; it also runs the next part."""
    settings = ctx.settings
    return Extracting(
        ctx.store,
        ctx.snapshots,
        ctx.tasks.call,
        ctx.rebuild_later,
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        side_by_side=side_by_side,
        fan_out=fan_out,
        is_time_up=ctx.is_time_up,
        next_part=lambda body: ctx.tasks.enqueue(path, body),
        profile_later=profile_later(ctx),
        wants_rebuild=not request.is_part,
    )


def profile_later(ctx: Context) -> ProfileLater | None:
    """Return the function that requests profiles after the answer; `None` if the instance makes none after a sync."""
    if not ctx.settings.profile_after_sync:
        return None
    return lambda body: ctx.tasks.enqueue("/profile", body)


def audited(ctx: Context, request: ExtractRequest) -> None:
    """Note the extracted source and tables for the audit log."""
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{name}" for name in request.tables or ()))


def answered(ctx: Context, answer: ExtractAnswer) -> Answer[ExtractAnswer]:
    """Note the result for the audit log, request notifications of failures, and return the answer."""
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    if answer.status in ("failed", "partial") and not answer.left:
        ctx.notify_later()
    return Answer(answer, status=answer.http_status)
