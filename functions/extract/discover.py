"""The discovery of tables in sources of any type."""

from analyst.connectors.discovery import Discovered, DiscoveryRequest, discover
from analyst.context import Context
from analyst.http import Allow, function


@function(
    "POST",
    "/extract/discover",
    allow=Allow.SERVICE,
    answers={404: "The source does not exist.", 422: "The source can't be listed, or a named table was not found."},
    body_limit=8 << 20,
)
def discover_tables(request: DiscoveryRequest, ctx: Context) -> Discovered:
    """List the tables of one source or of all; with `register_new`, register those that are new."""
    return discover(ctx, request)
