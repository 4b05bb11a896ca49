"""Extracts on demand, and their results."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from analyst.context import Context
from analyst.extract_run import RunId
from analyst.http import Allow, function
from analyst.names import Name, TableId
from analyst.scheduling import note
from analyst.state.fields import Input
from analyst.state.sources import list_sources
from analyst.sync_runs import Following, SyncStatus, Triggered, explain, record_failure, trigger


class TriggerRequest(BaseModel):
    """The sources or the tables to extract; every source if neither is given."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"anyOf": [{"properties": {name: {"type": "null"}}} for name in ("sources", "tables")]},
    )

    sources: Annotated[tuple[Name, ...], Field(max_length=1000)] | None = None
    tables: Annotated[tuple[TableId, ...], Field(max_length=1000)] | None = None


class StatusQuery(Input):
    """The id of one run, or how many of the newest runs to return."""

    run: RunId | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


@function(
    "POST",
    "/api/sync/trigger",
    allow=Allow.SERVICE,
    status=202,
    answers={404: "A source or table does not exist."},
    audit="sync.trigger",
)
def trigger_extracts(request: TriggerRequest, ctx: Context) -> Triggered:
    """Start an extract of each requested source. `GET /api/sync/status` returns the results."""
    ctx.audited(*(f"table:{table_id}" for table_id in request.tables or ()))
    with ctx.state.read() as db:
        sources = list_sources(db)
    store, clock = ctx.store, ctx.clock
    triggered = trigger(
        sources,
        request.sources,
        request.tables,
        note=lambda extracts: note(store, extracts, ctx.now),
        enqueue=ctx.tasks.enqueue,
        failed=lambda run, error: record_failure(store, run, explain(error), clock()),
    )
    ctx.audited(*(f"source:{run.source}" for run in triggered.runs))
    return triggered


@function("GET", "/api/sync/status", allow=Allow.SERVICE)
def status(query: StatusQuery, ctx: Context) -> SyncStatus:
    """Return the results of the newest extracts and rebuilds, or the state of one run."""
    following = Following(ctx.store, ctx.snapshots, ctx.now, ctx.settings.profile_after_sync, ctx.process.runs)
    return following.of(query.run) if query.run else following.newest(query.limit)
