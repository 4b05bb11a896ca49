"""The dispatch socket: programs on the same host hand in notifications, by HTTP on a Unix socket.

`POST /dispatch` with `{"user", "notification": {"id", "title", "message", "script", "timestamp", "image_url"}}` returns
`{"sent": n}`, the number of connections of this instance that are sent it now; `GET /health` returns what the port does. What
is handed in is put into the outbox first, so people who are not connected, or are so to another instance, get it later.
Only the user and the group of the gateway may open the socket: whoever does can write to everybody.
"""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analyst.errors import AnalystError
from analyst.notifications.notification import Notification, notification_id
from analyst.scripts.contract import LONGEST_MESSAGE, LONGEST_TITLE
from analyst.validation import reason

_LARGEST_HEAD: Final = 16 << 10
_LARGEST_BODY: Final = 256 << 10
_PATIENCE: Final = 10.0
_MODE: Final = 0o660
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    413: "Content Too Large",
    503: "Service Unavailable",
}


_EARLIEST: Final = datetime.fromtimestamp(0, UTC)
_AHEAD: Final = timedelta(minutes=5)
"""How far ahead the clock of a program may be."""


class RefusedError(Exception):
    """A request that can't be done; `status` is that of the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Content(BaseModel):
    """A notification that is handed in. A timestamp without a zone is in UTC; without one, it is the present."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(max_length=200)] | None = None
    title: str = ""
    message: str = ""
    script: Annotated[str, Field(max_length=200)] | None = None
    timestamp: datetime | None = None
    image_url: Annotated[str, Field(max_length=2000, pattern=r"^(https?://|/)[^\s]*$")] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Content":
        if not self.title.strip() and not self.message.strip():
            raise ValueError("a notification needs a title or a message")
        return self

    def notification(self, user_id: str, now: datetime) -> Notification:
        """Return it as it is stored: the same `id` and `timestamp` for a person are the same notification.

        Notifications are sorted by their time. One of the future would stay the newest, and those that come later would
        count as read with it.

        Raises:
            RefusedError: its time can't be used.
        """
        at = self.timestamp or now
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        if not _EARLIEST <= at <= now + _AHEAD:
            raise RefusedError(
                400, "the notification is not valid: notification.timestamp: it is in the future, or before 1970"
            )
        key = f"dispatched {user_id} {self.id or f'{now.isoformat()} {self.title} {self.message}'}"
        title = " ".join((self.title or self.message).split())[:LONGEST_TITLE]
        text = self.message if self.title else ""
        return Notification(
            id=notification_id(key, at),
            at=at,
            kind="script",
            title=title,
            text=text[:LONGEST_MESSAGE],
            url="/notifications",
            script=self.script,
            image_url=self.image_url,
        )


class Dispatch(BaseModel):
    """A notification for a user, who is given by e-mail address or id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: Annotated[str, Field(min_length=1, max_length=320)]
    notification: Content


class UnknownUserError(Exception):
    """There is no active user of this name."""


Send = Callable[[Dispatch], Awaitable[int]]
"""Sends a notification, and returns to how many connections.

Raises:
    UnknownUserError: there is no such user.
    UnavailableError: the store does not respond.
"""


@asynccontextmanager
async def listening(path: Path, send: Send, health: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Serve the socket at a path until the block ends; a socket that an earlier process left there is replaced."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                status, answer = await _answered(reader, send, health)
                data = json.dumps(answer).encode()
                head = (
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + data)
                await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    _remove(path)
    before = os.umask(0o777 & ~_MODE)
    try:
        server = await asyncio.start_unix_server(serve, path, limit=_LARGEST_HEAD)
    finally:
        os.umask(before)
    mine = _number_of(path)
    async with server:
        try:
            yield
        finally:
            server.close()
            _remove(path, mine)


def _number_of(path: Path) -> int:
    return path.lstat().st_ino


def _remove(path: Path, only: int | None = None) -> None:
    """Remove the socket at a path, or `only` the one with this number: the next process may have replaced it already."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISSOCK(found.st_mode) and only in {None, found.st_ino}:  # anything else is not ours
            path.unlink()


async def _answered(
    reader: asyncio.StreamReader, send: Send, health: Callable[[], dict[str, Any]]
) -> tuple[int, dict[str, Any]]:
    try:
        method, path, body = await _request(reader)
        if (method, path) == ("GET", "/health"):
            return 200, health()
        return 200, {"sent": await send(_dispatch(method, path, body))}
    except UnknownUserError as error:
        return 404, {"error": str(error)}
    except AnalystError as error:
        return 503, {"error": str(error)}
    except RefusedError as error:
        return error.status, {"error": str(error)}


def _dispatch(method: str, path: str, body: bytes) -> Dispatch:
    if (method, path) != ("POST", "/dispatch"):
        raise RefusedError(404, "there is nothing at this path; use POST /dispatch or GET /health")
    try:
        return Dispatch.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise RefusedError(400, f"the notification is not valid: {place}: {reason(first)}") from None


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    """Read a request; return its method, its path and its body."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise RefusedError(413, f"the head of the request is larger than {_LARGEST_HEAD} bytes") from None
    except asyncio.IncompleteReadError:
        raise RefusedError(400, "the request is not HTTP") from None
    first, *lines = head.strip().split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise RefusedError(400, "the request is not HTTP/1.1")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in fields:
        raise RefusedError(400, "the body has no length; send Content-Length")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise RefusedError(400, "Content-Length is not a number")
    if len(length) > len(str(_LARGEST_BODY)) or int(length) > _LARGEST_BODY:
        raise RefusedError(413, f"the body is larger than {_LARGEST_BODY} bytes")
    try:
        return words[0], words[1].partition("?")[0], await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        raise RefusedError(400, "the body is shorter than Content-Length") from None
