"""The health of the installation."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel

from analyst.context import Context
from analyst.http import Allow, function


class Health(BaseModel):
    """The bucket is reachable. `snapshot` is the number of the newest snapshot, null before the first one.

    `held_back` is the number of sources that a rollback keeps at an earlier snapshot, `failed_tasks` that of calls between
    functions that failed for good.
    """

    status: Literal["ok"] = "ok"
    version: str
    snapshot: int | None = None
    held_back: int = 0
    failed_tasks: int = 0


@function("GET", "/api/health", allow=Allow.ANYBODY)
def health(ctx: Context) -> Health:
    """Check that the functions and their bucket respond."""
    newest = ctx.snapshots.current()
    return Health(
        version=version("ai-data-analyst"),
        snapshot=newest.number or None,
        held_back=len(newest.catalog.held_back),
        failed_tasks=ctx.process.task_ledger.has_failures(),
    )
