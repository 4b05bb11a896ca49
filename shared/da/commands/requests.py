"""`da request` and `da requests`: ask to read a table, and see what became of it."""

from typing import Annotated

import typer

from da.admin_errors import doing
from da.output import print_json, print_table, say

Table = Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="What you want to read.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="What you need it for.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def request(table: Table, reason: Reason, json: Json = False) -> None:
    """Ask the administrators to let you read a table.

    Whether there is such a table is not told before they let you.
    """
    with doing(f"ask for {table}") as server:
        made = server.post("/api/access-requests", {"table": table, "reason": reason})
    print_json(made) if json else say(f"Asked for {table}. What became of it: da requests")


def requests(json: Json = False) -> None:
    """List what you have asked for, and the answers."""
    with doing("list your requests") as server:
        found = server.get("/api/access-requests/mine")["requests"]
    if json:
        print_json(found)
        return
    rows = [(it["table"], (it["created_at"] or "")[:10], it["status"], it["reason"], it["answer"]) for it in found]
    print_table(("table", "asked", "state", "reason", "answer"), rows)
