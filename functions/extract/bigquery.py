"""The extract function of BigQuery sources."""

from analyst.connectors.bigquery.connector import BigQueryConnector
from analyst.connectors.bigquery.discovery import TYPE, connector_of
from analyst.connectors.bigquery.reading import Readers
from analyst.connectors.registered import RegisteredSource
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest
from analyst.http import Allow, Answer, function
from analyst.state import actor


@function(
    "POST",
    "/extract/bigquery",
    allow=Allow.SERVICE,
    answers={202: ExtractAnswer, 207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    body_limit=8 << 20,
    audit="source.extract",
)
def extract_bigquery(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a BigQuery project, its views, and the queries of materialized tables, and publish them.

    202: the time was up, and another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed
    table has an error and keeps its last good version.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{name}" for name in request.tables or ()))
    settings = ctx.settings
    registered = RegisteredSource(ctx.state, request.source, actor(ctx), settings.tables_public)
    registered.look_up(TYPE)
    with Readers() as readers:

        def connector() -> BigQueryConnector:
            return connector_of(registered, settings, request.tables, readers, http=ctx.process.http, now=ctx.clock)

        extracting = Extracting(
            ctx.store,
            ctx.snapshots,
            ctx.tasks.call,
            ctx.rebuild_later,
            ctx.clock,
            settings.memory_limit,
            settings.scratch_dir,
            is_time_up=ctx.is_time_up,
            next_part=lambda body: ctx.tasks.enqueue("/extract/bigquery", body),
        )
        answer = extracting.run(request, connector, lambda: registered.registrations)
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
