"""The fold of a Jira source."""

from analyst.connectors.jira.job import FOLD, JobRequest
from analyst.connectors.jira.source import open_source
from analyst.connectors.jira.sync.fold import FoldAnswer, fold
from analyst.context import Context
from analyst.http import Allow, Answer, function


@function(
    "POST",
    FOLD,
    allow=Allow.SERVICE,
    answers={202: FoldAnswer, 207: FoldAnswer, 404: "The source does not exist.", 422: FoldAnswer},
)
def fold_jira(request: JobRequest, ctx: Context) -> Answer[FoldAnswer]:
    """Fold waiting webhooks into the tables, and publish them.

    202: another fold is in progress and will include them. 207: some events wait for the next fold, because their issues could not be read from Jira. 422: none was folded.
    """
    answer = fold(open_source(ctx, request.source_in(ctx.settings)), request.run_id)
    return Answer(answer, status=answer.http_status)
