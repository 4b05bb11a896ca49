"""`da admin tokens`: the access tokens of all users."""

from typing import Annotated

import typer

from da.admin_errors import WHO, doing
from da.commands.auth_tokens import COLUMNS, Days, Scopes, row_of, say_note
from da.output import print_json, print_table, say
from da.server import segment

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Manage access tokens of all users."
)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the token, such as the machine or agent that uses it.")
]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="EMAIL", help="Only tokens of this user.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from da admin tokens list.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_tokens(user: User = None, json: Json = False) -> None:
    """List the tokens of all users, or of one user."""
    with doing("list the tokens", missing=WHO) as server:
        tokens = server.get("/auth/tokens", user=user or "all")["tokens"]
    if json:
        print_json(tokens)
        return
    print_table(("user", *COLUMNS), [(token["email"], *row_of(token)) for token in tokens])


@app.command("create")
def create(email: Email, name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Create a token for a user. The token is shown only once.

    Default scopes: read, query and sync.
    """
    wanted = {"name": name, "user": email, "expires_in_days": days, **({"scopes": scope} if scope else {})}
    with doing(f"create a token for '{email}'", missing=WHO) as server:
        made = server.post("/auth/tokens", wanted)
    if json:
        print_json(made)
        return
    say(
        f"New token ({', '.join(made['scopes'])}; expires {made['expires_at'][:10]}). It is not shown again:\n\n  {made['token']}\n"
    )
    say_note(made)


@app.command("revoke")
def revoke(token: Id, json: Json = False) -> None:
    """Revoke a token immediately."""
    with doing(f"revoke the token '{token}'", missing="to see all tokens, run: da admin tokens list") as server:
        server.delete(f"/auth/tokens/{segment(token)}")
    print_json({"id": token}) if json else say("Revoked the token.")
