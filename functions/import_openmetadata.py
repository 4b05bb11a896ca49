"""The import from OpenMetadata, as a job that the scheduler starts."""

from analyst.context import Context
from analyst.http import Allow, function
from analyst.openmetadata.exchange import Exchange, Import
from analyst.state.fields import Input


class ImportRequest(Input):
    """No parameters: all tables are imported."""


@function(
    "POST",
    "/import-openmetadata",
    allow=Allow.SERVICE,
    answers={422: "The token is refused, or the server is not OpenMetadata.", 503: "The server can't be reached."},
    audit="openmetadata.import",
)
def import_on_schedule(_request: ImportRequest, ctx: Context) -> Import:
    """Import descriptions, tags, owners and tiers from OpenMetadata. If that fails, the last import is kept."""
    return import_now(ctx)


def import_now(ctx: Context, losses: int | None = None) -> Import:
    """Import from OpenMetadata, and have the process show it."""
    exchange = Exchange.of(ctx.settings, ctx.process.http)
    made = exchange.import_tables(ctx.store, ctx.snapshots.current(), ctx.now, losses=losses)
    ctx.texts.expire()
    ctx.audited(tables=made.tables)
    return made
