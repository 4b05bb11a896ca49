"""Workspaces of agents: the text of their AGENTS.md, and its template."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.agents import workspace_text
from analyst.agents.plugin import marketplace_name
from analyst.caller_warehouse import warehouse_of
from analyst.context import Context
from analyst.http import function
from analyst.state.fields import Input, Output
from functions.agents.agent_plugin import REPOSITORY


class KnownMarketplace(Output):
    """The marketplace of the plugin for Claude Code: its name, and the URL of its Git repository."""

    name: str
    url: str


class Workspace(Output):
    """The text of `AGENTS.md` for the caller, its SHA-256, the seconds for which it is valid, and the marketplace."""

    agents_md: str
    sha256: str
    ttl_s: int
    marketplace: KnownMarketplace | None
    """None if the address of the server is not configured."""


class Template(Output):
    """The template of `AGENTS.md`."""

    text: str
    placeholders: tuple[str, ...] = workspace_text.NAMES


class TemplateChange(Input):
    """A new template; null restores the default."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=workspace_text.LONGEST)] | None = Field()


@function("GET", "/api/agents/workspace", allow=Role.VIEWER)
def get_workspace(ctx: Context) -> Workspace:
    """Return the text of `AGENTS.md`, with the tables and metrics that the caller can read."""
    warehouse = warehouse_of(ctx)
    made = workspace_text.rendered(
        workspace_text.template(ctx.store), ctx.settings.instance_name, warehouse.find("", "all"), warehouse.edition()
    )
    known = None
    if ctx.settings.base_url is not None:
        known = KnownMarketplace(name=marketplace_name(ctx.settings.instance_name), url=ctx.base_url + REPOSITORY)
    return Workspace(agents_md=made.text, sha256=made.sha256, ttl_s=made.ttl_s, marketplace=known)


@function("GET", "/api/admin/agents/template", allow=Role.KM_ADMIN)
def get_template(ctx: Context) -> Template:
    """Return the template of `AGENTS.md`."""
    return Template(text=workspace_text.template(ctx.store))


@function(
    "PUT",
    "/api/admin/agents/template",
    allow=Role.KM_ADMIN,
    answers={422: "The template has a placeholder that does not exist."},
    audit="agents.template",
)
def put_template(change: TemplateChange, ctx: Context) -> Template:
    """Replace the template of `AGENTS.md`. Agents follow it: write only what you would tell a colleague to do."""
    return Template(text=workspace_text.set_template(ctx.store, change.text))
