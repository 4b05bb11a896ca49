"""HTTP servers on loopback, in threads of the process that tests run in."""

import select
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the resolver for the name of this host."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of the double; a client that goes away is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests by a handler until the block ends; yield the address of the server."""
    with listening(_Server(("127.0.0.1", 0), handler)) as address:
        yield address


@contextmanager
def listening(server: HTTPServer) -> Iterator[str]:
    """Run a server until the block ends, and then hang up on all clients; yield its address.

    Unlike `serve_forever`, this takes no processor time while nothing happens, and ends at once. The block must not close the
    server: `poll` would keep its socket open, and clients that connect to it would wait for ever; see `nobody`.
    """
    stop, stopped = socket.socketpair()
    connections = set[Any]()
    process_request, shutdown_request = server.process_request, server.shutdown_request

    def opened(request: Any, client_address: Any) -> None:
        connections.add(request)
        process_request(request, client_address)

    def closed(request: Any) -> None:
        connections.discard(request)
        shutdown_request(request)

    server.process_request = opened  # type: ignore[method-assign]
    server.shutdown_request = closed  # type: ignore[method-assign]
    server.socket.listen(128)  # by default, 5 may wait, and more would try again a second later
    thread = threading.Thread(target=_accept, args=(server, stopped), daemon=True)
    thread.start()
    try:
        host, port, *_ = server.server_address
        yield f"http://{host!s}:{port}"
    finally:
        stop.close()
        thread.join()
        server.server_close()
        stopped.close()
        for each in list(connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address at which nobody answers, and which nobody else is given until the block ends."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def _accept(server: HTTPServer, stopped: socket.socket) -> None:
    waiting = select.poll()
    waiting.register(server.fileno(), select.POLLIN)
    waiting.register(stopped.fileno(), select.POLLIN)
    while all(number != stopped.fileno() for number, _ in waiting.poll()):
        server._handle_request_noblock()  # type: ignore[attr-defined]
