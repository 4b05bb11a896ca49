"""`da auth tokens` and `da admin tokens`: access tokens for programs, your own and those of all users."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from da.help import Commands
from da.options import Email, Json
from da.output import print_json, print_table, respond, say, say_text
from da.server import segment
from da.session import WHO, doing
from da.text import local_day

app = Commands("Manage your access tokens.")
admin_app = Commands("Manage access tokens of all users.")


class Scope(StrEnum):
    """What a token may be used for."""

    READ = "read"
    QUERY = "query"
    SYNC = "sync"
    ADMIN = "admin"


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the token, such as the machine or agent that uses it.")
]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="Scope of the token. Repeatable.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="EMAIL", help="Only tokens of this user.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from da auth tokens list.")]
AnyId = Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from da admin tokens list.")]

_OPTIONAL = ("last used", "token", "scopes")
_COLUMNS = ("token", "name", "scopes", "expires", "last used", "state", "id")
_NONE_OWN = "You have no access tokens; to create one, run: da auth tokens create NAME"
_NONE = "There are no access tokens; to create one for a user, run: da admin tokens create EMAIL NAME"


@app.command("list")
def list_own(json: Json = False) -> None:
    """List your tokens with their scopes, expiry and last use.

    Examples:
      da auth tokens list
    """
    with doing("list your tokens") as server:
        tokens = server.get("/auth/tokens")["tokens"]
    if json:
        print_json(tokens)
        return
    print_table(_COLUMNS, [_row(token) for token in tokens], optional=_OPTIONAL, empty=_NONE_OWN)


@admin_app.command("list")
def list_all(user: User = None, json: Json = False) -> None:
    """List the tokens of all users, or of one user.

    Examples:
      da admin tokens list
      da admin tokens list --user ann@example.com
    """
    with doing("list the tokens", missing=WHO) as server:
        tokens = server.get("/auth/tokens", user=user or "all")["tokens"]
    if json:
        print_json(tokens)
        return
    rows = [(token["email"], *_row(token)) for token in tokens]
    print_table(("user", *_COLUMNS), rows, optional=_OPTIONAL, empty=_NONE)


@app.command("create")
def create_own(name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Create a token. The token is shown only once.

    Default scopes: read, query and sync. Administration needs --scope admin. Creating a token with an access token needs
    a token with the scope admin, and the new token expires no later than that one.

    Examples:
      da auth tokens create laptop
      da auth tokens create nightly --scope read --scope sync --days 365
    """
    made = _created(f"create the token '{name}'", {"name": name}, scope, days)
    if json:
        print_json(made)
        return
    _print_created(made)
    say("Set it as DA_TOKEN for programs, or log in with: da login --token TOKEN")


@admin_app.command("create")
def create(email: Email, name: Name, scope: Scopes = None, days: Days = 90, json: Json = False) -> None:
    """Create a token for a user. The token is shown only once.

    Default scopes: read, query and sync.

    Examples:
      da admin tokens create ann@example.com agent --scope read
    """
    made = _created(f"create a token for '{email}'", {"name": name, "user": email}, scope, days)
    if json:
        print_json(made)
        return
    _print_created(made)


@app.command("revoke")
def revoke_own(token: Id, json: Json = False) -> None:
    """Revoke a token immediately.

    Examples:
      da auth tokens revoke 01JQ8Z
    """
    _revoke(token, "to see your tokens, run: da auth tokens list", json=json)


@admin_app.command("revoke")
def revoke(token: AnyId, json: Json = False) -> None:
    """Revoke a token immediately.

    Examples:
      da admin tokens revoke 01JQ8Z
    """
    _revoke(token, "to see all tokens, run: da admin tokens list", json=json)


def print_note(made: dict[str, Any]) -> None:
    """Print why a token expires earlier than requested."""
    if made.get("note"):
        say_text(f"Note: {made['note']}.\n")


def _created(what: str, wanted: dict[str, Any], scope: list[Scope] | None, days: int) -> dict[str, Any]:
    scopes = {"scopes": scope} if scope else {}
    with doing(what, missing=WHO) as server:
        return server.post("/auth/tokens", {**wanted, "expires_in_days": days, **scopes})


def _print_created(made: dict[str, Any]) -> None:
    scopes, expires = ", ".join(made["scopes"]), local_day(made["expires_at"])
    say_text(f"New token ({scopes}; expires {expires}). It is not shown again:\n\n  {made['token']}\n")
    print_note(made)


def _revoke(token: str, missing: str, *, json: bool) -> None:
    with doing(f"revoke the token '{token}'", missing=missing) as server:
        server.delete(f"/auth/tokens/{segment(token)}")
    respond({"id": token}, "Revoked the token.", json=json)


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    return (
        token["prefix"] + "…",
        token["name"],
        ", ".join(token.get("scopes", ())),
        local_day(token["expires_at"]),
        token.get("last_used_on") or "never",
        "revoked" if token["revoked_at"] else "",
        token["id"],
    )
