"""The tools of AI agents, by the Model Context Protocol."""

from importlib.metadata import version
from typing import Any, Final

from pydantic import RootModel

from analyst.access import Role
from analyst.agents.server_warehouse import Registered
from analyst.caller_warehouse import warehouse_of
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import Accepted, Answer, blocks, function
from analyst.http.admission import is_own_origin
from analyst.state.fields import Output
from analyst.state.registry import list_tables
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
