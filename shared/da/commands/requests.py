"""`da request` and `da requests`: request access to a table, and list your requests."""

from typing import Annotated

import typer

from da.admin_errors import doing
from da.output import print_json, print_table, say

Table = Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="Table to request.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why you need it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def request(table: Table, reason: Reason, json: Json = False) -> None:
    """Request access to a table.

    An administrator approves or denies it. Until then, the server does not reveal whether the table exists.
    """
    with doing(f"request access to '{table}'") as server:
        made = server.post("/api/access-requests", {"table": table, "reason": reason})
    print_json(made) if json else say(f"Requested access to {table}. To see the answer, run: da requests")


def requests(json: Json = False) -> None:
    """List your access requests and their answers."""
    with doing("list your requests") as server:
        found = server.get("/api/access-requests/mine")["requests"]
    if json:
        print_json(found)
        return
    rows = [(it["table"], (it["created_at"] or "")[:10], it["status"], it["reason"], it["answer"]) for it in found]
    print_table(("table", "requested", "status", "reason", "answer"), rows)
