"""`da admin requests`: access requests and their answers."""

from typing import Annotated

import typer

from da.admin_errors import doing
from da.output import print_json, print_table, say
from da.server import segment

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Answer access requests.")

Id = Annotated[str, typer.Argument(metavar="ID", help="ID of the request, from da admin requests list.")]
Answer = Annotated[str | None, typer.Option("--answer", "-m", help="Message to the requester.")]
Group = Annotated[
    str | None,
    typer.Option("--group", "-g", help="Grant access to this group of the requester, not to the requester alone."),
]
All = Annotated[bool, typer.Option("--all", "-a", help="Include answered requests.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_MISSING = "to see all requests, run: da admin requests list --all"


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
    print_json(done) if json else say(f"{whom} can now read {done['table']}; the next da sync fetches it.")


@app.command("deny")
def deny(request: Id, answer: Answer = None, json: Json = False) -> None:
    """Deny a request."""
    with doing(f"deny the request '{request}'", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/deny", {"answer": answer} if answer else {})
    print_json(done) if json else say(f"Denied the request of {done['user']} for {done['table']}.")
