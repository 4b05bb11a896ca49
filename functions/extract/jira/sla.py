"""The poll of SLAs of a Jira source."""

from analyst import runs
from analyst.context import Context
from analyst.http import Allow, Answer, function
from functions.extract.jira.jobs import Job, JobAnswer, JobRequest, answer_of
from functions.extract.jira.opening import open_source
from functions.extract.jira.polling import Poll


@function(
    "POST",
    "/extract/jira/sla",
    allow=Allow.SERVICE,
    answers={207: JobAnswer, 404: "There is no such source.", 422: JobAnswer},
)
def poll_slas(request: JobRequest, ctx: Context) -> Answer[JobAnswer]:
    """Ask for the SLAs of issues that are open, and for those that were updated unnoticed.

    Counts are of issues: `polled`, `healed`, `missing`, `failed` and `changed`.
    """
    source = request.source or ctx.settings.jira_source
    job = Job(open_source(ctx, source), "job", "sla", request.run_id or runs.new_run_id(), ctx.clock())
    job.ask(Poll(job).run)
    return answer_of(job)
