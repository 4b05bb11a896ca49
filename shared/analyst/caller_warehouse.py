"""What the tools of an agent can read: the tables and metrics of the caller of a request, remote tables among them."""

from analyst.agents.server_warehouse import Registered, ServerWarehouse
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.state.registry import find_table
from analyst.state.sources import list_sources


def warehouse_of(ctx: Context) -> ServerWarehouse:
    """Return the data that the caller of a request can read."""
    settings = ctx.settings

    def outside_sources() -> list[str]:
        with ctx.state.read() as db:
            types = {source.name: SOURCE_TYPES.get(source.type) for source in list_sources(db)}
        return [name for name, kind in types.items() if kind is not None and kind.is_outside]

    def registered(table_id: str) -> Registered:
        with ctx.state.read() as db:
            found = find_table(db, table_id)
        return Registered() if found is None else Registered(found.primary_key, found.sync_schedule)

    return ServerWarehouse(
        store=ctx.store,
        snapshots=ctx.snapshots,
        access=ctx.access.current(),
        texts=ctx.texts.current(),
        caller=ctx.caller,
        keys=lambda: ctx.keys,
        engine=lambda: ctx.queries,
        search=ctx.process.catalog_search,
        clock=ctx.clock,
        seconds=settings.query_timeout,
        url_expires=settings.url_expires,
        keep_hours=settings.keep_hours,
        absolute=ctx.absolute,
        outside_sources=outside_sources,
        registered=registered,
        using=lambda tables, snapshot: ctx.audited(*(f"table:{table.id}" for table in tables), snapshot=snapshot),
        is_gone=ctx.is_client_gone,
        live=LiveTables(ctx),
    )
