"""Hosts of the functions on loopback, on whatever store they are given."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import ClosingIterator

from analyst.context import Process
from analyst.http import app
from analyst.http.application import WSGIApp, discover
from analyst.store import Store
from tests.doubles.loopback import listening
from tests.processes import BOOTSTRAP_SECRET

FUNCTIONS = discover(["functions.api", "functions.auth"])
ENVIRON = {"DATA_DIR": "/nowhere", "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET, "ACCESS_MAX_AGE": "0"}
"""The store is given; and who may do what is looked up for every request."""


@dataclass
class Clock:
    """Seconds that pass only while somebody sleeps."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


def _whole(application: WSGIApp) -> WSGIApp:
    """Read each answer whole before it is sent: this server closes no file that it has begun to send to who is gone."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        with closing(ClosingIterator(application(environ, start_response))) as parts:
            return [b"".join(parts)]

    return answer


@contextmanager
def hosting(store: Store, port: int, monotonic: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Serve a bucket at a port of loopback, from a process that has only begun."""
    process = Process(ENVIRON, store=store, monotonic=monotonic)
    server = make_server("127.0.0.1", port, _whole(app(process, FUNCTIONS)), threaded=True, request_handler=_Quiet)
    with listening(server):
        yield
    process.last_uses.write()  # now, instead of seconds later, when the bucket may have been set back
