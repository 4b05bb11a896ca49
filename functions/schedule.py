"""The scheduler: whatever calls it every few minutes, it starts what is due."""

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import Allow, function
from analyst.scheduling import ScheduleAnswer, Scheduler
from analyst.scheduling.timetable import Registry


@function("POST", "/schedule", allow=Allow.SERVICE)
def schedule(ctx: Context) -> ScheduleAnswer:
    """Start the extracts of tables, the jobs of sources and the sweep, as each is due; best every minute or every few.

    It may be called as often as one likes, also by several at once. `GET /api/sync/status` tells what becomes of the
    extracts.
    """
    with ctx.state.read() as db:
        registry = Registry.read(db, ctx.settings.sync_schedule, SOURCE_TYPES)
    return Scheduler(ctx.store, registry, ctx.settings.sweep_schedule, ctx.tasks.enqueue, ctx.clock).call()
