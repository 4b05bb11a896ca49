"""`da admin audit`: who did what, and how it ended."""

from typing import Annotated, Any, Literal

import typer

from da.options import Json, parse_time
from da.output import print_json, print_table, say
from da.server import Server
from da.session import WHO, doing
from da.text import local_time

_PAGE = 1000

Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only events since then: 2h, 7d, 2026-03-01 or 2026-03-01T08:00.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only events before then.")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="EMAIL", help="Only events of this user.")]
Action = Annotated[str | None, typer.Option(help="Only actions that start with this, such as grant or auth.")]
Resource = Annotated[
    str | None, typer.Option(metavar="KIND:NAME", help="Only events about this, such as table:shop.orders.")
]
Ended = Annotated[
    Literal["ok", "denied", "failed"] | None, typer.Option("--outcome", help="Only events with this outcome.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Maximum number of events.")]


def audit(
    *,
    since: Since = None,
    until: Until = None,
    user: User = None,
    action: Action = None,
    resource: Resource = None,
    outcome: Ended = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List what was done and attempted, newest first.

    Examples:
      da admin audit
      da admin audit --since 2h --outcome denied
      da admin audit --user ann@example.com --since 2026-03-01
      da admin audit --resource table:shop.orders --json
    """
    wanted = {"since": parse_time(since), "until": parse_time(until), "user": user, "action": action}
    with doing("read the audit log", missing=WHO) as server:
        events = _events(server, {**wanted, "resource": resource, "outcome": outcome}, limit)
    if json:
        print_json(events)
        return
    rows = [
        (
            local_time(event["at"]),
            event.get("email") or event.get("caller"),
            event["action"],
            event["outcome"],
            _about(event),
        )
        for event in events
    ]
    print_table(
        ("time", "by", "action", "outcome", "about"),
        rows,
        optional=("outcome", "by"),
        empty="There are no matching events; to list all, run: da admin audit",
    )
    if len(events) == limit:
        say(f"Showing the newest {limit:,} events; use --limit for more.", err=True)


def _events(server: Server, wanted: dict[str, str | None], limit: int) -> list[dict[str, Any]]:
    """Fetch pages until there are enough; a page may be short although more follow."""
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(events) < limit:
        page = server.get("/api/admin/audit", **wanted, cursor=cursor, limit=min(_PAGE, limit - len(events)))
        events += page["events"]
        cursor = page["next"]
        if cursor is None:
            break
    return events


def _about(event: dict[str, Any]) -> str:
    times = f" ({event['count']} times)" if event.get("count", 1) > 1 else ""
    return f"{', '.join(event.get('resources') or ())}{times}"
