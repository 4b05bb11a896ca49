"""`da auth tokens`: access tokens for programs that act for you."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from da.output import print_json, print_table, say
from da.server import segment
from da.session import session

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Your access tokens.")


class Scope(StrEnum):
    """What a token may be used for."""

    READ = "read"
    QUERY = "query"
    SYNC = "sync"
    ADMIN = "admin"


COLUMNS = ("token", "name", "scopes", "expires", "last used", "state", "id")
"""What is listed of a token."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as the machine or agent that has it.")]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="What it may be used for; give it again for each.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")]


@app.command("list")
def list_tokens(json: Json = False) -> None:
    """List your tokens: what they are for, what they may, and when they were used last."""
    with session() as server:
        tokens = server.get("/auth/tokens")["tokens"]
    if json:
        print_json(tokens)
        return
    print_table(COLUMNS, [row_of(token) for token in tokens])


@app.command()
def create(name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Make a token; it is shown only this once.

    Without --scope it may read, query and sync; to administrate it needs --scope admin. Making one with an access token
    needs a token with the scope admin, and the new one expires no later than that one.
    """
    wanted = {"name": name, "expires_in_days": days, **({"scopes": scope} if scope else {})}
    with session() as server:
        made = server.post("/auth/tokens", wanted)
    if json:
        print_json(made)
        return
    say(f"Shown only now; it may {', '.join(made['scopes'])} until {made['expires_at'][:10]}:\n\n  {made['token']}\n")
    say_note(made)
    say("Programs give it as DA_TOKEN; da takes it with: da login --token TOKEN")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The id, as da auth tokens list shows it.")],
) -> None:
    """Revoke a token; it is not valid any more from now on."""
    with session() as server:
        server.delete(f"/auth/tokens/{segment(token)}")
    say("Revoked.")


def say_note(made: dict[str, Any]) -> None:
    """Say why a token expires earlier than was asked for."""
    if made.get("note"):
        say(f"Note: {made['note']}.\n")


def row_of(token: dict[str, Any]) -> tuple[str, ...]:
    """Give the row of a token in a list."""
    return (
        token["prefix"] + "…",
        token["name"],
        ", ".join(token.get("scopes", ())),
        token["expires_at"][:10],
        token.get("last_used_on") or "never",
        "revoked" if token["revoked_at"] else "",
        token["id"],
    )
