"""The consistency check of a Jira source: whether it is what Jira is, and mending it."""

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
    """Which issues to compare with Jira: those that were created in the last `max_age_days`, else all.

    At most `limit` that differ are mended; without `repair` none are, and differences are as Jira's index tells them.
    When more issues are missing in Jira than `deletions`, none of them are taken out and the check fails; by default
    that is a fifth of a few issues, up to 10, or a hundredth of many.
    """

    max_age_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    repair: bool = True
    limit: Annotated[int, Field(ge=1, le=10_000)] = 200
    deletions: Annotated[int, Field(ge=0, le=10_000)] | None = None


class CheckRequest(JobRequest, CheckOrder):
    """Which issues of which source to compare: those that were created in the last `max_age_days`, else all.

    At most `limit` that differ are mended; without `repair` none are, and differences are as Jira's index tells them.
    """


class CheckAnswer(CheckReport):
    """How a check ended; its report lies in the bucket at `report`, unless Jira was not asked."""

    status: RunStatus
    report: str | None
    rebuild: RebuildOutcome | None = None


@function(
    "POST",
    "/extract/jira/check",
    allow=Allow.SERVICE,
    answers={207: CheckAnswer, 404: "There is no such source.", 422: CheckAnswer},
    audit="source.check",
)
def check_jira(request: CheckRequest, ctx: Context) -> Answer[CheckAnswer]:
    """Compare issues with Jira by their ids, read what is missing or stale, and write a report of that."""
    job = begin(ctx, "check", request)
    source, job.believed = job.opened.source, request.deletions
    check = Check(job, request.max_age_days, request.limit if request.repair else None)
    job.ask(check.run)
    report = check.report()
    key = Reports(ctx.store, source).keep(report) if job.opened.jira else None
    _LOG.log(_SEVERITY[report.level], "Jira was compared", extra={"fields": {"source": source, **report.totals}})
    status = job.finish()
    ctx.audited(level=report.level, totals=dict(report.totals))
    answer = CheckAnswer(**report.model_dump(), status=status, report=key, rebuild=job.rebuild)
    return Answer(answer, status=HTTP_STATUS[status])
