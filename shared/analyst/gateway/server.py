"""The server of the gateway: it knows who is connected, and passes on to them what is announced in the outbox.

All state is in the bucket. An instance lists what was announced in the last minutes, for everybody at once, every two
seconds. What is announced while nobody reads it, for whatever reason, is found in the inbox: at the next connect, and
every quarter of an hour.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from analyst.access import Caller, Role
from analyst.access.roles import Scope
from analyst.addresses import path_of, without_prefix
from analyst.auth.callers import Credentials, Identification
from analyst.context import Process
from analyst.errors import AnalystError, ForbiddenError, UnauthenticatedError
from analyst.gateway import messages, requests
from analyst.gateway.chat_messages import PhotoMessage, TextMessage, send_photo, send_text
from analyst.gateway.connection import Connection, Limits, Person
from analyst.gateway.dispatch import Dispatch
from analyst.gateway.messages import AuthError, RefusedError
from analyst.gateway.requests import Handler, listening, user_of
from analyst.notifications import preferences
from analyst.notifications.notification import SENT, Channel, Notification, seen_by
from analyst.notifications.outbox import Announced, Outbox

log = logging.getLogger(__name__)

_THREADS: Final = 16
_SENDERS: Final = 4
"""Threads that wait for Telegram, which may answer slowly: of their own, so that they hold up nothing else."""
_MOST_UNSENT: Final = 64
"""Messages to chats that wait for one of these."""
_SKEW: Final = 60.0
"""Seconds by which the clocks of hosts may differ before an announcement is found only in the inbox."""
_LARGEST_MESSAGE: Final = 16 << 10
_BACKLOG: Final = 1024
_MARKED_WITHIN: Final = 10.0
_PATHS: Final = ("/", "/ws/notifications")
_HEALTH: Final = ("/health", "/healthz")

T = TypeVar("T")


class _Socket(ServerConnection):
    """A connection that closes in time even if the client reads nothing: its library first waits until all is sent."""

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection, within `close_timeout`."""
        try:
            async with asyncio.timeout(self.close_timeout):
                await super().close(code, reason)
        except TimeoutError:
            self.transport.abort()
            await self.wait_closed()


