"""The archive of webhooks can be folded again; it is tidied, and issues that were deleted are forgotten."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from analyst.connectors.jira.inbox.batch import Facts
from analyst.connectors.jira.inbox.inbox import Received
from analyst.connectors.jira.job import Job, JobAnswer, JobRequest, SourceRequest, answer_of, begin
from analyst.connectors.jira.source import open_source
from analyst.context import Context
from analyst.errors import UnavailableError
from analyst.extract_run import RebuildOutcome
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input

_BYTES_AT_ONCE: Final = 32 * 1024 * 1024
_AT_ONCE: Final = 1_000
_OVER: Final = timedelta(hours=2)
_REMEMBERED: Final = timedelta(days=30)


class ReplayOrder(Input):
    """Which events to fold again: those of the hours from `since` to `until`, all when these are not given."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ReplayRequest(JobRequest, ReplayOrder):
    """Which events of which source to fold again: those of the hours from `since` to `until`, or all."""


class ReplayAnswer(JobAnswer):
    """How a replay ended: how many `events` were folded again, and of how many `issues` something else is known.

    `counts` has besides these events that tell nothing (`set_aside`), and those that were read but for a part (`unread`).
    """

    events: int
    issues: int


class TidyAnswer(BaseModel):
    """How many objects of hours that are over became few, and how many deleted issues were forgotten."""

    model_config = ConfigDict(frozen=True)

    source: str
    gathered: int
    forgotten: int
    rebuild: RebuildOutcome | None = None


@function(
    "POST",
    "/extract/jira/replay",
    allow=Allow.SERVICE,
    answers={207: ReplayAnswer, 404: "There is no such source.", 422: ReplayAnswer},
    audit="source.replay",
)
def replay_jira(request: ReplayRequest, ctx: Context) -> Answer[ReplayAnswer]:
    """Fold what lies in the archive once more, without asking Jira: what it tells and is not known any more is again.

    207 and 422 mean that a part of the archive could not be read, or not all of it was folded; the `error` tells why.
    """
    job = begin(ctx, "replay", request)
    job.asks = False
    changed: set[str] = set()
    job.attempt(lambda: _replay(job, request, changed))
    ended, events, issues = answer_of(job), job.counts["events"], len(changed)
    ctx.audited(events=events, issues=issues)
    return Answer(ReplayAnswer(**ended.body.model_dump(), events=events, issues=issues), status=ended.status)


@function("POST", "/extract/jira/tidy", allow=Allow.SERVICE, answers={404: "There is no such source."})
def tidy_jira(request: SourceRequest, ctx: Context) -> TidyAnswer:
    """Make one object of the many that the archive has of an hour, and forget issues that were deleted a month ago."""
    opened = open_source(ctx, request.source_in(ctx.settings))
    gathered = opened.archive.gather(ctx.now - _OVER)
    absorbed = opened.warehouse.forget(ctx.now - _REMEMBERED)
    rebuild = opened.rebuild(absorbed.version)
    return TidyAnswer(source=opened.source, gathered=gathered, forgotten=len(absorbed.changed), rebuild=rebuild)


def _replay(job: Job, request: ReplayRequest, changed: set[str]) -> None:
    damaged: list[str] = []
    archived = job.opened.archive.events(damaged, request.since, request.until)
    job.counts["events"] = 0
    while batch := list(_some(archived)):
        facts = Facts.of(batch)
        changed |= job.absorb(facts.changes()).changed
        told = {"events": len(batch), "set_aside": len(facts.set_aside), "unread": len(facts.unread)}
        job.counts.update({name: count for name, count in told.items() if count})
    if damaged:
        more = f", and so are {len(damaged) - 1} more" if damaged[1:] else ""
        raise UnavailableError(f"{damaged[0]} is damaged{more}; put it back from a copy, or delete it")


def _some(events: Iterator[Received]) -> Iterator[Received]:
    """Take as many as fit into memory."""
    size = 0
    for event in islice(events, _AT_ONCE):
        yield event
        size += len(event.body)
        if size > _BYTES_AT_ONCE:
            return
