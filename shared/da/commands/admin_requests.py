"""`da admin requests`: what people ask to read."""

from typing import Annotated

import typer

from da.admin_errors import doing
from da.output import print_json, print_table, say
from da.server import segment

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Requests: what people ask to read."
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The request's id, as da admin requests list shows it.")]
Answer = Annotated[str | None, typer.Option("--answer", "-m", help="What to tell the one who asked.")]
Group = Annotated[str | None, typer.Option("--group", "-g", help="Grant it to this group of theirs instead.")]
All = Annotated[bool, typer.Option("--all", "-a", help="Also those that were answered.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_MISSING = "da admin requests list --all shows which there are"


@app.command("list")
def list_requests(everything: All = False, json: Json = False) -> None:
    """List the requests that wait for an answer."""
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
    print_table(("id", "asked", "who", "table", "state", "reason"), rows)


@app.command("approve")
def approve(request: Id, group: Group = None, answer: Answer = None, json: Json = False) -> None:
    """Grant what was asked for."""
    said = {name: value for name, value in (("group", group), ("answer", answer)) if value}
    with doing("approve the request", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/approve", said)
    whom = f"The group {group}" if group else done["user"]
    print_json(done) if json else say(f"{whom} may read {done['table']}; it comes with the next da sync.")


@app.command("deny")
def deny(request: Id, answer: Answer = None, json: Json = False) -> None:
    """Say no to a request."""
    with doing("deny the request", missing=_MISSING) as server:
        done = server.post(f"/api/admin/access-requests/{segment(request)}/deny", {"answer": answer} if answer else {})
    print_json(done) if json else say(f"Denied: {done['user']} on {done['table']}.")
