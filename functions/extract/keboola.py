"""The extract function of Keboola sources."""

from analyst.connectors.extract_function import DECLARED, answered, audited, extracting
from analyst.connectors.keboola.connector import KeboolaConnector
from analyst.connectors.keboola.discovery import TYPE, connector_of
from analyst.connectors.registered_source import RegisteredSource
from analyst.context import Context
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, ExtractRequest, TableCalls
from analyst.http import Answer, function
from analyst.state import actor


@function("POST", "/extract/keboola", **DECLARED)
def extract_keboola(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a Keboola project, and publish them.

    Where functions run elsewhere (TASKS_URL), many changed tables are extracted by a call each. 202: the time was up, and
    another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed table has an error and
    keeps its last good version.
    """
    audited(ctx, request)
    settings, opened = ctx.settings, list[KeboolaConnector]()
    registered = RegisteredSource(ctx.state, request.source, actor(ctx), settings.tables_public)
    looked_up = registered.look_up(TYPE)
    jobs = SourceJobs(ctx.store, request.source, ctx.clock)

    def connector() -> KeboolaConnector:
        opened.append(
            connector_of(
                registered, looked_up, settings, request.tables, http=ctx.process.http, now=ctx.clock, jobs=jobs
            )
        )
        return opened[0]

    def parallel() -> int:
        return opened[0].parallel()

    is_spread = ctx.tasks.run_elsewhere and request.tables is None
    calls = TableCalls(ctx.tasks.call, "/extract/keboola", request.source, parallel, ctx.is_time_up)
    fan_out = calls if is_spread else None
    run = extracting(ctx, "/extract/keboola", request, fan_out=fan_out, side_by_side=8).run
    answer = run(request, connector, lambda: registered.registrations)
    return answered(ctx, answer)
