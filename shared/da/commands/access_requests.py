"""`da request`, `da requests` and `da admin requests`: ask for access to a table, and answer such requests."""

from typing import Annotated

import typer

from da.help import Commands
from da.options import Json
from da.output import print_json, print_table, respond
from da.server import segment
from da.session import doing
from da.text import local_day

app = Commands("Answer access requests.")

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

    Examples:
      da request shop.orders --reason "weekly report"
    """
    with doing(f"request access to '{table}'") as server:
        made = server.post("/api/access-requests", {"table": table, "reason": reason})
    respond(made, f"Requested access to {table}. To see the answer, run: da requests", json=json)


def requests(json: Json = False) -> None:
    """List your access requests and their answers.

    Examples:
      da requests
    """
    with doing("list your requests") as server:
        found = server.get("/api/access-requests/mine")["requests"]
    if json:
        print_json(found)
        return
    rows = [(it["table"], local_day(it["created_at"]), it["status"], it["reason"], it["answer"]) for it in found]
    empty = "You have not requested access to any table; to do so, run: da request SOURCE.TABLE --reason WHY"
    print_table(("table", "requested", "status", "reason", "answer"), rows, optional=("requested",), empty=empty)


@app.command("list")
def list_requests(everything: All = False, json: Json = False) -> None:
    """List pending access requests.

    Examples:
      da admin requests list
      da admin requests list --all
    """
    with doing("list the requests") as server:
        status = "all" if everything else "pending"
        requests = server.get("/api/admin/access-requests", status=status)["requests"]
    if json:
        print_json(requests)
        return
    rows = [
        (
            request["id"],
            local_day(request["created_at"]),
            request["user"],
            request["table"] if request["registered"] else f"{request['table']} (no such table)",
            request["status"],
            request["reason"],
        )
        for request in requests
    ]
    empty = (
        "There are no requests; users make one with: da request SOURCE.TABLE --reason WHY"
        if everything
        else "There are no pending requests; to list all, run: da admin requests list --all"
    )
    print_table(("id", "requested", "user", "table", "status", "reason"), rows, optional=("requested",), empty=empty)


@app.command("approve")
def approve(request: Id, group: Group = None, answer: Answer = None, json: Json = False) -> None:
    """Approve a request and grant the access.

    Examples:
      da admin requests approve 01JQ8Z
      da admin requests approve 01JQ8Z --group sales
    """
    body = {name: value for name, value in (("group", group), ("answer", answer)) if value}
    with doing(f"approve the request '{request}'", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/approve", body)
    whom = f"The group {group}" if group else done["user"]
    respond(done, f"{whom} can now read {done['table']}; the next da sync fetches it.", json=json)


@app.command("deny")
def deny(request: Id, answer: Answer = None, json: Json = False) -> None:
    """Deny a request.

    Examples:
      da admin requests deny 01JQ8Z --answer "use shop.orders_public"
    """
    with doing(f"deny the request '{request}'", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/deny", {"answer": answer} if answer else {})
    respond(done, f"Denied the request of {done['user']} for {done['table']}.", json=json)
