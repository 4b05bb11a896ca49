"""HTTP on a Unix socket, for programs on the same host: small JSON documents that are posted to a few paths."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from analyst.access import AccessList
from analyst.errors import AnalystError
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
    502: "Bad Gateway",
    503: "Service Unavailable",
}


class RefusedError(Exception):
    """A request that can't be done; `status` is that of the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers a path: the model of its body, and the call that returns the document of the answer.

    The call raises `RefusedError` if the request can't be done, and `UnavailableError` if the store does not respond.
    """

    model: type[BaseModel]
    answer: Callable[[Any], Awaitable[dict[str, Any]]]


def user_of(access: AccessList, given: str, domains: Sequence[str]) -> str:
    """Return the id of an active user, who is given by id, e-mail address, or the part before the @ if only one has that.

    That one must be of the company's only domain. At others it may be somebody else's: messages for a person who has left must
    not reach a namesake.

    Raises:
        RefusedError: there is no such user.
    """
    name = given.strip().lower()
    for id_, user in access.users.items():
        if name in {id_.lower(), user.email.lower()}:
            return id_
    found = [id_ for id_, user in access.users.items() if name == user.email.lower().partition("@")[0]]
    if len(found) != 1 or [access.users[found[0]].email.lower()] != [f"{name}@{domain.lower()}" for domain in domains]:
        raise RefusedError(404, f"there is no active user {given!r}; give the e-mail address of one")
    return found[0]


@asynccontextmanager
async def listening(
    path: Path, handlers: Mapping[str, Handler], health: Callable[[], dict[str, Any]]
) -> AsyncIterator[None]:
    """Serve the socket at a path until the block ends; a socket that an earlier process left there is replaced."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, answer = await _answered(reader, handlers, health)
            data = json.dumps(answer).encode()
            head = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + data)
            async with asyncio.timeout(_PATIENCE):
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
    reader: asyncio.StreamReader, handlers: Mapping[str, Handler], health: Callable[[], dict[str, Any]]
) -> tuple[int, dict[str, Any]]:
    try:
        async with asyncio.timeout(_PATIENCE):
            method, path, body = await _request(reader)
        if (method, path) == ("GET", "/health"):
            return 200, health()
        handler = _handler(method, path, handlers)
        return 200, await handler.answer(_parsed(handler.model, body))
    except AnalystError as error:
        return 503, {"error": str(error)}
    except RefusedError as error:
        return error.status, {"error": str(error)}


def _handler(method: str, path: str, handlers: Mapping[str, Handler]) -> Handler:
    handler = handlers.get(path) if method == "POST" else None
    if handler is None:
        raise RefusedError(404, f"there is nothing at this path; use POST {', '.join(handlers)}, or GET /health")
    return handler


def _parsed(model: type[BaseModel], body: bytes) -> BaseModel:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise RefusedError(400, f"the request is not valid: {place}: {reason(first)}") from None


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
