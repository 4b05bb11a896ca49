"""Sessions with the server that the user is logged in to, and the messages when an action in one fails."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from da.config import Config, Login
from da.errors import DaError, RefusedError
from da.server import Backoff, Server
from da.web import TIMEOUT, Web

_EARLY: Final = 60.0
"""Seconds before its expiry at which a token is renewed."""

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404

WHO: Final = "to see all users, run: da admin users list"
WHAT: Final = "to see users, groups and tables, run: da admin users list, da admin groups list, da admin tables list"


@contextmanager
def session(timeout: float = TIMEOUT) -> Iterator[Server]:
    """Open a session; `timeout` is the seconds to wait for an answer.

    Raises:
        DaError: the user is not logged in, or an answer does not have a key that the block reads.
    """
    config = Config.read()
    login = config.login()
    with Web(timeout=timeout) as web, complete_answers(login.server):
        yield server_of(config, login, web)


@contextmanager
def complete_answers(address: str) -> Iterator[None]:
    """Report a key that the block misses in an answer of the server.

    Raises:
        DaError: an answer does not have a key.
    """
    try:
        yield
    except KeyError as error:
        raise DaError(
            f"the answer of '{address}' has no {error}: da and the server have different versions; run: da diagnose"
        ) from None


def server_of(config: Config, login: Login, web: Web, backoff: Backoff | None = None) -> Server:
    """Return the server for a login that is renewed and saved when needed."""
    return Server(login, web, backoff, renew=lambda current: _fresh(config, current, web))


def _fresh(config: Config, login: Login, web: Web) -> Login:
    """Return a login with a valid token, renewing and saving it if needed.

    Raises:
        DaError: the session has expired.
    """
    if login.refresh_token is None or login.expires_at is None or time.time() < login.expires_at - _EARLY:
        return login
    try:
        server = Server(Login(login.server, ""), web)
        answer = server.post("/auth/desktop/refresh", {"refresh_token": login.refresh_token}, again=True)
    except RefusedError as error:
        if error.status != _UNAUTHORIZED:
            raise
        raise DaError(f"your session at '{login.server}' has expired; run: da login") from None
    renewed = login_of(login.server, answer, login.email)
    config.save(renewed)
    return renewed


def login_of(address: str, answer: Mapping[str, Any], email: str | None = None) -> Login:
    """Build a login from the server's tokens."""
    expires_at = time.time() + float(answer["expires_in"])
    return Login(address, str(answer["token"]), email, str(answer["refresh_token"]), expires_at)


@contextmanager
def doing(what: str, *, missing: str = "") -> Iterator[Server]:
    """Open a session for an action such as `remove the group 'sales'`; `missing` is the advice for a 404.

    Raises:
        DaError: the action failed.
    """
    try:
        with session() as server:
            yield server
    except RefusedError as error:
        advice = {_FORBIDDEN: _about_rights(error), _NOT_FOUND: missing}.get(error.status)
        message = advised(f"can't {what}: {error}", advice or "")
        raise RefusedError(message, status=error.status, code=error.code, wait=error.wait) from None


def advised(message: str, advice: str) -> str:
    """Add advice to a message, unless it has some: a question, such as `did you mean …?`, or a command."""
    return message if not advice or message.endswith("?") or "run: da" in message else f"{message}; {advice}"


def _about_rights(error: RefusedError) -> str:
    if "scope" in str(error):
        return "to create a token with this scope, an administrator runs: da auth tokens create NAME --scope admin"
    return "to see your role, run: da auth whoami; an administrator can change it"
