"""`da request`, `da requests` and `da admin requests`: ask for access to a table, and answer such requests."""

from typing import Annotated

import typer

from da.options import Json, command_group
from da.output import print_json, print_table, respond
from da.server import segment
from da.session import doing

app = command_group("Answer access requests.")

Table = Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="Table to request.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why you need it.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="ID of the request, from da admin requests list.")]
Answer = Annotated[str | None, typer.Option("--answer", "-m", help="Message to the requester.")]
Group = Annotated[
    str | None,
    typer.Option("--group", "-g", help="Grant access to this group of the requester, not to the requester alone."),
]
All = Annotated[bool, typer.Option("--all", "-a", help="Include answered requests.")]

_MISSING = "to see all requests, run: da admin requests list --all"


def request(table: Table, reason: Reason, json: Json = False) -> None:
    """Request access to a table.

    An administrator approves or denies it. Until then, the server does not reveal whether the table exists.
    """
    with doing(f"request access to '{table}'") as server:
        made = server.post("/api/access-requests", {"table": table, "reason": reason})
    respond(made, f"Requested access to {table}. To see the answer, run: da requests", json=json)


def requests(json: Json = False) -> None:
    """List your access requests and their answers."""
    with doing("list your requests") as server:
        found = server.get("/api/access-requests/mine")["requests"]
    if json:
        print_json(found)
        return
    rows = [(it["table"], (it["created_at"] or "")[:10], it["status"], it["reason"], it["answer"]) for it in found]
    print_table(("table", "requested", "status", "reason", "answer"), rows)


@app.command("list")
def list_requests(everything: All = False, json: Json = False) -> None:
    """List pending access requests."""
    with doing("list the requests") as server:
        status = "all" if everything else "pending"
        requests = server.get("/api/admin/access-requests", status=status)["requests"]
    if json:
        print_json(requests)
        return
    rows = [
        (
            it["id"],
            (it["created_at"] or "")[:10],
            it["user"],
            it["table"] if it["registered"] else f"{it['table']} (no such table)",
            it["status"],
            it["reason"],
        )
        for it in requests
    ]
    print_table(("id", "requested", "user", "table", "status", "reason"), rows)


@app.command("approve")
def approve(request: Id, group: Group = None, answer: Answer = None, json: Json = False) -> None:
    """Approve a request and grant the access."""
    said = {name: value for name, value in (("group", group), ("answer", answer)) if value}
    with doing(f"approve the request '{request}'", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/approve", said)
    whom = f"The group {group}" if group else done["user"]
    respond(done, f"{whom} can now read {done['table']}; the next da sync fetches it.", json=json)


@app.command("deny")
def deny(request: Id, answer: Answer = None, json: Json = False) -> None:
    """Deny a request."""
    with doing(f"deny the request '{request}'", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/deny", {"answer": answer} if answer else {})
    respond(done, f"Denied the request of {done['user']} for {done['table']}.", json=json)
