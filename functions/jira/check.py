"""The consistency check of a Jira source: it is compared with Jira and repaired."""

import logging
from typing import Annotated, Final

from pydantic import Field

from analyst import logs
from analyst.connectors.jira.job import JobRequest, begin
from analyst.connectors.jira.sync.check import Check, CheckReport, Level, Reports
from analyst.context import Context
from analyst.extract_run import HTTP_STATUS, RebuildOutcome
from analyst.http import Allow, Answer, function
from analyst.runs import RunStatus
from analyst.state.fields import Input

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_SEVERITY: Final[dict[Level, int]] = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


class CheckOrder(Input):
    """Which issues to compare with Jira: those created in the last `max_age_days`; by default all.

    At most `limit` differing issues are repaired, or as many as `deletions` if that is more. Without `repair` none are,
    and differences are those of Jira's index. If more issues than `deletions` are missing in Jira, none of them is
    removed and the check fails; by default that is a fifth of the issues, up to 10, or 1 % of many.
    """

    max_age_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    repair: bool = True
    limit: Annotated[int, Field(ge=1, le=10_000)] = 200
    deletions: Annotated[int, Field(ge=0, le=10_000)] | None = None


class CheckRequest(JobRequest, CheckOrder):
    """Which issues of which source to compare: those created in the last `max_age_days`; by default all.

    At most `limit` differing issues are repaired. Without `repair` none are, and differences are those of Jira's index.
    """


class CheckAnswer(CheckReport):
    """The result of a check; `report` is its key in the bucket, unless Jira was not asked."""

    status: RunStatus
    report: str | None
    rebuild: RebuildOutcome | None = None


@function(
    "POST",
    "/extract/jira/check",
    allow=Allow.SERVICE,
    answers={207: CheckAnswer, 404: "No such source exists.", 422: CheckAnswer},
    audit="source.check",
)
def check_jira(request: CheckRequest, ctx: Context) -> Answer[CheckAnswer]:
    """Compare issues with Jira by id, read missing and stale ones, and store a report."""
    job = begin(ctx, "check", request)
    source, job.believed = job.opened.source, request.deletions
    limit = max(request.limit, request.deletions or 0)
    check = Check(job, request.max_age_days, limit if request.repair else None)
    job.ask(check.run)
    report = check.report()
    key = Reports(ctx.store, source).keep(report) if job.opened.jira else None
    _LOG.log(
        _SEVERITY[report.level], "the check of Jira has finished", extra={"fields": {"source": source, **report.totals}}
    )
    status = job.finish()
    ctx.audited(level=report.level, totals=dict(report.totals))
    answer = CheckAnswer(**report.model_dump(), status=status, report=key, rebuild=job.rebuild)
    return Answer(answer, status=HTTP_STATUS[status])
