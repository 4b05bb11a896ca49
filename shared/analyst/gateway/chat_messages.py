"""Messages that programs on the host send to the chats of people in Telegram, as those of the earlier service did.

`POST /send` with `{"user", "text", "parse_mode"}` and `POST /send_photo` with `{"user", "photo_path", "caption"}` are answered with
`{"ok": true}` when Telegram has the message, otherwise with 404 if the person has no chat, with 503 if too many
messages wait, or with 502.
"""

import os
import stat
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from analyst import automation
from analyst.context import Process
from analyst.errors import AnalystError
from analyst.gateway.requests import RefusedError, user_of
from analyst.notifications import preferences
from analyst.notifications.telegram import LONGEST_CAPTION, LONGEST_TEXT, BotApi, shortened, units
from analyst.scripts.confinement import LARGEST_PICTURE
from analyst.scripts.contract import checked_picture

_BAD_GATEWAY: Final = 502


class TextMessage(BaseModel):
    """A text for a person. Without a valid markup, it is sent as it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: Annotated[str, Field(min_length=1, max_length=320)]
    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    parse_mode: Literal["Markdown", "MarkdownV2", "HTML"] | None = "Markdown"


class PhotoMessage(BaseModel):
    """A PNG picture for a person, from a file that the gateway can read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: Annotated[str, Field(min_length=1, max_length=320)]
    photo_path: Annotated[str, Field(min_length=1, max_length=4096)]
    caption: Annotated[str, Field(max_length=100_000)] = ""


def send_text(process: Process, message: TextMessage) -> None:
    """Send a text, shortened to what Telegram accepts.

    Raises:
        RefusedError: the person has no chat, or Telegram does not take it.
    """
    api, chat_id = _chat(process, message.user)
    fits = units(message.text) <= LONGEST_TEXT
    try:
        api.send(chat_id, message.text, message.parse_mode if fits else None)
    except AnalystError as error:
        raise RefusedError(_BAD_GATEWAY, str(error)) from error


def send_photo(process: Process, message: PhotoMessage) -> None:
    """Send a picture with its caption.

    Raises:
        RefusedError: there is no such picture, the person has no chat, or Telegram does not take it.
    """
    data = _picture(Path(message.photo_path))
    api, chat_id = _chat(process, message.user)
    caption = shortened(message.caption, LONGEST_CAPTION)
    try:
        api.call("sendPhoto", {"chat_id": chat_id, "caption": caption}, photo=data)
    except AnalystError as error:
        raise RefusedError(_BAD_GATEWAY, str(error)) from error


def _chat(process: Process, name: str) -> tuple[BotApi, int]:
    """Return the bot and the chat of a person, who gets messages of programs there."""
    user_id = user_of(process.access.current(), name, process.settings.allowed_domains)
    mine = preferences.read(process.store, user_id)
    if mine.telegram is None or mine.telegram.problem is not None or "telegram" not in mine.channels("script"):
        raise RefusedError(
            404, f"{name!r} has linked no chat in Telegram, or has turned off messages of programs there"
        )
    if automation.paused(process.store) is not None:
        raise RefusedError(_BAD_GATEWAY, "this server is paused, so it sends no messages")
    try:
        return BotApi.of(process.settings, process.http), mine.telegram.chat_id
    except AnalystError as error:
        raise RefusedError(_BAD_GATEWAY, str(error)) from error


def _picture(path: Path) -> bytes:
    """Read a picture; only what is one can leave the host."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold it up
        with os.fdopen(descriptor, "rb") as file:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            data = file.read(LARGEST_PICTURE + 1) if is_file else b""
    except (OSError, ValueError):
        raise RefusedError(400, f"the picture {str(path)[:200]!r} can't be read") from None
    problem = checked_picture(data, LARGEST_PICTURE)
    if problem is not None:
        raise RefusedError(400, f"the picture {str(path)[:200]!r} can't be sent: {problem}")
    return data
