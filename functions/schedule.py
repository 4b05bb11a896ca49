"""The scheduler: starts whatever is due each time it is called."""

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import Allow, function
from analyst.scheduling import ScheduleAnswer, Scheduler
from analyst.scheduling.timetable import Registry


@function("POST", "/schedule", allow=Allow.SERVICE)
def schedule(ctx: Context) -> ScheduleAnswer:
    """Start all extracts, source jobs and sweeps that are due, and tasks that a process lost. Call it every minute.

    Extra and concurrent calls are harmless. `GET /api/sync/status` returns the results of the extracts.
    """
    ctx.tasks.redeliver()
    with ctx.state.read() as db:
        registry = Registry.read(db, ctx.settings, SOURCE_TYPES)
    return Scheduler(ctx.store, registry, ctx.settings.sweep_schedule, ctx.tasks.enqueue, ctx.clock).call()
