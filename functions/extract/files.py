"""The extract function of file sources."""

from typing import Final

from analyst.connectors.files.discovery import Discovery
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest, TableCalls
from analyst.http import Allow, Answer, function
from analyst.state import actor

_SPREAD: Final = 8
"""Tables of a source that are extracted at the same time by calls of their own, in a cloud."""


@function(
    "POST",
    "/extract/csv",
    allow=Allow.SERVICE,
    answers={202: ExtractAnswer, 207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    body_limit=8 << 20,
    audit="source.extract",
)
def extract_csv(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a source of files, and publish them.

    202: the time was up, and another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed table has an error and keeps its last good version.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{name}" for name in request.tables or ()))
    settings = ctx.settings
    is_spread = settings.tasks == "cloud" and ctx.tasks.run_elsewhere and request.tables is None
    calls = TableCalls(ctx.tasks.call, "/extract/csv", request.source, lambda: _SPREAD, ctx.is_time_up)
    extracting = Extracting(
        ctx.store,
        ctx.snapshots,
        ctx.tasks.call,
        ctx.rebuild_later,
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        fan_out=calls if is_spread else None,
        is_time_up=ctx.is_time_up,
        next_part=lambda body: ctx.tasks.enqueue("/extract/csv", body),
        wants_rebuild=not request.is_part,
    )
    discovery = Discovery(ctx.state, settings, request.source, actor(ctx))
    registered = discovery.look_up()
    answer = extracting.run(request, lambda: discovery.connector(registered), lambda: discovery.registrations)
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
