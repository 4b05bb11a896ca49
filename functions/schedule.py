"""The scheduler: starts whatever is due each time it is called."""

from datetime import timedelta
from typing import Final

from analyst import automation
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import Allow, function
from analyst.scheduling import ScheduleAnswer, Scheduler
from analyst.scheduling.decisions import SweepOutcome
from analyst.scheduling.failures import SWEEP
from analyst.scheduling.timetable import Registry
from analyst.scripts import stored_scripts
from analyst.scripts.stored_scripts import StoredScripts


@function("POST", "/schedule", allow=Allow.SERVICE)
def schedule(ctx: Context) -> ScheduleAnswer:
    """Start all extracts, source jobs, scripts and sweeps that are due, and tasks that a process lost. Call it every minute.

    Extra and concurrent calls are harmless. `GET /api/sync/status` returns the results of the extracts. While the server is
    paused, only lost tasks are started again, and the sweep once a day.
    """
    ctx.tasks.redeliver()
    pause = automation.paused(ctx.store)
    if pause is not None:
        return _only_swept(ctx, pause.why)
    _notify(ctx)
    _start_scripts(ctx)
    registry = Registry.read(ctx.state, ctx.settings, SOURCE_TYPES)
    return Scheduler(ctx.store, registry, ctx.settings.sweep_schedule, ctx.tasks.enqueue, ctx.clock).call()


def _only_swept(ctx: Context, why: str) -> ScheduleAnswer:
    if _since_midnight(ctx) < _CALLED_EVERY:
        ctx.tasks.enqueue("/sweep", {}, name=SWEEP)
    return ScheduleAnswer(
        sources=(), jobs=(), sweep=SweepOutcome(outcome="not_due", why=f"the server is paused: {why}")
    )


def _since_midnight(ctx: Context) -> timedelta:
    return ctx.now - ctx.now.replace(hour=0, minute=0, second=0, microsecond=0)


def _start_scripts(ctx: Context) -> None:
    """Have scripts run that are due. Each scheduled time has one run, whichever call adds its task, so they are marked last."""
    scripts = StoredScripts(ctx.store).everything() if ctx.settings.script_runner != "off" else {}
    due = stored_scripts.due(scripts, ctx.access.current(), ctx.now) if scripts else {}
    run_ids = {script_id: stored_scripts.run_id_of(script_id, at) for script_id, at in due.items()}
    for script_id, run_id in run_ids.items():
        ctx.tasks.enqueue("/run-script", {"script": script_id, "run_id": run_id, "trigger": "schedule"})
    if run_ids:
        StoredScripts(ctx.store).started(run_ids, ctx.now)


_COLLECTED_EVERY: Final = timedelta(minutes=5)
_MEMORY_EVERY: Final = timedelta(hours=1)
_CALLED_EVERY: Final = timedelta(minutes=1)


def _notify(ctx: Context) -> None:
    """Have events collected in the first minute of every five, notes in that of every hour, and messages to the bot read."""
    since = _since_midnight(ctx)
    if since % _COLLECTED_EVERY < _CALLED_EVERY:
        ctx.tasks.enqueue("/notifications/collect", {}, name="collect")
    if ctx.settings.memory_model is not None and since % _MEMORY_EVERY < _CALLED_EVERY:
        ctx.tasks.enqueue("/memory/collect", {}, name="memory")
    if ctx.settings.telegram_updates == "polling" and ctx.settings.telegram_bot_token is not None:
        ctx.tasks.enqueue("/telegram/poll", {}, name="poll")
