"""`da admin tokens`: access tokens of everybody."""

from typing import Annotated

import typer

from da.admin_errors import WHO, doing
from da.commands.auth_tokens import COLUMNS, Days, Scopes, row_of, say_note
from da.output import print_json, print_table, say
from da.server import segment

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Access tokens of everybody.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Whom it is for.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as the machine or agent that has it.")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="EMAIL", help="Only those of this user.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id, as da admin tokens list shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_tokens(user: User = None, json: Json = False) -> None:
    """List the tokens of all users, or of one."""
    with doing("list the tokens", missing=WHO) as server:
        tokens = server.get("/auth/tokens", user=user or "all")["tokens"]
    if json:
        print_json(tokens)
        return
    print_table(("user", *COLUMNS), [(token["email"], *row_of(token)) for token in tokens])


@app.command("create")
def create(email: Email, name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Make a token for a user; it is shown only this once.

    Without --scope it may read, query and sync.
    """
    wanted = {"name": name, "user": email, "expires_in_days": days, **({"scopes": scope} if scope else {})}
    with doing(f"make a token for {email}", missing=WHO) as server:
        made = server.post("/auth/tokens", wanted)
    if json:
        print_json(made)
        return
    say(f"Shown only now; it may {', '.join(made['scopes'])} until {made['expires_at'][:10]}:\n\n  {made['token']}\n")
    say_note(made)


@app.command("revoke")
def revoke(token: Id, json: Json = False) -> None:
    """Revoke a token; it is not valid any more from now on."""
    with doing("revoke the token", missing="da admin tokens list shows which there are") as server:
        server.delete(f"/auth/tokens/{segment(token)}")
    print_json({"id": token}) if json else say("Revoked.")
