"""HTTP connections that need no thread while a client is slow.

One loop reads whole requests and writes whole responses; a thread is used only while a function runs. So slow or silent
clients cost a file descriptor and a buffer, for a limited time. Waitress parses, buffers and runs threads; the deadlines,
the limits, the loop and the responses to invalid requests are ours.
"""

import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Protocol

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from analyst.errors import AnalystError, UnavailableError
from analyst.http.problems import (
    MalformedError,
    TimedOutError,
)
from analyst.http.server.messages import HEADER_BYTES, IN_MEMORY, BodyLimit, Parser, Refusal, Work

log = logging.getLogger(__name__)

_MOST_WAITING: Final = 512
"""Requests that may wait for a thread; further ones are refused with a Retry-After."""
_MOST_BUFFERED: Final = 1 << 30
"""The total size in bytes of bodies in this process and its temporary files."""
_SENT_TOGETHER: Final = 1 << 16
_A_TURN: Final = 1 << 20
"""Bytes that are sent to one client before the next one's turn."""
_PIECE: Final = 1 << 17
_MOST_DISCARDED: Final = 8 << 20
_ACCEPTED_AT_ONCE: Final = 64
_PART_EVICTED: Final = 64


class Application(Protocol):
    """The application that answers requests (WSGI)."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The deadlines of a client in seconds; `rate` is in bytes a second.

    A client that sends a body or reads a response must sustain `rate`, averaged over each `grace`.
    """

    header: float = 15.0
    idle: float = 75.0
    grace: float = 30.0
    rate: float = 1024.0
    lingering: float = 5.0
    stopping: float = 3.0


@dataclass(frozen=True, slots=True)
class _Pace:
    """The number of bytes transferred at a time."""

    since: float
    size: int


