"""SQL over the tables that a caller can read."""

from analyst import query_answer
from analyst.access import Role, Scope
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import Spooled, function
from analyst.query.engine import Format, Reader, Result
from analyst.query_answer import QueryAnswer
from analyst.query_request import QueryRequest
from analyst.receipts import Receipt


@function(
    "POST",
    "/api/query",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    reads=True,
    answers={
        403: "The caller may not run native SQL on the source, or is a script and asks for `full_result`.",
        404: "The snapshot does not exist, or is no longer kept.",
        422: "The statement is refused, can't be parsed, or fails.",
    },
    audit="query",
)
def query(request: QueryRequest, ctx: Context) -> QueryAnswer | Spooled[QueryAnswer]:
    """Run one read-only SQL statement over the tables that the caller can read.

    A statement names tables as `orders` or `shop.orders`. Only queries are possible: SELECT, FROM, WITH, VALUES, PIVOT,
    DESCRIBE, SUMMARIZE. Rows of remote tables are read from BigQuery during the query: columns and simple conditions
    are applied there, and the receipt marks such tables as live. Formats other than JSON have the other fields of the
    answer in the header `X-Query`, as JSON, and the receipt in `X-Receipt`.
    """
    if request.full_result and ctx.caller.reads_only:  # it would be written to the bucket, and its URL outlive the run
        raise ForbiddenError(
            "a script can't have 'full_result', which writes to the bucket; ask for the rows with 'limit'"
        )
    asked = request.statement(ctx.settings.query_timeout)
    live = LiveTables(ctx)
    reader = Reader(ctx.snapshots.at(request.snapshot), ctx.access.current(), ctx.caller, live)
    if asked.registered:
        ctx.audited(
            register=[{"name": each.alias, "source": each.source, "sql": each.sql} for each in asked.registered]
        )
    try:
        result = ctx.queries.run(
            asked,
            reader,
            is_gone=ctx.is_client_gone,
            using=lambda tables: ctx.audited(
                *(f"table:{table.id}" for table in tables), snapshot=reader.snapshot.number
            ),
        )
    finally:
        if live.used:
            ctx.audited(register=live.used)
    ctx.audited(
        rows=result.rows,
        bytes=result.size,
        bytes_read=result.bytes_read,
        elapsed_ms=result.elapsed_ms,
        cached=result.cached,
    )
    receipt = Receipt.issue(result, asked, ctx.caller, ctx.now, ctx.keys)
    return _stored(ctx, result, receipt) if request.full_result else _sent(result, receipt, asked.format)


def _stored(ctx: Context, result: Result, receipt: Receipt | None) -> QueryAnswer:
    kept = query_answer.keep(result, receipt, ctx.store, expires=ctx.settings.url_expires)
    return kept.model_copy(update={"url": ctx.absolute(kept.url or "")})


def _sent(result: Result, receipt: Receipt | None, wanted: Format) -> Spooled[QueryAnswer]:
    if wanted == "json":
        query_answer.complete(result, receipt)
        return Spooled(result.file)
    suffix, media_type = query_answer.SUFFIXES[wanted], query_answer.MEDIA_TYPES[wanted]
    return Spooled(result.file, media_type, f"result.{suffix}", query_answer.headers(result, receipt))
