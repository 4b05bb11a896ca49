"""`da auth tokens`: access tokens for programs that act for you."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from da.output import print_json, print_table, say
from da.server import segment
from da.session import session

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Manage your access tokens.")


class Scope(StrEnum):
    """What a token may be used for."""

    READ = "read"
    QUERY = "query"
    SYNC = "sync"
    ADMIN = "admin"


COLUMNS = ("token", "name", "scopes", "expires", "last used", "state", "id")
"""Columns of a list of tokens."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the token, such as the machine or agent that uses it.")
]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="Scope of the token. Repeatable.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")]


@app.command("list")
def list_tokens(json: Json = False) -> None:
    """List your tokens with their scopes, expiry and last use."""
    with session() as server:
        tokens = server.get("/auth/tokens")["tokens"]
    if json:
        print_json(tokens)
        return
    print_table(COLUMNS, [row_of(token) for token in tokens])


@app.command()
def create(name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Create a token. The token is shown only once.

    Default scopes: read, query and sync. Administration needs --scope admin. Creating a token with an access token needs
    a token with the scope admin, and the new token expires no later than that one.
    """
    wanted = {"name": name, "expires_in_days": days, **({"scopes": scope} if scope else {})}
    with session() as server:
        made = server.post("/auth/tokens", wanted)
    if json:
        print_json(made)
        return
    say(
        f"New token ({', '.join(made['scopes'])}; expires {made['expires_at'][:10]}). It is not shown again:\n\n  {made['token']}\n"
    )
    say_note(made)
    say("Set it as DA_TOKEN for programs, or log in with: da login --token TOKEN")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from da auth tokens list.")],
) -> None:
    """Revoke a token immediately."""
    with session() as server:
        server.delete(f"/auth/tokens/{segment(token)}")
    say("Revoked the token.")


def say_note(made: dict[str, Any]) -> None:
    """Say why a token expires earlier than was asked for."""
    if made.get("note"):
        say(f"Note: {made['note']}.\n")


def row_of(token: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of a token in a list."""
    return (
        token["prefix"] + "…",
        token["name"],
        ", ".join(token.get("scopes", ())),
        token["expires_at"][:10],
        token.get("last_used_on") or "never",
        "revoked" if token["revoked_at"] else "",
        token["id"],
    )