class Connection(HTTPChannel):  # type: ignore[misc]
    """One client. Requests are handled one at a time: the next after the response to the last one is sent."""

    task_class = Work
    error_task_class = Refusal

    def __init__(self, server: "Server", sock: socket.socket, addr: Any, adj: Adjustments, map: "Loop") -> None:  # noqa: A002 - as waitress calls it
        now = server.clock()
        self.request: Any
        self._ahead = b""
        self._ended = False
        self._lingers_until: float | None = None
        self._discarded = 0
        self.since = now
        """The time at which the client began to wait, or to send a header."""
        self._pace: _Pace | None = None
        self._sent = 0
        self._has_asked = False
        self._has_more = False
        self._is_busy = False
        self._is_wrong = False
        self._counted = 0
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def is_idle(self) -> bool:
        """Return whether it is idle: no request was begun, or its header is incomplete."""
        is_asking = self.request is not None and self.request.headers_finished
        return not (self.requests or is_asking or self.total_outbufs_len or self.close_when_flushed)

    @property
    def is_settled(self) -> bool:
        """Return whether only the client can change what it is waiting for."""
        return not (
            self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed or self._ahead
        )

    def parser_class(self, adj: Any) -> Parser:
        """Return a new request parser."""
        return Parser(adj, self.server.body_limit)

    def readable(self) -> bool:
        """Return whether to read more from the client; data that it sent ahead is handled first."""
        if self._lingers_until is not None:
            return True
        if self.requests:  # still polled, so that the loop need not be woken after the response
            return not (self._has_more or self._ended)
        self._has_more = False
        if self._ended or not super().readable():
            return False
        if self._ahead:
            data, self._ahead = self._ahead, b""
            self.received(data)
            return not self.requests
        return True

    def writable(self) -> bool:
        """Return whether there is data to send, or a connection to end."""
        if self._lingers_until is not None:
            return False
        return bool(super().writable()) or (self._ended and not self.requests)

    def handle_write(self) -> None:
        """Send waiting data; close the connection if nothing more follows."""
        if self._ended and not self.requests and not self.total_outbufs_len:
            self.will_close = True
        super().handle_write()

    def handle_read(self) -> None:
        """Receive data. A client that closed its sending side may still read a response."""
        if self.requests:
            self._has_more = True
            return
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        if self._lingers_until is not None:
            self._discard(data)
        elif data:
            self.received(data)
        else:
            self._ended = True
            if self.request is not None and not self.requests:
                self._fail(MalformedError("the request was incomplete when the connection closed"))

    def received(self, data: bytes) -> bool:
        """Process bytes until a request is complete, which a thread then answers; any bytes after it are kept."""
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            while data and not self.requests:
                if self.request is None:
                    self._uncount()
                    self.request, self.since = self.parser_class(self.adj), self.server.clock()
                    self._pace = None
                data = data[self._parse(data) :]
            self._ahead = data
        return True

    def _parse(self, data: bytes) -> int:
        had_header = self.request.headers_finished
        consumed = int(self.request.received(data))
        if had_header and not self.request.error:
            self._count(consumed)
        if self.request.expect_continue and self.request.headers_finished and not self.sent_continue:
            self.send_continue()
        if self.request.completed:
            self._complete()
        return consumed

    def _complete(self) -> None:
        request, self.request, self.sent_continue = self.request, None, False
        if request.empty:
            return
        self._has_asked = self._is_busy = True
        self._pace = None
        self._is_wrong = self._is_wrong or request.error is not None
        self.requests.append(request)
        self.server.add_task(self)

    def _count(self, size: int) -> None:
        self._counted += size
        self.server.buffered += size
        if self.server.buffered > _MOST_BUFFERED:
            self.request.fail(
                UnavailableError("the server is receiving too many large requests; try again", retry_after=5)
            )

    def settle(self) -> None:
        """Begin to wait for the next request, once the response to the last one was sent."""
        if self._is_busy and not (self.requests or self.total_outbufs_len or self.request is not None):
            self._is_busy, self._pace, self.since = False, None, self.server.clock()
            self._uncount()

    def _uncount(self) -> None:
        self.server.buffered -= self._counted
        self._counted = 0

    def _fail(self, error: AnalystError) -> None:
        """Answer an incomplete request with an error."""
        with self.requests_lock:
            self.request.fail(error)
            self._complete()

    def service(self) -> None:
        """Answer a request, in a thread."""
        self.server.answered.connection = self
        try:
            super().service()
        finally:
            self.server.answered.connection = None

    @property
    def needs_loop(self) -> bool:
        """Return whether the loop has something to do for this connection before the client sends more."""
        is_ending = self.will_close or self.close_when_flushed or self._ended
        return bool(is_ending or self.total_outbufs_len or self._has_more or self._ahead)

    def is_gone(self) -> bool:
        """Return whether the client has closed its side; called by threads that work on its request for long."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send_now(self) -> None:
        """Send as much as the client accepts now; called by the thread that answers."""
        with self.outbuf_lock:
            self._flush_exception(self._flush_some, do_close=False)

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send as much as the client accepts, up to a turn, so that a fast reader of a large file blocks nobody."""
        sent = 0
        while sent < _A_TURN:
            buffer = self.outbufs[0]
            if len(buffer):
                number = self.send(buffer.get(_PIECE), do_close=do_close)
                if not number or not self.connected:
                    break
                buffer.skip(number, allow_prune=True)
                sent += number
                self.total_outbufs_len -= number
            elif len(self.outbufs) > 1:
                self.outbufs.pop(0).close()
            else:
                break
        self._sent += sent
        return sent > 0

    def handle_close(self) -> None:
        """Close the connection; after an error, only once the client has seen the response.

        A connection closed with unread bytes is reset, and data that the client has not read yet is lost.
        """
        if self.will_close and self._is_wrong and self._lingers_until is None and not self._ended:
            self._lingers_until = self.server.clock() + self.server.patience.lingering
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            self.will_close = False
            return
        super().handle_close()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if not data or self._discarded > _MOST_DISCARDED:
            self.handle_close()

    def del_channel(self, map: "Loop | None" = None) -> None:  # noqa: A002 - as waitress calls it
        """Remove it from the loop."""
        self._uncount()
        super().del_channel(map)

    def evict(self) -> None:
        """Close the connection now, even with unsent data: a client that does not read would never be writable."""
        self._is_wrong = False
        self.handle_close()

    def give_up(self) -> None:
        """Stop waiting for the rest of a request, because the server is stopping."""
        if self.request is not None and not self.requests:
            self._fail(UnavailableError("this server is stopping; try again", retry_after=1))

    def hurry(self, now: float, patience: Patience) -> None:
        """End the connection if the client exceeded a deadline."""
        if self._lingers_until is not None:
            if now > self._lingers_until:
                self.handle_close()
        elif self.total_outbufs_len:
            if self._is_late(now, self._sent, patience):
                self.evict()
        elif self.requests or self.will_close or self.close_when_flushed:
            self._pace = None
        elif self.request is not None:
            self._hurry_request(now, patience)
        elif now - self.since > (patience.idle if self._has_asked else patience.header):
            self.evict()

    def _hurry_request(self, now: float, patience: Patience) -> None:
        if not self.request.headers_finished:
            if now - self.since > patience.header:
                self._fail(TimedOutError(f"the header did not arrive within {patience.header:g} seconds"))
        elif self._is_late(now, self.request.body_bytes_received, patience):
            self._fail(TimedOutError(f"the body arrived more slowly than {patience.rate:g} bytes a second"))

    def _is_late(self, now: float, size: int, patience: Patience) -> bool:
        if self._pace is None:
            self._pace = _Pace(now, size)
        seconds = now - self._pace.since
        if seconds <= patience.grace:
            return False
        is_late = size - self._pace.size < seconds * patience.rate
        self._pace = _Pace(now, size)
        return is_late


