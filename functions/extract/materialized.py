"""The extract of materialized tables."""

from analyst.connectors.materialized.connector import compute
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, ExtractRequest
from analyst.http import Allow, Answer, function


@function(
    "POST",
    "/extract/materialized",
    allow=Allow.SERVICE,
    answers={207: ExtractAnswer, 404: "No such source exists.", 422: ExtractAnswer},
    body_limit=8 << 20,
    audit="source.extract",
)
def extract_materialized(request: ExtractRequest, ctx: Context) -> Answer[ExtractAnswer]:
    """Compute the materialized tables of a source whose inputs have changed, and publish them.

    A table comes after its inputs. 207: some tables failed; 422: all failed. A failed table has an error and keeps its last
    good version.
    """
    ctx.audited(f"source:{request.source}", *(f"table:{request.source}.{name}" for name in request.tables or ()))
    answer = compute(ctx, request)
    ctx.audited(run_id=answer.run_id, status=answer.status, is_unchanged=answer.status == "unchanged")
    return Answer(answer, status=answer.http_status)