class Gateway:
    """One instance. `process` gives it the bucket, the access list and the keys; `limits` are its own.

    `dispatch` is the path of a socket by which programs on this host hand in notifications.
    """

    def __init__(self, process: Process, limits: Limits, dispatch: Path | None = None) -> None:
        self._process = process
        self._dispatch = dispatch
        self._limits = limits
        self._outbox = Outbox(process.store)
        self._people: dict[str, set[Connection]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="chats")
        self._unsent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets = 0
        token = process.settings.service_token
        self._identification = Identification(
            process.access, token, lambda: process.keys, process.identify_service, resource=None
        )

    async def run(
        self, host: str, port: int, stopping: asyncio.Event, started: Callable[[int], None] = lambda _: None
    ) -> None:
        """Serve until `stopping` is set; then close all connections, and note what they have received.

        `started` is called with the port.
        """
        seen = await self._first_look(stopping)
        if stopping.is_set():
            return
        hands_in = (
            nullcontext() if self._dispatch is None else listening(self._dispatch, self._handlers(), self._health)
        )
        async with hands_in:
            await self._serve(host, port, stopping, started, seen)

    async def _serve(
        self, host: str, port: int, stopping: asyncio.Event, started: Callable[[int], None], seen: frozenset[str]
    ) -> None:
        quiet = logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.CRITICAL)  # every stranger's broken handshake would be an error with a traceback
        server = await serve(
            self._handle,
            host,
            port,
            process_request=self._answer_http,
            compression=None,  # would take 300 kB for each connection
            ping_interval=None,
            open_timeout=self._limits.auth,
            close_timeout=self._limits.closing,
            create_connection=_Socket,
            max_size=_LARGEST_MESSAGE,
            max_queue=4,
            server_header=None,
            logger=quiet,
            backlog=_BACKLOG,
        )
        port = _port_of(server)
        log.info("gateway started", extra={"fields": {"host": host, "port": port}})
        started(port)
        jobs = [asyncio.create_task(self._watch(seen)), asyncio.create_task(self._recheck())]
        stops = asyncio.create_task(stopping.wait())
        await asyncio.wait([stops, *jobs], return_when=asyncio.FIRST_COMPLETED)
        for job in (stops, *jobs):
            job.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
        server.close(code=CloseCode.GOING_AWAY, reason="the server is stopping; connect again")
        await server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_MARKED_WITHIN)
        for threads in (self._threads, self._senders):
            threads.shutdown(wait=False, cancel_futures=True)
        log.info("gateway stopped")
        for error in ended:
            if isinstance(error, Exception):
                raise error  # a bug of ours: ends the process, which is started again

    async def unreceived(self, user_id: str) -> Sequence[Notification]:
        """Return what a person has neither read nor received, oldest first."""
        return await self._in_thread(lambda: self._outbox.unreceived(user_id))

    async def seen(self, notification: Notification, person: Person) -> Notification | None:
        """Return what a person may see now of a notification, by the token that they have shown."""
        return await self._in_thread(
            lambda: seen_by(notification, self._process.access.current(), self._identify(person.token))
        )

    def received(self, user_id: str, ids: Sequence[str]) -> None:
        """Note what a program has received. If that fails, it is sent once more."""
        task = asyncio.get_running_loop().create_task(self._mark(user_id, ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _mark(self, user_id: str, ids: Sequence[str]) -> None:
        try:
            await self._in_thread(lambda: self._outbox.mark_received(user_id, ids))
        except AnalystError as error:
            log.warning("received notifications are not noted", extra={"fields": {"reason": str(error)}})

    def _answer_http(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer what is no WebSocket handshake on a path of ours."""
        path = without_prefix(
            path_of(self._process.settings.base_url), request.path.partition("?")[0]
        )  # a proxy may leave it
        if path in _HEALTH:
            response = socket.respond(200, json.dumps(self._health()))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        if path not in _PATHS:
            return socket.respond(404, f"there is nothing at this path; connect to {_PATHS[0]} or {_PATHS[1]}\n")
        if self._sockets >= self._limits.connections:
            return socket.respond(503, "this instance has too many connections; connect again later\n")
        return None

    def _health(self) -> dict[str, Any]:
        return {"status": "ok", "connections": self.connections, "users": len(self._people)}

    def _handlers(self) -> Mapping[str, Handler]:
        """Return what programs on this host may ask for, by path."""

        def sending(send: Callable[[Process, Any], None]) -> Callable[[Any], Awaitable[dict[str, Any]]]:
            async def answer(message: Any) -> dict[str, Any]:
                if self._unsent >= _MOST_UNSENT:
                    raise requests.RefusedError(503, "too many messages wait to be sent; send this one again later")
                self._unsent += 1
                try:
                    await asyncio.get_running_loop().run_in_executor(self._senders, send, self._process, message)
                finally:
                    self._unsent -= 1
                return {"ok": True}

            return answer

        return {
            "/dispatch": Handler(Dispatch, self._hand_in),
            "/send": Handler(TextMessage, sending(send_text)),
            "/send_photo": Handler(PhotoMessage, sending(send_photo)),
        }

    async def _hand_in(self, wanted: Dispatch) -> dict[str, Any]:
        """Put a notification into the outbox, and offer it to the connections of its person; return their number."""
        user_id, made, is_new = await self._in_thread(lambda: self._kept(wanted))
        mine = self._people.get(user_id, set()) if is_new else set()
        for each in mine:
            each.offer(made)  # found again by the announcement, it is not sent twice
        return {"sent": len(mine)}

    def _kept(self, wanted: Dispatch) -> tuple[str, Notification, bool]:
        """Store a notification for whom it is; return their id, and whether it is new and wanted by their programs.

        The page keeps it for a person who has chosen chats or mails only: what is handed in here is not sent there.
        """
        user_id = user_of(self._process.access.current(), wanted.user, self._process.settings.allowed_domains)
        made = wanted.notification.notification(user_id, self._process.clock())
        chosen = preferences.read(self._process.store, user_id).channels(made.kind)
        here: list[Channel] = [each for each in chosen if each not in SENT] or ["page"]
        return user_id, made, bool(chosen) and self._outbox.add(user_id, made, here) and "gateway" in here

    @property
    def connections(self) -> int:
        """The number of connections whose token was accepted."""
        return sum(map(len, self._people.values()))

    async def _handle(self, socket: ServerConnection) -> None:
        self._sockets += 1
        try:
            await self._attend(await self._admit(socket))
        except RefusedError as error:
            with suppress(ConnectionClosed):
                await socket.send(messages.auth_error(error.reason))
            await socket.close(CloseCode.POLICY_VIOLATION, error.reason.value)
        except AnalystError as error:
            log.warning("a token can't be checked", extra={"fields": {"reason": str(error)}})
            await socket.close(CloseCode.TRY_AGAIN_LATER, "the token can't be checked now; connect again later")
        except ConnectionClosed:
            pass
        finally:
            self._sockets -= 1

    async def _attend(self, connection: Connection) -> None:
        """Serve a connection until it ends."""
        writing = asyncio.create_task(connection.write())
        try:
            await connection.read()
        finally:
            self._leave(connection)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _admit(self, socket: ServerConnection) -> Connection:
        """Return the connection of a client whose first message has a valid token.

        Raises:
            RefusedError: it has not.
            UnavailableError: that can't be checked now.
        """
        try:
            async with asyncio.timeout(self._limits.auth):
                first = await socket.recv()
        except TimeoutError:
            raise RefusedError(AuthError.TIMEOUT) from None
        token = messages.token_of(first)
        caller = await self._in_thread(lambda: self._identify(token))
        if caller is None or caller.user_id is None:
            raise RefusedError(AuthError.INVALID)
        mine = self._people.setdefault(caller.user_id, set())
        if len(mine) >= self._limits.per_person:
            raise RefusedError(AuthError.TOO_MANY)
        person = Person(caller.user_id, caller.email or caller.user_id, token)
        connection = Connection(socket, person, self, self._limits, self._process.settings.base_url)
        mine.add(connection)  # before it is sent what waits, so that nothing is announced in between
        return connection

    def _leave(self, connection: Connection) -> None:
        mine = self._people.get(connection.person.user_id, set())
        mine.discard(connection)
        if not mine:
            self._people.pop(connection.person.user_id, None)

    def _identify(self, token: str) -> Caller | None:
        """Return the person whose token it is, if it lets them read their notifications.

        Raises:
            UnavailableError: the access list is not available.
        """
        try:
            caller = self._identification.caller(Credentials(f"Bearer {token}"), self._process.clock())
        except (UnauthenticatedError, ForbiddenError):
            return None
        if caller is None or not caller.includes(Role.VIEWER) or Scope.READ not in caller.scopes:
            return None
        if caller.token_id is not None:
            self._process.last_uses.saw(caller.token_id, self._process.clock())
        return caller

    async def _recheck(self) -> None:
        """Close the connections whose tokens are no longer valid."""
        while True:
            await asyncio.sleep(self._limits.recheck)
            present = [each for mine in self._people.values() for each in mine]
            try:
                invalid = await self._in_thread(partial(self._invalid, present))
            except AnalystError as error:  # nothing is sent until the access list is there again
                log.warning("tokens can't be checked", extra={"fields": {"reason": str(error)}})
                continue
            for each in invalid:
                self._leave(each)  # it gets nothing any more, however long closing takes
            await asyncio.gather(*(each.reject() for each in invalid))

    def _invalid(self, connections: Sequence[Connection]) -> list[Connection]:
        callers = [(each, self._identify(each.person.token)) for each in connections]
        return [each for each, caller in callers if caller is None or caller.user_id != each.person.user_id]

    async def _first_look(self, stopping: asyncio.Event) -> frozenset[str]:
        """Return the keys of what was announced before the start, when the store responds."""
        while not stopping.is_set():
            try:
                return frozenset(each.key for each in await self._announced(time.time()))
            except AnalystError as error:
                log.warning("the gateway waits for the store", extra={"fields": {"reason": str(error)}})
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._limits.poll)
        return frozenset()

    async def _watch(self, seen: frozenset[str]) -> None:
        """Pass on what is announced."""
        since = time.time()
        while True:
            await asyncio.sleep(self._limits.poll)
            began = time.time()
            try:
                found = await self._announced(since)
                await asyncio.gather(*(self._pass_on(each) for each in found if each.key not in seen))
            except AnalystError as error:
                log.warning("announcements are read later", extra={"fields": {"reason": str(error)}})
                continue  # a person who has received some of it does not get it again
            seen, since = frozenset(each.key for each in found), began

    async def _announced(self, since: float) -> list[Announced]:
        return await self._in_thread(lambda: self._outbox.announced(since - _SKEW, time.time() + _SKEW))

    async def _pass_on(self, announced: Announced) -> None:
        if announced.user_id not in self._people:
            return
        notification = await self._in_thread(lambda: self._outbox.notification(announced))
        if notification is not None:
            for each in self._people.get(announced.user_id, set()):
                each.offer(notification)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Run what waits for the store."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port
