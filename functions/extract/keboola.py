"""The extract function of Keboola sources."""

from analyst.connectors.keboola.connector import KeboolaConnector
from analyst.connectors.keboola.discovery import TYPE, connector_of
from analyst.connectors.registered import RegisteredSource
from analyst.context import Context
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest, TableCalls
from analyst.http import Allow, Answer, function
from analyst.state import actor


@function(
    "POST",
    "/extract/keboola",
    allow=Allow.SERVICE,
    answers={202: ExtractAnswer, 207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    body_limit=8 << 20,
    audit="source.extract",
)
def extract_keboola(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a Keboola project, and publish them.

    Where functions run elsewhere (TASKS_URL), many changed tables are extracted by a call each. 202: the time was up, and
    another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed table has an error and keeps its last good version.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{name}" for name in request.tables or ()))
    settings, opened = ctx.settings, list[KeboolaConnector]()
    registered = RegisteredSource(ctx.state, request.source, actor(ctx), settings.tables_public)
    registered.look_up(TYPE)
    jobs = SourceJobs(ctx.store, request.source, ctx.clock)

    def connector() -> KeboolaConnector:
        opened.append(
            connector_of(registered, settings, request.tables, http=ctx.process.http, now=ctx.clock, jobs=jobs)
        )
        return opened[0]

    def parallel() -> int:
        return opened[0].parallel()

    is_spread = ctx.tasks.run_elsewhere and request.tables is None
    calls = TableCalls(ctx.tasks.call, "/extract/keboola", request.source, parallel, ctx.is_time_up)
    extracting = Extracting(
        ctx.store,
        ctx.snapshots,
        ctx.tasks.call,
        ctx.rebuild_later,
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        side_by_side=8,
        fan_out=calls if is_spread else None,
        is_time_up=ctx.is_time_up,
        next_part=lambda body: ctx.tasks.enqueue("/extract/keboola", body),
        wants_rebuild=not request.is_part,
    )
    answer = extracting.run(request, connector, lambda: registered.registrations)
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
