"""The overview of an administrator: health, what waits, what failed, and what is late."""

from typing import Any, Final

from analyst.access import Role
from analyst.context import Context
from analyst.http import View, function
from analyst.http.pages import ask
from functions.api import access_requests, feedback, health, sync
from functions.api.admin import admin_config, admin_schedule, admin_sources

_RUNS: Final = 8
_FAILING: Final = 20


@function("GET", "/admin", allow=Role.ADMIN)
def admin_page(ctx: Context) -> View:
    """Show the health of the installation, the open requests, the last runs, and the schedules that are late."""
    schedule = admin_schedule.overview(ctx)
    snapshot = ctx.snapshots.current()
    data: dict[str, Any] = {
        "health": ask(ctx, health.health),
        "built_at": snapshot.catalog.built_at if snapshot.number else None,
        "tables": len(snapshot.catalog.tables),
        "sources": len(ask(ctx, admin_sources.list_sources).sources),
        "users": len(ctx.access.current().users),
        "waiting": ask(ctx, access_requests.list_access_requests).requests,
        "runs": ask(ctx, sync.status, limit=_RUNS).runs,
        "failing": schedule.failing(_FAILING),
        "is_scheduler_silent": schedule.is_silent,
        "warnings": ask(ctx, admin_config.get_config).warnings,
        "problems": snapshot.catalog.problems,
        "feedback": ask(ctx, feedback.list_all_feedback).feedback[:5],
    }
    return View("admin_overview.html", "Overview", data, {"section": "/admin"}, "/admin")
