"""`da auth`: prove to a server who you are."""

import os
import sys
from typing import Annotated, Any

import typer

from da.config import Config, Login, is_loopback, server_address
from da.errors import DaError, UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Log in and out.")

ServerUrl = Annotated[str | None, typer.Option("--server", metavar="URL", help="The server; else the one used last.")]
Token = Annotated[str | None, typer.Option("--token", help="The token; else DA_TOKEN, stdin or a prompt gives it.")]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="EMAIL", help="Make the first administrator; needs the BOOTSTRAP_SECRET."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def login(server: ServerUrl = None, token: Token = None, bootstrap: Bootstrap = None) -> None:
    """Log in with a token.

    It is kept in a file that only you may read, for the commands that follow.
    """
    from da.server import Server
    from da.web import Web

    config = Config.read()
    address = server_address(server) if server else config.server
    if address is None:
        raise UsageError("Say where the server is: da login --server URL")
    with Web() as web:
        if bootstrap:
            token = _bootstrap(Server(Login(address, ""), web), bootstrap)
        else:
            token = token or os.environ.get("DA_TOKEN") or _ask(f"Token for {address}")
        me = Server(Login(address, token.strip()), web).get("/api/me")
    config.save(Login(address, token.strip(), me.get("email")))
    print(f"Logged in at {address} as {_who(me)}.")
    if address.startswith("http:") and not is_loopback(address):
        print("Beware: over http:// your token and data can be read on the way; use https://.", file=sys.stderr)


@app.command()
def logout() -> None:
    """Forget the token.

    It keeps working elsewhere until it expires or is revoked.
    """
    print("Logged out." if Config.read().forget() else "You were not logged in.")


@app.command()
def whoami(json: Json = False) -> None:
    """Ask the server who it takes you for."""
    from da.session import session

    with session() as server:
        me = server.get("/api/me")
        if json:
            from da.output import print_json

            print_json({"server": server.address, **me})
            return
        print(f"{_who(me)} at {server.address}")
        if me.get("groups"):
            print(f"Groups: {', '.join(me['groups'])}")
        if (me.get("token") or {}).get("expires_at"):
            print(f"The token {me['token'].get('name', '')} ends on {me['token']['expires_at'][:10]}.")


def _bootstrap(server: Any, email: str) -> str:
    secret = os.environ.get("BOOTSTRAP_SECRET") or _ask("Bootstrap secret")
    answer = server.post("/auth/bootstrap", {"email": email, "secret": secret})
    return str(answer["token"])


def _ask(what: str) -> str:
    """Ask without showing what is typed; without a terminal, take the first line of stdin."""
    answer = typer.prompt(what, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not answer.strip():
        raise DaError(f"{what}: nothing came; give --token, DA_TOKEN or a line on stdin")
    return str(answer).strip()


def _who(me: dict[str, Any]) -> str:
    name = me.get("email") or me.get("name") or ("a service" if me.get("service") else "somebody")
    return f"{name} ({me.get('role', 'no role')})"
