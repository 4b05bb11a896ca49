"""Snapshots, and rolling back to one of them."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import Name
from analyst.rebuild import RebuildAnswer
from analyst.rebuild.rollback import RollbackAnswer, release, roll_back
from analyst.snapshots import SnapshotNumber
from analyst.state import actor
from analyst.state.audit import record
from analyst.state.fields import Input, Output


class SnapshotSummary(Output):
    """A snapshot that is still kept, and when it was published."""

    snapshot: int
    published_at: datetime
    is_current: bool


class HeldBackSource(Output):
    """A source that a rollback keeps at an earlier snapshot."""

    source: str
    snapshot: int
    since: datetime


class SnapshotList(Output):
    """The snapshots that are kept, newest first. Only administrators see `held_back`."""

    snapshots: tuple[SnapshotSummary, ...]
    held_back: tuple[HeldBackSource, ...] = ()


class RollbackRequest(Input):
    """The number of the snapshot to publish again. `dry_run` only reports what would change."""

    number: SnapshotNumber
    dry_run: bool = False


class ReleaseRequest(Input):
    """The sources to release; null selects all that are held back."""

    sources: Annotated[tuple[Name, ...], Field(max_length=1000)] | None = None


@function("GET", "/api/snapshots", allow=Role.VIEWER)
def list_snapshots(ctx: Context) -> SnapshotList:
    """List the snapshots that the manifest and the catalog can still return."""
    now = ctx.now
    return SnapshotList(
        snapshots=tuple(
            SnapshotSummary(snapshot=number, published_at=now - timedelta(seconds=age), is_current=place == 0)
            for place, (number, age) in enumerate(ctx.snapshots.ages().items())
        ),
        held_back=tuple(
            HeldBackSource(source=held.source, snapshot=held.snapshot, since=held.since)
            for held in (ctx.snapshots.current().catalog.held_back if ctx.caller.includes(Role.ADMIN) else ())
        ),
    )


@function(
    "POST",
    "/api/admin/snapshots/{number}/rollback",
    allow=Role.ADMIN,
    answers={
        404: "The snapshot does not exist, or is no longer kept.",
        409: "A rebuild is running, or files of the snapshot have been deleted.",
    },
)
def roll_back_to(request: RollbackRequest, ctx: Context) -> RollbackAnswer:
    """Publish the tables of an earlier snapshot as the newest snapshot.

    Their sources are held back: they keep this state until they publish again or are released.
    """
    answer = roll_back(ctx.rebuilding, request.number, dry_run=request.dry_run)
    if answer.dry_run:
        return answer
    by, to = actor(ctx), answer.snapshot
    ctx.state.edit(lambda db: record(db, by, "snapshot.rollback", f"snapshot:{request.number}", snapshot=to))
    return answer


@function(
    "POST",
    "/api/admin/snapshots/release",
    allow=Role.ADMIN,
    answers={404: "A source is not held back.", 409: "A rebuild is running."},
)
def release_sources(request: ReleaseRequest, ctx: Context) -> RebuildAnswer:
    """Release held-back sources: publish their current data."""
    answer = release(ctx.rebuilding, None if request.sources is None else frozenset(request.sources))
    by, named = actor(ctx), ",".join(request.sources or ()) or "*"
    ctx.state.edit(lambda db: record(db, by, "snapshot.release", f"source:{named}", snapshot=answer.snapshot))
    return answer
