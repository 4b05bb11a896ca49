"""The extract function of Keboola sources."""

from analyst.connectors.keboola.connector import KeboolaConnector
from analyst.connectors.keboola.discovery import TYPE, connector_of
from analyst.connectors.keboola.fan_out import TableTasks
from analyst.connectors.registered import RegisteredSource
from analyst.context import Context
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest
from analyst.http import Allow, Answer, function
from analyst.state import actor


class KeboolaRequest(ExtractRequest):
    """The source to extract, and which of its tables (default: all).

    `is_part`: another extract made this call for one of its tables, and requests the rebuild itself.
    """

    is_part: bool = False


@function(
    "POST",
    "/extract/keboola",
    allow=Allow.SERVICE,
    answers={207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    body_limit=8 << 20,
    audit="source.extract",
)
def extract_keboola(request: KeboolaRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a Keboola project, and publish them.

    Where functions run elsewhere (TASKS_URL), many changed tables are extracted by a call each. 207: some tables failed;
    422: all failed. A failed table has an error and keeps its last good version.
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

    is_spread = settings.tasks_url is not None and request.tables is None
    extracting = Extracting(
        ctx.store,
        ctx.snapshots,
        ctx.tasks.call,
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        side_by_side=8,
        fan_out=TableTasks(ctx.tasks.call, request.source, parallel) if is_spread else None,
        wants_rebuild=not request.is_part,
    )
    answer = extracting.run(request, connector, lambda: registered.registrations)
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
