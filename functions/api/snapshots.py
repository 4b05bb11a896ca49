"""Snapshots that are kept, and the way back to one of them."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import Name
from analyst.rebuild import RebuildAnswer
from analyst.rebuild.rollback import RollbackAnswer, release, roll_back
from analyst.snapshots import SnapshotNumber
from analyst.state import actor
from analyst.state.audit import record
from analyst.state.fields import Input


class SnapshotSummary(BaseModel):
    """One snapshot that can be asked for, and when it was published."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    published_at: datetime
    is_current: bool


class HeldBackSource(BaseModel):
    """A source that shows the tables of an earlier snapshot, since a rollback."""

    model_config = ConfigDict(frozen=True)

    source: str
    snapshot: int
    since: datetime


class SnapshotList(BaseModel):
    """The snapshots that are kept, newest first. `held_back` is empty for whoever is no administrator."""

    model_config = ConfigDict(frozen=True)

    snapshots: tuple[SnapshotSummary, ...]
    held_back: tuple[HeldBackSource, ...] = ()


class RollbackRequest(Input):
    """Which snapshot to go back to, or with `dry_run` only to tell what would be shown, missing and held back."""

    number: SnapshotNumber
    dry_run: bool = False


class ReleaseRequest(Input):
    """Which sources to release; all that are held back when null."""

    sources: Annotated[tuple[Name, ...], Field(max_length=1000)] | None = None


@function("GET", "/api/snapshots", allow=Role.VIEWER)
def list_snapshots(ctx: Context) -> SnapshotList:
    """List the snapshots that manifest and catalogue can be asked for."""
    now = ctx.now
    return SnapshotList(
        snapshots=tuple(
            SnapshotSummary(snapshot=number, published_at=now - timedelta(seconds=age), is_current=place == 0)
            for place, (number, age) in enumerate(ctx.snapshots.ages().items())
        ),
        held_back=tuple(
            HeldBackSource(source=one.source, snapshot=one.snapshot, since=one.since)
            for one in (ctx.snapshots.current().catalog.held_back if ctx.caller.includes(Role.ADMIN) else ())
        ),
    )


@function(
    "POST",
    "/api/admin/snapshots/{number}/rollback",
    allow=Role.ADMIN,
    answers={
        404: "There is no such snapshot, or it is kept no more.",
        409: "A rebuild is running, or files of the snapshot are gone.",
    },
)
def roll_back_to(request: RollbackRequest, ctx: Context) -> RollbackAnswer:
    """Publish the tables of an earlier snapshot as the newest one.

    They stay as they were then until their sources publish anew, or are released: such sources are `held_back`.
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
    """Publish what sources have that a rollback holds back."""
    answer = release(ctx.rebuilding, None if request.sources is None else frozenset(request.sources))
    by, named = actor(ctx), ",".join(request.sources or ()) or "*"
    ctx.state.edit(lambda db: record(db, by, "snapshot.release", f"source:{named}", snapshot=answer.snapshot))
    return answer
