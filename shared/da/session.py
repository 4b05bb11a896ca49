"""Sessions with the server that the user is logged in to."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from da.config import Config, Login
from da.errors import DaError, RefusedError
from da.patience import Patience
from da.server import Server
from da.web import TIMEOUT, Web

_EARLY: Final = 60.0
"""Seconds before its expiry at which a token is renewed."""

_UNAUTHORIZED: Final = 401


@contextmanager
def session(timeout: float = TIMEOUT) -> Iterator[Server]:
    """Open a session; `timeout` is the seconds to wait for an answer.

    Raises:
        DaError: the user is not logged in, or an answer lacks a key that the block reads.
    """
    config = Config.read()
    login = config.login()
    with Web(timeout=timeout) as web:
        try:
            yield server_of(config, login, web)
        except KeyError as error:
            raise DaError(
                f"the answer of '{login.server}' has no {error}: da and the server have different versions; run: da diagnose"
            ) from None


def server_of(config: Config, login: Login, web: Web, patience: Patience | None = None) -> Server:
    """Return the server for a login that is renewed and saved when needed."""
    return Server(login, web, patience, renew=lambda current: _fresh(config, current, web))


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
