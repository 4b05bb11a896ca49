"""The extract function of BigQuery sources."""

from analyst.connectors.bigquery.connector import BigQueryConnector
from analyst.connectors.bigquery.discovery import TYPE, connector_of
from analyst.connectors.bigquery.long_reads import LongReads
from analyst.connectors.bigquery.reader_processes import Readers
from analyst.connectors.extract_function import DECLARED, answered, audited, extracting
from analyst.connectors.registered_source import RegisteredSource
from analyst.context import Context
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, ExtractRequest
from analyst.http import Answer, function
from analyst.state import actor


@function("POST", "/extract/bigquery", **DECLARED)
def extract_bigquery(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Read the changed tables of a BigQuery project, its views, and the queries of materialized tables, and publish them.

    202: the time was up, and another call reads the tables that are left; 207: some tables failed; 422: all failed. A failed
    table has an error and keeps its last good version.
    """
    audited(ctx, request)
    settings = ctx.settings
    registered = RegisteredSource(ctx.state, request.source, actor(ctx), settings.tables_public)
    looked_up = registered.look_up(TYPE)
    checkpoints = Checkpoints(ctx.store, request.source, ctx.clock, ctx.is_time_up)
    with ctx.process.opened("bigquery readers", Readers) as readers:
        long = LongReads(
            readers,
            SourceJobs(ctx.store, request.source, ctx.clock),
            checkpoints,
            tuple(filter(None, [request.run_id])),
        )

        def connector() -> BigQueryConnector:
            return connector_of(
                registered,
                looked_up,
                settings,
                request.tables,
                readers,
                http=ctx.process.http,
                now=ctx.clock,
                long=long,
            )

        answer = extracting(ctx, "/extract/bigquery", request).run(request, connector, lambda: registered.registrations)
    return answered(ctx, answer)
