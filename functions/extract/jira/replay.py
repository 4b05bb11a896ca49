"""The archive of webhooks can be folded again; it is tidied, and issues that were deleted are forgotten."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from analyst import runs
from analyst.context import Context
from analyst.errors import ConflictError
from analyst.extracting import RebuildOutcome
from analyst.http import Allow, function
from analyst.runs import RunRecord
from analyst.state.fields import Input
from functions.extract.jira.facts import Facts
from functions.extract.jira.inbox import Received
from functions.extract.jira.opening import open_source
from functions.extract.jira.requests import JobRequest, SourceRequest

_BYTES_AT_ONCE: Final = 32 * 1024 * 1024
_AT_ONCE: Final = 1_000
_OVER: Final = timedelta(hours=2)
_REMEMBERED: Final = timedelta(days=30)
_BUSY: Final = "somebody else writes the tables of {} now; try again in a moment"


class ReplayOrder(Input):
    """Which events to fold again: those of the hours from `since` to `until`, all when these are not given."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ReplayRequest(JobRequest, ReplayOrder):
    """Which events of which source to fold again: those of the hours from `since` to `until`, or all."""


class ReplayAnswer(BaseModel):
    """How many `events` were folded again, and of how many `issues` something else is known than before."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: Literal["ok", "unchanged"]
    events: int
    issues: int
    rebuild: RebuildOutcome | None = None


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
    answers={404: "There is no such source.", 409: "Somebody else writes the tables now."},
    audit="source.replay",
)
def replay_jira(request: ReplayRequest, ctx: Context) -> ReplayAnswer:
    """Fold what lies in the archive once more, without asking Jira: what it tells and is not known any more is again."""
    source, run_id = request.source_in(ctx.settings), request.run_id or runs.new_run_id()
    ctx.audited(f"source:{source}")
    opened = open_source(ctx, source)
    events, changed, version = 0, set[str](), None
    with opened.alone(run_id) as held:
        if held is None:
            raise ConflictError(_BUSY.format(source))
        archived = opened.archive.events(request.since, request.until)
        while batch := list(_some(archived)):
            held.check()
            absorbed = opened.warehouse.absorb(Facts.of(batch).changes())
            events, version = events + len(batch), absorbed.version
            changed |= absorbed.changed
    answer = ReplayAnswer(
        run_id=run_id,
        source=source,
        status="ok" if changed else "unchanged",
        events=events,
        issues=len(changed),
        rebuild=opened.rebuild(version),
    )
    record = RunRecord(
        run_id=run_id,
        kind="job",
        job="replay",
        source=source,
        status=answer.status,
        started_at=ctx.now,
        finished_at=ctx.clock(),
        counts={"events": events, "issues": len(changed)},
    )
    runs.write(ctx.store, record)
    ctx.audited(run_id=run_id, events=events, issues=len(changed))
    return answer


@function("POST", "/extract/jira/tidy", allow=Allow.SERVICE, answers={404: "There is no such source."})
def tidy_jira(request: SourceRequest, ctx: Context) -> TidyAnswer:
    """Make one object of the many that the archive has of an hour, and forget issues that were deleted a month ago."""
    opened = open_source(ctx, request.source_in(ctx.settings))
    gathered = opened.archive.gather(ctx.now - _OVER)
    absorbed = opened.warehouse.forget(ctx.now - _REMEMBERED)
    rebuild = opened.rebuild(absorbed.version)
    return TidyAnswer(source=opened.source, gathered=gathered, forgotten=len(absorbed.changed), rebuild=rebuild)


def _some(events: Iterator[Received]) -> Iterator[Received]:
    """Take as many as fit into memory."""
    size = 0
    for event in islice(events, _AT_ONCE):
        yield event
        size += len(event.body)
        if size > _BYTES_AT_ONCE:
            return
