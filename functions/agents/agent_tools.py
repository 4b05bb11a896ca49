"""The tools of AI agents, by the Model Context Protocol."""

from importlib.metadata import version
from typing import Any, Final

from pydantic import RootModel

from analyst.access import Role
from analyst.agents.server_warehouse import Registered, ServerWarehouse
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import CLIENT_GONE, Accepted, Answer, blocks, function
from analyst.http.admission import is_own_origin
from analyst.state.fields import Output
from analyst.state.registry import find_table, list_tables
from analyst.state.sources import list_sources
from da.agents.markdown import CatalogTexts
from da.agents.protocol import Server
from da.agents.tools import Tools

_HEADERS: Final = ("mcp-protocol-version", "mcp-method", "mcp-name")


class Message(RootModel[Any]):
    """A message of JSON-RPC 2.0, as the Model Context Protocol defines it."""


@function(
    "POST",
    "/mcp",
    allow=Role.VIEWER,
    answers={
        400: Message,
        403: Message,
        404: Message,
        413: "The message is larger than 1 MB.",
    },
    audit="mcp",
    binary=True,
    foreign=True,
    resource="/mcp",
)
def call_tools(ctx: Context) -> Answer[Message] | Accepted:
    """Answer a message of the Model Context Protocol: revision 2026-07-28, or an older one.

    Messages are independent of each other: there are no sessions and no streams. The tools only read, whatever the role
    and the scopes of the caller are; `shared/docs/agents.md` describes them.
    """
    if not is_own_origin(ctx.request, ctx.settings):  # DNS rebinding: a page of another site, also with a token
        raise ForbiddenError(
            "the request came from a page of another site; MCP clients send no Origin, or that of this server"
        )
    headers = {name: value for name in _HEADERS if (value := ctx.request.headers.get(name)) is not None}
    warehouse = warehouse_of(ctx)
    server = Server(
        Tools(warehouse, ctx.now),
        CatalogTexts(warehouse),
        version("ai-data-analyst"),
        lambda tool: ctx.audited(tool=tool),
    )
    reply = server.answer_bytes(b"".join(blocks(ctx.request)), headers)
    if reply.body is None:
        return Accepted()
    denied = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{reply.scope}"'} if reply.scope else {}
    return Answer(Message(reply.body), reply.status, denied)


class AgentCatalog(Output):
    """Descriptions of the tables (by id) and metrics that the caller can read, for `da mcp` on a mirror."""

    snapshot: int
    tables: dict[str, Any]
    metrics: tuple[Any, ...]


@function("GET", "/api/agents/catalog", allow=Role.VIEWER)
def agent_catalog(ctx: Context) -> AgentCatalog:
    """Return the tables that the caller can read, with their descriptions, and the metrics."""
    warehouse = warehouse_of(ctx)

    def registered() -> dict[str, Registered]:
        with ctx.state.read() as db:
            return {table.id: Registered(table.primary_key, table.sync_schedule) for table in list_tables(db)}

    found = warehouse.everything(registered)
    return AgentCatalog(snapshot=warehouse.edition().snapshot, tables=found["tables"], metrics=tuple(found["metrics"]))


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
        is_gone=ctx.request.environ.get(CLIENT_GONE, lambda: False),
        live=LiveTables(ctx),
    )
