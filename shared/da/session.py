"""A conversation with the server that the user is logged in at."""

from collections.abc import Iterator
from contextlib import contextmanager

from da.config import Config
from da.errors import DaError
from da.server import Server
from da.signing_in import fresh
from da.web import Web


@contextmanager
def session() -> Iterator[Server]:
    """Open it.

    Raises:
        DaError: nobody is logged in, or an answer lacks what the block takes from it.
    """
    config = Config.read()
    login = config.login()
    with Web() as web:
        try:
            yield Server(fresh(config, login, web), web)
        except KeyError as error:
            raise DaError(f"{login.server} answered without {error}; da and the server are of different age") from None
