"""The schedule of sources, tables, jobs and the sweep, and pausing all of it."""

from analyst import automation
from analyst.access import Role
from analyst.automation import Pause
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import function
from analyst.scheduling.overview import Overview, ScheduleView
from analyst.scheduling.timetable import Registry
from analyst.state.fields import Input, Output


class AutomationChoice(Input):
    """Whether the server is to be paused."""

    paused: bool


class Automation(Output):
    """Why the server starts nothing by itself and sends no messages; null if it does."""

    paused: Pause | None


@function("GET", "/api/admin/schedule", allow=Role.ADMIN)
def show_schedule(ctx: Context) -> ScheduleView:
    """Return when each table is synced, the result of its last sync, and whether and why it is due now."""
    return overview(ctx).view()


@function("POST", "/api/admin/schedule", allow=Role.ADMIN, audit="schedule.pause")
def pause_schedule(choice: AutomationChoice, ctx: Context) -> Automation:
    """Pause schedules, scheduled scripts, messages to people and the bot of Telegram, or resume them.

    A restored copy of a bucket is paused until then, so that people are not notified twice.
    """
    ctx.audited(paused=choice.paused)
    if choice.paused:
        automation.pause(
            ctx.store, f"{ctx.caller.email or 'an administrator'} has paused it", ctx.caller.email, ctx.now
        )
    else:
        automation.resume(ctx.store)
    return Automation(paused=automation.paused(ctx.store))


def overview(ctx: Context) -> Overview:
    """Return the schedules as of now, of which pages show parts."""
    registry = Registry.read(ctx.state, ctx.settings, SOURCE_TYPES)
    return Overview.read(ctx.store, ctx.process.ledger.current(), registry, ctx.settings.sweep_schedule, ctx.now)
