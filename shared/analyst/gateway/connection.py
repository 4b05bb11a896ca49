"""One connection of a person: what it is sent, and when it is closed."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from analyst.errors import AnalystError
from analyst.gateway import messages
from analyst.notifications.notification import Notification

log = logging.getLogger(__name__)

_MOST_WAITING: Final = 256
"""Notifications that wait for a client that reads slowly."""
_REMEMBERED: Final = 1000
_ASKED_AFTER: Final = 50
"""Notifications after which the client is asked whether it has received them."""
_CAUGHT_UP: Final = 900.0
"""Seconds after which the inbox is read again, in case an announcement was missed."""
_CAUGHT_UP_AFTER_FAILURE: Final = 5.0
_MOST_MESSAGES: Final = 100
"""Messages that a client may send between two pings."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the gateway is; times are in seconds.

    A client that has not answered `missed` pings is gone. One whose socket takes nothing for `patience` reads too slowly.
    """

    per_person: int = 5
    connections: int = 2000
    auth: float = 10.0
    heartbeat: float = 30.0
    missed: int = 3
    patience: float = 20.0
    closing: float = 5.0
    poll: float = 2.0
    recheck: float = 15.0
    """How often tokens are checked again; those that are revoked or expired end their connections."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a token belongs to; `username` is how they are addressed."""

    user_id: str
    username: str
    token: str = field(repr=False)


class Post(Protocol):
    """Where the notifications of people come from."""

    async def unreceived(self, user_id: str) -> Sequence[Notification]:
        """Return what a person has neither read nor received, oldest first.

        Raises:
            UnavailableError: the store does not respond.
        """

    async def seen(self, notification: Notification, person: Person) -> Notification | None:
        """Return what a person may see now of a notification, by the token that they have shown; `None` if nothing.

        Raises:
            UnavailableError: that is not known.
        """

    def received(self, user_id: str, ids: Sequence[str]) -> None:
        """Note that a program of a person has received notifications."""


class Connection:
    """A client that has shown the token of a person. `base_url` is the address of the server, for links to pictures."""

    def __init__(
        self, socket: ServerConnection, person: Person, post: Post, limits: Limits, base_url: str | None = None
    ) -> None:
        self.person = person
        self._base_url = base_url
        self._socket = socket
        self._post = post
        self._limits = limits
        self._waiting: asyncio.Queue[Notification] = asyncio.Queue(_MOST_WAITING)
        self._unconfirmed: list[str] = []
        self._sent: OrderedDict[str, None] = OrderedDict()
        self._unanswered = 0
        self._messages = 0
        self._is_behind = False

    def offer(self, notification: Notification) -> None:
        """Have a notification sent; if too many wait, the connection is closed, and they are sent over the next one."""
        try:
            self._waiting.put_nowait(notification)
        except asyncio.QueueFull:
            self._is_behind = True

    async def read(self) -> None:
        """Read what the client sends until the connection ends."""
        with suppress(ConnectionClosed):
            async for message in self._socket:
                self._messages += 1
                if messages.is_pong(message):
                    self._unanswered = 0
                if self._messages > _MOST_MESSAGES:
                    await self.close(CloseCode.POLICY_VIOLATION, "the client sends too many messages")

    async def write(self) -> None:
        """Accept the client, and send notifications and pings until the connection ends."""
        try:
            await self._put(messages.auth_ok(self.person.username))
            await self._write()
        except ConnectionClosed:
            return
        except TimeoutError:
            await self.close(CloseCode.TRY_AGAIN_LATER, "the client reads too slowly")
        except Exception:  # of ours: without this, a client would wait for pings for ever
            log.exception("a connection of the gateway failed")
            await self.close(CloseCode.INTERNAL_ERROR, "unexpected error; connect again")

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        ping_at, catch_up_at = loop.time() + self._limits.heartbeat, loop.time()
        while True:
            if self._is_behind:
                raise TimeoutError
            now = loop.time()
            if now >= ping_at:
                if self._unanswered >= self._limits.missed:
                    await self.close(CloseCode.POLICY_VIOLATION, "the client does not answer pings")
                    return
                self._unanswered += 1
                self._messages = 0
                await self._put(messages.PING)
                ping_at = now + self._limits.heartbeat
            try:
                if now >= catch_up_at:
                    await self._send(await self._post.unreceived(self.person.user_id))
                    catch_up_at = loop.time() + _CAUGHT_UP * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the load
                await self._send(await self._offered(min(ping_at, catch_up_at)))
            except AnalystError as error:
                # What is not noted as received is found in the inbox.
                log.warning("notifications are sent later", extra={"fields": {"reason": str(error)}})
                catch_up_at = loop.time() + _CAUGHT_UP_AFTER_FAILURE

    async def _offered(self, until: float) -> list[Notification]:
        """Wait for what is offered, up to a time of the loop."""
        try:
            async with asyncio.timeout_at(until):
                first = await self._waiting.get()
        except TimeoutError:
            return []
        return [first, *(self._waiting.get_nowait() for _ in range(self._waiting.qsize()))]

    async def _send(self, notifications: Sequence[Notification]) -> None:
        for number, each in enumerate(notifications, 1):
            await self._send_one(each)
            if number % _ASKED_AFTER == 0 or number == len(notifications):
                await self._ask()

    async def _send_one(self, notification: Notification) -> None:
        """Send a notification unless this client has been sent it, as far as the person may see it now."""
        if notification.id in self._sent:
            return
        seen = await self._post.seen(notification, self.person)
        if seen is None:
            return
        await self._put(messages.notification(seen, self._base_url))
        self._unconfirmed.append(notification.id)
        self._sent[notification.id] = None
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    async def _ask(self) -> None:
        """Ask whether the client has received what was sent, by a ping that follows it; any library answers by itself.

        What a dying connection or process had only in its buffers is sent again over the next connection.
        """
        ids, self._unconfirmed = self._unconfirmed, []
        if not ids:
            return
        async with asyncio.timeout(self._limits.patience):
            answered = await self._socket.ping()
        if isinstance(answered, asyncio.Future):
            answered.add_done_callback(self._when_answered(ids))

    def _when_answered(self, ids: Sequence[str]) -> Callable[["asyncio.Future[float]"], None]:
        def note(answered: "asyncio.Future[float]") -> None:
            if not answered.cancelled() and answered.exception() is None:
                self._post.received(self.person.user_id, ids)

        return note

    async def _put(self, text: str) -> None:
        """Send a message.

        Raises:
            TimeoutError: the client reads too slowly.
        """
        async with asyncio.timeout(self._limits.patience):
            await self._socket.send(text)

    async def reject(self) -> None:
        """Close the connection because its token is no longer valid."""
        with suppress(ConnectionClosed, TimeoutError):
            await self._put(messages.auth_error(messages.AuthError.INVALID))
        await self.close(CloseCode.POLICY_VIOLATION, "the token has expired or was revoked")

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close the connection."""
        log.info("connection closed", extra={"fields": {"user_id": self.person.user_id, "reason": reason}})
        await self._socket.close(code, reason)
