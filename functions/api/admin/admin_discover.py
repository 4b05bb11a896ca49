"""Discovery: the tables that sources offer, and their registration."""

from analyst.access import Role
from analyst.connectors.discovery import Discovered, DiscoveryOrder, DiscoveryRequest, RegistrationOrder
from analyst.context import Context
from analyst.http import function

_NONE = "The source does not exist."
_UNLISTED = "The tables of a source of this type can't be listed, or a named table was not found."


@function("GET", "/api/admin/discover-tables", allow=Role.ADMIN, answers={404: _NONE, 422: _UNLISTED})
def list_discovered_tables(query: DiscoveryOrder, ctx: Context) -> Discovered:
    """List the tables of a source, or of all, with the ids that they have or would get. Changes nothing."""
    return _asked(ctx, DiscoveryRequest(source=query.source))


@function(
    "POST", "/api/admin/discover-tables", allow=Role.ADMIN, body_limit=8 << 20, answers={404: _NONE, 422: _UNLISTED}
)
def register_discovered_tables(order: RegistrationOrder, ctx: Context) -> Discovered:
    """Register the tables of a source, or of all, that are new; or those that are named. A dry run only lists them."""
    return _asked(ctx, DiscoveryRequest(**order.model_dump(), register_new=True))


def _asked(ctx: Context, request: DiscoveryRequest) -> Discovered:
    # the extract functions have the folders of sources, and the tokens; this process may have neither
    return Discovered.model_validate(ctx.tasks.call("/extract/discover", request.model_dump(mode="json")))