class Loop(dict[int, Any]):
    """The event loop, by file descriptor. Settled connections cost only their place in one `poll`."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()
        self._wanted: dict[int, int] = {}
        self._unsettled: set[int] = set()

    def __setitem__(self, number: int, waiting: Any) -> None:
        super().__setitem__(number, waiting)
        self._poll.register(number, 0)
        self._wanted[number] = 0
        self._unsettled.add(number)

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        self._poll.unregister(number)
        del self._wanted[number]
        self._unsettled.discard(number)

    def turn(self, seconds: float) -> None:
        """Wait for events, and handle them."""
        for number in list(self._unsettled):
            self._look(number)
        for number, events in self._poll.poll(int(seconds * 1000)):
            if (waiting := self.get(number)) is not None:
                self._unsettled.add(number)
                wasyncore.readwrite(waiting, events)

    def wake(self, number: int) -> None:
        """Update the events that a connection waits for."""
        self._unsettled.add(number)

    def _look(self, number: int) -> None:
        if (waiting := self.get(number)) is None:
            return
        wanted = select.POLLIN if waiting.readable() else 0
        if not waiting.accepting and waiting.writable():
            wanted |= select.POLLOUT
        if wanted != self._wanted[number]:
            self._wanted[number] = wanted
            self._poll.modify(number, wanted)
        if isinstance(waiting, Connection):
            waiting.settle()
            if waiting.is_settled:
                self._unsettled.discard(number)


class Threads:
    """Threads that answer requests. The queue wakes a thread once; waitress's own wakes it to wait for a lock."""

    def __init__(self, count: int) -> None:
        self._queue: SimpleQueue[Connection | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"request-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of requests waiting for a thread."""
        return self._queue.qsize()

    def add_task(self, task: Connection) -> None:
        """Queue a request."""
        self._queue.put(task)

    def shutdown(self, seconds: float) -> None:
        """Accept no more work, and wait a while for what is running."""
        ends = time.monotonic() + seconds
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task.service()
            except Exception:
                log.exception("a request could not be answered")


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections on a bound socket.

    Args:
        application: the WSGI application.
        sock: the socket.
        loop: shared with the other sockets of the process.
        threads: run the application.
        body_limit: returns the maximum size of a body.
        connections: the maximum number of clients; an idle one makes room for a new one.
        patience: the deadlines of clients.
        clock: the seconds of a monotonic clock.
    """

    channel_class = Connection

    def __init__(
        self,
        application: Application,
        sock: socket.socket,
        loop: Loop,
        threads: "Threads",
        body_limit: BodyLimit,
        *,
        connections: int = 1000,
        patience: Patience = Patience(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.body_limit = body_limit
        self.connections = connections
        self.patience = patience
        self.clock = clock
        self.buffered = 0
        """Bytes of the bodies in transit."""
        self.answered = threading.local()
        """The connection that the current thread answers."""
        self._refusals = Threads(1)
        self._stopped_at: float | None = None
        self._next_look = 0.0
        address = sock.getsockname()
        adjustments = Adjustments(
            clear_untrusted_proxy_headers=False,  # TRUSTED_PROXIES decides which of them count
            ident="",
            inbuf_overflow=IN_MEMORY,
            outbuf_overflow=IN_MEMORY * 16,
            max_request_header_size=HEADER_BYTES,
            recv_bytes=1 << 14,
            log_socket_errors=False,
        )
        adjustments.send_bytes = _SENT_TOGETHER
        super().__init__(
            application,
            loop,
            _sock=sock,
            dispatcher=threads,
            adj=adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, address),
            bind_socket=False,
        )

    @property
    def is_stopping(self) -> bool:
        """Return whether connections are closed after the current response."""
        return self._stopped_at is not None

    def add_task(self, task: Connection) -> None:
        """Queue a request. A refusal does not wait for a free thread."""
        request = task.requests[0]
        if request.error is None and self.task_dispatcher.waiting >= _MOST_WAITING:
            request.error = UnavailableError("this server is busy; try again", retry_after=1)
        if request.error is None:
            super().add_task(task)
        else:
            self._refusals.add_task(task)

    def readable(self) -> bool:
        """Return whether to accept further clients, and check the deadlines of existing ones."""
        self.look_after()
        return bool(self.accepting) and len(self.active_channels) < self.connections

    def pull_trigger(self) -> None:
        """Wake the loop, unless it has nothing to do for the connection that a thread has just answered."""
        connection = getattr(self.answered, "connection", None)
        if connection is None or connection.needs_loop:
            super().pull_trigger()

    def look_after(self) -> None:
        """Check the deadlines, from time to time."""
        now = self.clock()
        if now >= self._next_look:
            self._next_look = now + min(1.0, self.patience.lingering)
            self.maintenance(now)

    def maintenance(self, now: float) -> None:
        """End connections whose clients exceeded a deadline."""
        is_over = self._stopped_at is not None and now - self._stopped_at > self.patience.stopping
        for number, connection in list(self.active_channels.items()):
            connection.hurry(now, self.patience)
            if is_over:
                connection.give_up()
            self._map.wake(number)

    def handle_accept(self) -> None:
        """Accept waiting clients. Without room for more, those that have been idle longest are closed."""
        for _ in range(_ACCEPTED_AT_ONCE):
            before = len(self.active_channels)
            super().handle_accept()
            if before == len(self.active_channels) or before + 1 >= self.connections:
                break
        if len(self.active_channels) >= self.connections:
            self._make_room()

    def _make_room(self) -> None:
        idle = sorted((each for each in self.active_channels.values() if each.is_idle), key=lambda each: each.since)
        for connection in idle[: 1 + self.connections // _PART_EVICTED]:
            connection.evict()

    def stop(self) -> None:
        """Accept no more clients, and close idle ones."""
        self._stopped_at = self.clock()
        wasyncore.dispatcher.close(self)
        for connection in list(self.active_channels.values()):
            if connection.is_idle:
                connection.evict()
