"""The home page: the first steps, then what is new, what is fresh, what failed, and what one has asked and run."""

from typing import Any, Final

from analyst import saved_queries
from analyst.access import Role
from analyst.catalog import Table
from analyst.cli_wheel import NO_ADDRESS, describe_cli
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import View, function
from analyst.http.pages import ask
from analyst.pages.catalog import Browsing, Entry
from analyst.visible_tables import visible
from functions.api import access_requests, sync

_SHOWN: Final = 6
_LAST: Final = 3


@function("GET", "/", allow=Role.VIEWER)
def home(ctx: Context) -> View:
    """Show the first steps, the newest and freshest tables, failures, and the caller's requests and queries."""
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    tables = visible(snapshot, access, ctx.caller)
    browsing = Browsing(ctx.process.catalog_search, snapshot, access, ctx.caller, ctx.now, ctx.texts.current())
    names = {table.id for table in tables}
    sources = {table.source for table in tables}
    is_admin = ctx.caller.includes(Role.ADMIN)
    problems = [
        each
        for each in snapshot.catalog.problems
        if is_admin or (f"{each.source}.{each.table}" in names if each.table else each.source in sources)
    ]
    registered = {id_: table.registered_at for id_, table in access.tables.items() if id_ in names}
    newest = sorted(
        (table for table in tables if table.id in registered), key=lambda each: registered[each.id], reverse=True
    )
    fresh = sorted(
        (table for table in tables if table.extracted_at), key=lambda each: str(each.extracted_at), reverse=True
    )
    requests = ask(ctx, access_requests.list_own_requests).requests
    data: dict[str, Any] = {
        "tables": len(tables),
        "columns": sum(len(table.columns) for table in tables),
        "rows": sum(table.rows or 0 for table in tables),
        "size_bytes": sum(table.size_bytes or 0 for table in tables),
        "newest": [{"table": entry, "registered_at": registered[entry.id]} for entry in _entries(browsing, newest)],
        "fresh": _entries(browsing, fresh),
        "notices": [{"id": table.id, "notice": table.notice} for table in tables if table.notice][:_SHOWN],
        "problems": problems[:_SHOWN],
        "requests": requests[:_SHOWN],
        "failed": [],
        "waiting": 0,
        "queries": saved_queries.history(ctx.store, ctx.user_id)[:_LAST],
    }
    if is_admin:
        recent = ask(ctx, sync.status, limit=10).runs
        data["failed"] = [each for each in recent if each.status in {"failed", "partial", "lost"}][:_LAST]
        data["waiting"] = len(ask(ctx, access_requests.list_access_requests).requests)
    return View("home.html", "Home", data, extras=_first_steps(ctx, tables), current="/")


def _entries(browsing: Browsing, tables: list[Table]) -> list[Entry]:
    return browsing.entries(tables[:_SHOWN])


def _first_steps(ctx: Context, tables: list[Table]) -> dict[str, Any]:
    try:
        cli, no_cli = describe_cli(ctx.settings.base_url), ""
    except NotFoundError as error:
        cli, no_cli = None, str(error)
    example = f"from {tables[0].view} limit 10" if tables else "show tables"
    return {"cli": cli, "no_cli": no_cli, "address": ctx.settings.base_url or NO_ADDRESS, "example": example}
