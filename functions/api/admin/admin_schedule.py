"""The schedule of sources, tables, jobs and the sweep."""

from analyst.access import Role
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import function
from analyst.scheduling.overview import Overview, ScheduleView
from analyst.scheduling.timetable import Registry


@function("GET", "/api/admin/schedule", allow=Role.ADMIN)
def show_schedule(ctx: Context) -> ScheduleView:
    """Return when each table is synced, the result of its last sync, and whether and why it is due now."""
    return overview(ctx).view()


def overview(ctx: Context) -> Overview:
    """Return the schedules as of now, of which pages show parts."""
    registry = Registry.read(ctx.state, ctx.settings, SOURCE_TYPES)
    return Overview.read(ctx.store, ctx.process.ledger.current(), registry, ctx.settings.sweep_schedule, ctx.now)
