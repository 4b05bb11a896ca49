"""Storing the attachments of a Jira source in the bucket."""

from analyst.connectors.jira.job import JobAnswer, JobRequest, answer_of, begin
from analyst.connectors.jira.sync.attachments import Storing
from analyst.context import Context
from analyst.http import Allow, Answer, function


@function(
    "POST",
    "/extract/jira/attachments",
    allow=Allow.SERVICE,
    answers={207: JobAnswer, 404: "No such source exists.", 422: JobAnswer},
)
def store_attachments(request: JobRequest, ctx: Context) -> Answer[JobAnswer]:
    """Store attachments that are not in the bucket yet, and not larger than JIRA_ATTACHMENT_MAX_BYTES.

    Counts: files `stored` (and their `bytes`), `too_large`, `missing` in Jira, `failed`, and `left` for the next run.
    """
    job = begin(ctx, "attachments", request)
    if most := ctx.settings.jira_attachment_max_bytes:
        job.ask(Storing(job, most).run)
    return answer_of(job)
