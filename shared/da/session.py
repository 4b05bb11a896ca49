"""A conversation with the server that the user is logged in at."""

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
"""Seconds before a token ends at which the next one is asked for."""

_UNAUTHORIZED: Final = 401


@contextmanager
def session(timeout: float = TIMEOUT) -> Iterator[Server]:
    """Open it; `timeout` is for how many seconds an answer is waited for.

    Raises:
        DaError: nobody is logged in, or an answer lacks what the block takes from it.
    """
    config = Config.read()
    login = config.login()
    with Web(timeout=timeout) as web:
        try:
            yield server_of(config, login, web)
        except KeyError as error:
            raise DaError(f"{login.server} answered without {error}; da and the server are of different age") from None


def server_of(config: Config, login: Login, web: Web, patience: Patience | None = None) -> Server:
    """Give the server of a login that is renewed whenever it has to be, and kept."""
    return Server(login, web, patience, renew=lambda current: _fresh(config, current, web))


def _fresh(config: Config, login: Login, web: Web) -> Login:
    """Give a login whose token is still good for a moment, renewed if it has to be; the new one is kept.

    Raises:
        DaError: the session has ended: it is time to sign in again.
    """
    if login.refresh_token is None or login.expires_at is None or time.time() < login.expires_at - _EARLY:
        return login
    try:
        server = Server(Login(login.server, ""), web)
        answer = server.post("/auth/desktop/refresh", {"refresh_token": login.refresh_token}, again=True)
    except RefusedError as error:
        if error.status != _UNAUTHORIZED:
            raise
        raise DaError(f"Your session at {login.server} has ended; log in with: da login") from None
    renewed = login_of(login.server, answer, login.email)
    config.save(renewed)
    return renewed


def login_of(address: str, answer: Mapping[str, Any], email: str | None = None) -> Login:
    """Give the login that the server's tokens make."""
    expires_at = time.time() + float(answer["expires_in"])
    return Login(address, str(answer["token"]), email, str(answer["refresh_token"]), expires_at)
