"""Folding the archive of webhooks again, and tidying it."""

from datetime import timedelta
from typing import Final

from pydantic import AwareDatetime

from analyst.connectors.jira.job import JobAnswer, JobRequest, SourceRequest, answer_of, begin
from analyst.connectors.jira.source import open_source
from analyst.connectors.jira.sync.fold import replay
from analyst.context import Context
from analyst.extract_run import RebuildOutcome
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input, Output

_OVER: Final = timedelta(hours=2)
_REMEMBERED: Final = timedelta(days=30)


class ReplayOrder(Input):
    """Which events to fold again: those of the hours from `since` to `until`; by default all."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ReplayRequest(JobRequest, ReplayOrder):
    """Which events of which source to fold again: those received in the hours from `since` to `until`, or all."""


class ReplayAnswer(JobAnswer):
    """The result of a replay: the number of `events` folded again, and of `issues` that changed.

    `counts` also has events that state nothing (`set_aside`), and those partly read (`unread`).
    """

    events: int
    issues: int


class TidyAnswer(Output):
    """The number of archive objects that were merged, and of deleted issues that were forgotten."""

    source: str
    gathered: int
    forgotten: int
    rebuild: RebuildOutcome | None = None


@function(
    "POST",
    "/extract/jira/replay",
    allow=Allow.SERVICE,
    answers={207: ReplayAnswer, 404: "No such source exists.", 422: ReplayAnswer},
    audit="source.replay",
)
def replay_jira(request: ReplayRequest, ctx: Context) -> Answer[ReplayAnswer]:
    """Fold archived events again, without asking Jira; this restores what the tables lost.

    207, 422: a part of the archive could not be read, or not all of it was folded; `error` says why.
    """
    job = begin(ctx, "replay", request)
    job.asks = False
    changed: set[str] = set()
    job.attempt(lambda: replay(job, request.since, request.until, changed))
    ended, events, issues = answer_of(job), job.counts["events"], len(changed)
    ctx.audited(events=events, issues=issues)
    return Answer(ReplayAnswer(**ended.body.model_dump(), events=events, issues=issues), status=ended.status)


@function("POST", "/extract/jira/tidy", allow=Allow.SERVICE, answers={404: "No such source exists."})
def tidy_jira(request: SourceRequest, ctx: Context) -> TidyAnswer:
    """Merge the archive's objects of each past hour, and forget issues that were deleted a month ago."""
    opened = open_source(ctx, request.source_in(ctx.settings))
    gathered = opened.archive.gather(ctx.now - _OVER)
    absorbed = opened.warehouse.forget(ctx.now - _REMEMBERED)
    rebuild = opened.rebuild(absorbed.version)
    return TidyAnswer(source=opened.source, gathered=gathered, forgotten=len(absorbed.changed), rebuild=rebuild)
