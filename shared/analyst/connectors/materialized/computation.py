"""How a materialized table is computed, as its readers may see it."""

from dataclasses import dataclass
from datetime import datetime

from analyst.catalog import Table
from analyst.connectors.materialized.options import TYPE
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.schedule import Schedule
from analyst.visible_tables import find


@dataclass(frozen=True, slots=True)
class Computation:
    """The inputs that the caller can read, the SQL if these are all, and when it is computed again."""

    sql: str | None
    inputs: tuple[str, ...]
    schedule: str | None
    next_run: datetime | None


def computation_of(ctx: Context, table: Table) -> Computation | None:
    """Return how a table is computed; `None` if it is not a materialized table."""
    from analyst.state.registry import find_table
    from analyst.state.sources import list_sources

    if not table.inputs and table.query_mode != "materialized":
        return None
    with ctx.state.read() as db:
        registered = find_table(db, table.id)
        source = next((each for each in list_sources(db) if each.name == table.source), None)
    if registered is None or source is None or source.type != TYPE:
        return None
    schedule = registered.sync_schedule or source.sync_schedule
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    inputs = tuple(str(each) for each in registered.options.get("inputs", ()))
    readable = tuple(each for each in inputs if find(snapshot, access, ctx.caller, each) is not None)
    return Computation(
        sql=registered.options.get("sql") if readable == inputs else None,
        inputs=readable,
        schedule=schedule,
        next_run=_next_run(schedule, table.extracted_at or ctx.now),
    )


def _next_run(schedule: str | None, last: datetime) -> datetime | None:
    try:
        return Schedule.parse(schedule).next_due(last) if schedule else None
    except InvalidInputError:
        return None
