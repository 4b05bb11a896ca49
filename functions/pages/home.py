"""The home page: the first steps, then what is new, what is fresh, what failed, and what one has asked and run."""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from analyst import saved_queries
from analyst.access import Role
from analyst.auth import session_list
from analyst.catalog import Problem, Table
from analyst.cli_wheel import NO_ADDRESS, describe_cli
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import View, function
from analyst.http.pages import ask
from analyst.memory import item_views
from analyst.memory.items import Memory
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.pages.catalog import Browsing, Standing
from analyst.visible_tables import visible_by_id
from functions.api import access_requests, sync

_SHOWN: Final = 6
_LAST: Final = 3
_SOURCES: Final = 8


@function("GET", "/", allow=Role.VIEWER)
def home(ctx: Context) -> View:
    """Show the first steps, the newest and freshest tables, failures, and the caller's requests and queries."""
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    tables = visible_by_id(snapshot, access, ctx.caller)
    browsing = Browsing(ctx.process.catalog_search, snapshot, access, ctx.caller, ctx.now, ctx.texts.current())
    standing = Standing.of(snapshot, access)
    is_admin = ctx.caller.includes(Role.ADMIN)
    newest = dict(islice((each for each in standing.newest if each[0] in tables), _SHOWN))
    fresh = islice((each for each in standing.freshest if each.id in tables), _SHOWN)
    noticed = islice((each for each in standing.noticed if each.id in tables), _SHOWN)
    problems = snapshot.catalog.problems
    if not is_admin:
        problems = _seen(problems, tables)
    sources = Counter(table.source for table in tables.values())
    requests = ask(ctx, access_requests.list_own_requests).requests
    data: dict[str, Any] = {
        "tables": len(tables),
        "columns": sum(map(standing.columns.__getitem__, tables)),
        "rows": sum(table.rows or 0 for table in tables.values()),
        "size_bytes": sum(table.size_bytes or 0 for table in tables.values()),
        "newest": [
            {"table": entry, "registered_at": newest[entry.id]}
            for entry in browsing.entries(tables[id_] for id_ in newest)
        ],
        "fresh": browsing.entries(fresh),
        "notices": [{"id": table.id, "notice": table.notice} for table in noticed],
        "problems": problems[:_SHOWN],
        "sources": dict(sources.most_common(_SOURCES)),
        "more_sources": max(0, len(sources) - _SOURCES),
        "metrics": len(visible_metrics(checked_metrics.read(ctx.store).metrics, snapshot, access, ctx.caller)),
        "requests": requests[:_SHOWN],
        "failed": [],
        "waiting": 0,
        "memory": item_views.stats(Memory(ctx.store, ctx.settings, access, ctx.caller, ctx.now, ctx.process.recent)),
        "queries": saved_queries.history(ctx.store, ctx.user_id)[:_LAST],
    }
    if is_admin:
        recent = ask(ctx, sync.status, limit=10).runs
        data["failed"] = [each for each in recent if each.status in {"failed", "partial", "lost"}][:_LAST]
        data["waiting"] = len(ask(ctx, access_requests.list_access_requests).requests)
    return View("home.html", "Home", data, extras=_first_steps(ctx, tables), current="/")


def _seen(problems: tuple[Problem, ...], tables: Mapping[str, Table]) -> tuple[Problem, ...]:
    """Return the problems of tables that are seen, and of sources of which some are."""
    sources = {table.source for table in tables.values()} if any(each.table is None for each in problems) else set()
    return tuple(
        each
        for each in problems
        if (each.source in sources if each.table is None else f"{each.source}.{each.table}" in tables)
    )


def _first_steps(ctx: Context, tables: Mapping[str, Table]) -> dict[str, Any]:
    try:
        cli, no_cli = describe_cli(ctx.settings.base_url), ""
    except NotFoundError as error:
        cli, no_cli = None, str(error)
    sessions = session_list.list_sessions(ctx.store, ctx.user_id, ctx.access.current(), ctx.now)
    example = f"from {next(iter(tables.values())).view} limit 10" if tables else "show tables"
    return {
        "cli": cli,
        "no_cli": no_cli,
        "address": ctx.settings.base_url or NO_ADDRESS,
        "example": example,
        "can_mirror": ctx.caller.includes(Role.ANALYST),
        "has_started": any(each.kind == "da" for each in sessions),
    }
