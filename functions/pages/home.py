"""The home page: one's tables, and how to query them."""

from typing import Annotated, Final

from pydantic import StringConstraints

from analyst import catalog_view
from analyst.access import Role
from analyst.cli_wheel import NO_ADDRESS, describe_cli
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import Page, function
from analyst.http.pages import page
from analyst.state import requests
from analyst.state.fields import Input

_SHOWN: Final = 200
"""Tables on the page; a search finds the others."""


class HomeQuery(Input):
    """A search in the names and descriptions of tables."""

    q: Annotated[str, StringConstraints(max_length=200)] = ""


@function("GET", "/", allow=Role.VIEWER)
def home(query: HomeQuery, ctx: Context) -> Page:
    """Show the tables that the user can read with their freshness, open requests, and the first steps with `da`."""
    text = query.q.strip()
    found = catalog_view.search(
        ctx.snapshots.current(),
        ctx.access.current(),
        ctx.caller,
        text=text or None,
        limit=_SHOWN,
        offset=0,
        texts=ctx.texts.current(),
    )
    with ctx.state.read() as db:
        own = requests.list_own(db, ctx.caller.user_id or "")
    try:
        cli, no_cli = describe_cli(ctx.settings.base_url), ""
    except NotFoundError as error:
        cli, no_cli = None, str(error)
    example = f"from {found.tables[0].view} limit 10" if found.tables else "show tables"
    return page(
        ctx,
        "home.html",
        title="Your tables",
        current="/",
        tables=found.tables,
        count=found.count,
        query=text,
        pending=sum(request.status == "pending" for request in own),
        is_admin=ctx.caller.includes(Role.ADMIN),
        cli=cli,
        no_cli=no_cli,
        address=ctx.settings.base_url or NO_ADDRESS,
        example=example,
        now=ctx.now,
    )
