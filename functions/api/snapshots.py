"""Snapshots that are kept, and the way back to one of them."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.rebuild import Rebuild, RebuildAnswer
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


class SnapshotList(BaseModel):
    """The snapshots that are kept, newest first."""

    model_config = ConfigDict(frozen=True)

    snapshots: tuple[SnapshotSummary, ...]


class RollbackRequest(Input):
    """Which snapshot to go back to."""

    number: SnapshotNumber


@function("GET", "/api/snapshots", allow=Role.VIEWER)
def list_snapshots(ctx: Context) -> SnapshotList:
    """List the snapshots that manifest and catalogue can be asked for."""
    now = ctx.now
    return SnapshotList(
        snapshots=tuple(
            SnapshotSummary(snapshot=number, published_at=now - timedelta(seconds=age), is_current=place == 0)
            for place, (number, age) in enumerate(ctx.snapshots.ages().items())
        )
    )


@function(
    "POST",
    "/api/admin/snapshots/{number}/rollback",
    allow=Role.ADMIN,
    answers={404: "There is no such snapshot, or it is kept no more.", 409: "A rebuild is running."},
)
def roll_back_to(request: RollbackRequest, ctx: Context) -> RebuildAnswer:
    """Publish the tables of an earlier snapshot as the newest one.

    They stay as they were then until their sources publish anew.
    """
    from analyst.rebuild.rollback import roll_back

    rebuilding = Rebuild(ctx.store, ctx.clock, lambda: tuple(ctx.access.current().tables), ctx.settings.scratch_dir)
    answer = roll_back(rebuilding, request.number)
    by, to = actor(ctx), answer.snapshot
    ctx.state.edit(lambda db: record(db, by, "snapshot.rollback", f"snapshot:{request.number}", snapshot=to))
    return answer
