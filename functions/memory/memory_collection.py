"""Collecting items from notes with a language model: by a task that may be killed and run again."""

from analyst.context import Context
from analyst.http import Allow, function
from analyst.memory.collector import Collected, Collector
from analyst.memory.model import model_of
from analyst.state.fields import Input


class CollectRequest(Input):
    """With `dry_run`, nothing is sent, and the answer says how much would be."""

    dry_run: bool = False


@function("POST", "/memory/collect", allow=Allow.SERVICE, audit="memory.collect")
def collect_memory(request: CollectRequest, ctx: Context) -> Collected:
    """Propose items from new notes, if a model is configured. Extra calls are harmless.

    When the time is up or the model is busy, another task continues.
    """
    model = model_of(ctx.settings, ctx.process.http)
    if model is None:
        ctx.audited(is_unchanged=True)
        return Collected(dry_run=request.dry_run)
    collector = Collector(ctx.store, ctx.settings, ctx.access.refresh(), model, ctx.now, ctx.is_time_up)
    if request.dry_run:
        ctx.audited(dry_run=True, is_unchanged=True)
        return collector.waiting()
    found = collector.collect()
    if not found.is_done:
        ctx.tasks.enqueue("/memory/collect", {}, name="memory", delay=found.retry_after or 0.0)
    ctx.audited(
        *(f"memory:{id_}" for id_ in found.proposed),
        parts=found.parts,
        rejected=len(found.rejected),
        is_unchanged=not found.parts,
    )
    return found
