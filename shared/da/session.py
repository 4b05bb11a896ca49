"""A conversation with the server that the user is logged in at."""

from collections.abc import Iterator
from contextlib import contextmanager

from da.config import Config
from da.server import Server
from da.web import Web


@contextmanager
def session() -> Iterator[Server]:
    """Open it; raises `DaError` when nobody is logged in."""
    login = Config.read().login()
    with Web() as web:
        yield Server(login, web)
