"""The poll of SLAs of a Jira source."""

from analyst.connectors.jira.job import JobAnswer, JobRequest, answer_of, begin
from analyst.connectors.jira.sync.sla import Poll
from analyst.context import Context
from analyst.http import Allow, Answer, function


@function(
    "POST",
    "/extract/jira/sla",
    allow=Allow.SERVICE,
    answers={207: JobAnswer, 404: "No such source exists.", 422: JobAnswer},
)
def poll_slas(request: JobRequest, ctx: Context) -> Answer[JobAnswer]:
    """Fetch the SLAs of open issues, and issues whose update was missed.

    Counts: issues `polled`, `healed`, `missing`, `failed` and `changed`.
    """
    job = begin(ctx, "sla", request)
    job.ask(Poll(job).run)
    return answer_of(job)
