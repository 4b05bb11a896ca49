"""The health of the installation."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel

from analyst.access import Role
from analyst.context import Context
from analyst.health import SourceHealth, source_health
from analyst.http import Allow, function
from analyst.scripts.stored_scripts import Confined, StoredScripts

_MOST_RUNS = 1_000


class Health(BaseModel):
    """The bucket is reachable. `snapshot` is the number of the newest snapshot, null before the first one.

    `snapshot_age` is in seconds. `held_back` is the number of sources that a rollback keeps at an earlier snapshot,
    `failed_tasks` that of calls between functions that failed for good.
    """

    status: Literal["ok"] = "ok"
    version: str
    snapshot: int | None = None
    snapshot_age: int | None = None
    held_back: int = 0
    failed_tasks: int = 0


class HealthDetails(Health):
    """The health with that of each source that was extracted in the last 7 days.

    `scripts` says how the last run of a script was confined, and is null if none has run.
    """

    sources: tuple[SourceHealth, ...]
    waiting_tasks: int
    scripts: Confined | None


@function("GET", "/api/health", allow=Allow.ANYBODY)
def health(ctx: Context) -> Health:
    """Check that the functions and their bucket respond."""
    return Health.model_validate(_health(ctx))


@function("GET", "/api/admin/health", allow=Role.ADMIN)
def health_details(ctx: Context) -> HealthDetails:
    """Return the health of the installation with the last runs of each source."""
    newest = ctx.process.runs.newest(today=ctx.now.date(), limit=_MOST_RUNS)
    waiting = sum(1 for _ in ctx.process.task_ledger.waiting())
    return HealthDetails.model_validate(
        {
            **_health(ctx),
            "sources": source_health(newest),
            "waiting_tasks": waiting,
            "scripts": StoredScripts(ctx.store).confined(),
        }
    )


def _health(ctx: Context) -> dict[str, object]:
    ctx.access.current()  # a version that is older than the state, or a damaged state, is not healthy
    newest = ctx.snapshots.current()
    age = (ctx.now - newest.catalog.built_at).total_seconds() if newest.number else None
    return {
        "version": version("ai-data-analyst"),
        "snapshot": newest.number or None,
        "snapshot_age": None if age is None else max(0, round(age)),
        "held_back": len(newest.catalog.held_back),
        "failed_tasks": ctx.process.task_ledger.failure_count(),
    }
