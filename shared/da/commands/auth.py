"""`da auth`: log in to a server and out."""

import os
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from da.commands.tokens import app as tokens_app
from da.config import Config, Login, is_loopback, server_address
from da.errors import DaError, UsageError
from da.help import Commands
from da.options import Json
from da.output import respond, say, say_warning
from da.text import local_day

app = Commands("Show who you are logged in as, and manage your access tokens.")
app.add_typer(tokens_app, name="tokens")

ServerUrl = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="URL of the server; defaults to the last one used.")
]
Token = Annotated[
    str | None, typer.Option("--token", help="Access token; otherwise read from DA_TOKEN, stdin or a prompt.")
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="EMAIL", help="Create the first administrator; needs BOOTSTRAP_SECRET."),
]
Browser = Annotated[
    bool | None,
    typer.Option(
        "--browser/--no-browser", help="Sign in with a browser on this machine, or paste a code from another."
    ),
]


@app.command(hidden=True)  # the same as da login
def login(
    server: ServerUrl = None,
    token: Token = None,
    bootstrap: Bootstrap = None,
    browser: Browser = None,
    json: Json = False,
) -> None:
    """Log in through a browser, or with a token.

    The credentials are saved in a file that only you can read, and used by all other commands.

    Examples:
      da login --server https://data.example.com
      da login               # to the last server again
      da login --no-browser  # with a browser on another machine
      DA_TOKEN=… da login --server https://data.example.com
    """
    from da.browser_login import sign_in
    from da.server import Server, health_of
    from da.web import Web

    config = Config.read()
    address = server_address(server) if server else config.server
    if address is None:
        raise UsageError("no server is configured; run: da login --server URL")
    with Web() as web:
        health_of(address, web)
        if bootstrap:
            made = Login(address, _bootstrap(Server(Login(address, ""), web), bootstrap))
        elif browser is not None or _is_to_browse(token):
            made = sign_in(address, web, in_browser=browser is not False)
        else:
            made = Login(
                address,
                (
                    token or os.environ.get("DA_TOKEN") or _ask(f"Token for {address}", "give --token, set DA_TOKEN")
                ).strip(),
            )
        me = Server(made, web).get("/api/me")
    config.save(replace(made, email=me.get("email")))
    document = {"server": address, "email": me.get("email"), "role": me.get("role")}
    respond(document, f"Logged in to {address} as {_who(me)}.", json=json)
    if bootstrap and not json:
        say(f"To sign in to the pages as well, set a password: da admin users invite {me.get('email')}")
    if address.startswith("http:") and not is_loopback(address):
        say_warning("over http:// your token and data are not encrypted; use https://.")


@app.command(hidden=True)  # the same as da logout
def logout(json: Json = False) -> None:
    """Log out: end the session and delete the saved credentials.

    An access token stays valid elsewhere until it expires or is revoked.

    Examples:
      da logout
    """
    config = Config.read()
    _end_session(config)
    was_logged_in = config.forget()
    text = "Logged out." if was_logged_in else "You were not logged in."
    if variable := next((name for name in ("DA_TOKEN_FILE", "DA_TOKEN") if os.environ.get(name)), None):
        text = f"{text} {variable} is still set, and da uses the token in it."
    respond({"was_logged_in": was_logged_in}, text, json=json)


@app.command()
def whoami(json: Json = False) -> None:
    """Show the user you are logged in as.

    Examples:
      da auth whoami
    """
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
            say(f"Token {me['token'].get('name', '')} expires on {local_day(me['token']['expires_at'])}.")


def _is_to_browse(token: str | None) -> bool:
    """Return whether to sign in with a browser: stdin is a terminal and no token is given."""
    return token is None and not os.environ.get("DA_TOKEN") and sys.stdin.isatty()


def _end_session(config: Config) -> None:
    """End the session on the server; if that fails, print why and carry on."""
    from da.session import server_of
    from da.web import Web

    try:
        login = config.saved()
        if login is not None and login.refresh_token is not None:
            with Web() as web:
                server_of(config, login, web).have_done("/auth/logout")
    except DaError as error:
        say(f"can't end the session on the server: {error}", err=True)


def _bootstrap(server: Any, email: str) -> str:
    secret = os.environ.get("BOOTSTRAP_SECRET") or _ask(
        "Bootstrap secret", "set BOOTSTRAP_SECRET, which is in .env in the folder of the server"
    )
    answer = server.post("/auth/bootstrap", {"email": email, "secret": secret})
    return str(answer["token"])


def _ask(what: str, otherwise: str) -> str:
    """Prompt without echo; without a terminal, read the first line of stdin."""
    answer = typer.prompt(what, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not answer.strip():
        raise DaError(f"{what}: no input; {otherwise}, or write it to stdin")
    return str(answer).strip()


def _who(me: dict[str, Any]) -> str:
    name = me.get("email") or me.get("name") or ("a service" if me.get("service") else "unknown user")
    return f"{name} ({me.get('role', 'no role')})"
