"""The gunicorn worker that the functions framework starts; slow connections occupy no thread."""

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from gunicorn.workers.base import Worker as GunicornWorker
from waitress.wasyncore import file_dispatcher

from analyst.addresses import path_of, without_prefix
from analyst.errors import AnalystError
from analyst.http.function import process, routes_of
from analyst.http.server.connections import Loop, Server, Threads
from analyst.http.spec import BODY_LIMIT
from analyst.logs import to_stdout

_THREADS: Final = 32
_MOST_CONNECTIONS: Final = 4096
_FEWEST_CONNECTIONS: Final = 64
_FILES_EACH: Final = 3
_SPARE_FILES: Final = 256
_TURN: Final = 1.0
_LAST_TURNS: Final = 0.1


class _Signals(file_dispatcher):  # type: ignore[misc]  # waitress has no types
    """Wakes the loop when a signal arrives."""

    def __init__(self, number: int, loop: Loop) -> None:
        super().__init__(number, map=loop)

    def writable(self) -> bool:
        """Return False: nothing is ever written."""
        return False

    def handle_read(self) -> None:
        """Discard the signal: the worker has handled it."""
        with suppress(OSError):
            self.recv(512)


class Worker(GunicornWorker):  # type: ignore[misc]  # gunicorn has no types
    """Runs functions in threads, and everything else in one loop."""

    def run(self) -> None:
        """Serve until told to stop, and then until running requests are answered."""
        to_stdout()
        process().host_pid = self.ppid
        threads = Threads(int(os.environ.get("THREADS") or _THREADS))
        loop = Loop()
        _Signals(self.PIPE[0], loop)
        limit = _body_limit(self.wsgi)
        room = _room()
        servers = [
            Server(self.wsgi, listener.sock, loop, threads, limit, connections=room) for listener in self.sockets
        ]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            loop.turn(_TURN)
        process().stopping.set()
        for server in servers:
            server.stop()
        ends = time.monotonic() + self.cfg.graceful_timeout * 2 / 3  # afterwards we are killed
        while any(server.active_channels for server in servers) and time.monotonic() < ends:
            self.notify()
            for server in servers:
                server.look_after()
            loop.turn(_LAST_TURNS)
        threads.shutdown(max(0.0, ends - time.monotonic()))
        if not process().background.drain(max(0.0, ends - time.monotonic())):
            # Their tasks stay in the ledger. An interpreter that shuts down starts no threads, so they would fail otherwise.
            with suppress(AnalystError):
                process().close()
            os._exit(0)


def _room() -> int:
    """Return how many connections a process may hold: each may need files for buffers in both directions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(_unlimited(hard), _FILES_EACH * _MOST_CONNECTIONS + _SPARE_FILES)
    if _unlimited(soft) < most:
        with suppress(OSError, ValueError):  # continue with the present limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    files = min(most, _unlimited(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return max(_FEWEST_CONNECTIONS, (files - _SPARE_FILES) // _FILES_EACH)


def _unlimited(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _body_limit(application: Any) -> Callable[[str, str], int]:
    """Return the function that looks up the body limits of an application."""
    routes = routes_of(application)

    def limit(method: str, path: str) -> int:
        if routes is None:
            return BODY_LIMIT
        try:
            prefix = path_of(process().settings.base_url)
            if prefix and not routes.has(path):
                path = without_prefix(prefix, path)
            return routes.match(method, path)[0].body_limit
        except AnalystError:
            return BODY_LIMIT

    return limit
