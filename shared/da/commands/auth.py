"""`da auth`: prove to a server who you are."""

import os
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from da.commands.auth_tokens import app as tokens_app
from da.config import Config, Login, is_loopback, server_address
from da.errors import DaError, UsageError
from da.output import say

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Log in and out.")
app.add_typer(tokens_app, name="tokens")

ServerUrl = Annotated[str | None, typer.Option("--server", metavar="URL", help="The server; else the one used last.")]
Token = Annotated[str | None, typer.Option("--token", help="The token; else DA_TOKEN, stdin or a prompt gives it.")]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="EMAIL", help="Make the first administrator; needs the BOOTSTRAP_SECRET."),
]
Browser = Annotated[
    bool | None,
    typer.Option("--browser/--no-browser", help="Open a browser here; or paste a code that one elsewhere shows."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def login(server: ServerUrl = None, token: Token = None, bootstrap: Bootstrap = None, browser: Browser = None) -> None:
    """Log in through a browser, or with a token.

    What comes of it is kept in a file that only you may read, for the commands that follow.
    """
    from da.browser_login import sign_in
    from da.server import Server
    from da.web import Web

    config = Config.read()
    address = server_address(server) if server else config.server
    if address is None:
        raise UsageError("Say where the server is: da login --server URL")
    with Web() as web:
        if bootstrap:
            made = Login(address, _bootstrap(Server(Login(address, ""), web), bootstrap))
        elif browser is not None or _is_to_browse(token):
            made = sign_in(address, web, in_browser=browser is not False)
        else:
            made = Login(address, (token or os.environ.get("DA_TOKEN") or _ask(f"Token for {address}")).strip())
        me = Server(made, web).get("/api/me")
    config.save(replace(made, email=me.get("email")))
    say(f"Logged in at {address} as {_who(me)}.")
    if address.startswith("http:") and not is_loopback(address):
        say("Beware: over http:// your token and data can be read on the way; use https://.", err=True)


@app.command()
def logout() -> None:
    """End the session, or forget the token.

    An access token keeps working elsewhere until it expires or is revoked.
    """
    config = Config.read()
    _end_session(config)
    say("Logged out." if config.forget() else "You were not logged in.")


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
        say(f"{_who(me)} at {server.address}")
        if me.get("groups"):
            say(f"Groups: {', '.join(me['groups'])}")
        if (me.get("token") or {}).get("expires_at"):
            say(f"The token {me['token'].get('name', '')} ends on {me['token']['expires_at'][:10]}.")


def _is_to_browse(token: str | None) -> bool:
    """Tell whether somebody sits here who gave no token."""
    return token is None and not os.environ.get("DA_TOKEN") and sys.stdin.isatty()


def _end_session(config: Config) -> None:
    """Tell the server that a session ends; that it does not answer keeps nobody logged in here."""
    from da.session import server_of
    from da.web import Web

    try:
        login = config.login()
        if login.refresh_token is not None:
            with Web() as web:
                server_of(config, login, web).have_done("/auth/logout")
    except DaError as error:
        say(f"The server was not told: {error}", err=True)


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
