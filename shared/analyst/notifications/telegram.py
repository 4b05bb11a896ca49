"""Telegram: the Bot API, and messages to a chat. Source: https://core.telegram.org/bots/api, version 10.0.

The token of the bot is part of every address, so addresses are neither logged nor shown; `HttpClient` leaves them out
of its errors.
"""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from analyst.errors import ConflictError, RateLimitedError, UnavailableError
from analyst.http_client import HttpClient
from analyst.notifications.channels import Pictures, UndeliverableError, no_pictures, pause_of
from analyst.notifications.notification import Notification
from analyst.settings import Settings

LONGEST_TEXT: Final = 4096
"""Maximum length of a message in UTF-16 code units, after its entities are parsed."""
LONGEST_CAPTION: Final = 1024
_TIMEOUT: Final = 15.0


class MigratedError(UndeliverableError):
    """The chat has become a supergroup, and has another id."""

    def __init__(self, chat_id: int) -> None:
        super().__init__("the chat has moved")
        self.chat_id = chat_id


@dataclass(frozen=True, slots=True)
class BotApi:
    """The methods of a bot."""

    http: HttpClient
    url: str
    token: str

    @classmethod
    def of(cls, settings: Settings, http: HttpClient) -> "BotApi":
        """Return the bot of the settings.

        Raises:
            ConflictError: there is none.
        """
        if settings.telegram_bot_token is None:
            raise ConflictError(
                "Telegram can't be used because this server has no bot; an administrator must set TELEGRAM_BOT_TOKEN"
            )
        return cls(http, settings.telegram_url, settings.telegram_bot_token.get_secret_value())

    def call(
        self,
        method: str,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        *,
        wait: float = 0.0,
        photo: bytes | None = None,
    ) -> Any:
        """Call a method and return its result; `wait` are seconds for which it may wait for something to happen.

        With a `photo` (a PNG file), the request is a form.

        Raises:
            RateLimitedError: too many messages.
            UndeliverableError: the chat is gone or has blocked the bot, or the request is refused.
            MigratedError: the chat has another id.
            ConflictError: updates are asked for, but a webhook receives them.
            UnavailableError: Telegram does not respond, or does not know the bot.
        """
        body, kind = json.dumps(dict(parameters)).encode(), "application/json"
        if photo is not None:
            from urllib3 import encode_multipart_formdata

            fields = {
                name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
            }
            body, kind = encode_multipart_formdata({**fields, "photo": ("picture.png", photo, "image/png")})
        answer = self.http.request(
            "POST",
            f"{self.url.rstrip('/')}/bot{self.token}/{method}",
            headers={"Content-Type": kind},
            body=body,
            read=_TIMEOUT + wait,
        )
        document = _document(answer.data)
        if answer.status == 200 and document.get("ok") is True:  # noqa: PLR2004
            return document.get("result")
        raise _refusal(method, answer.status, document)

    def send(self, chat_id: int, text: str, parse_mode: str | None = None) -> None:
        """Send a message. One whose markup is invalid is sent as plain text.

        `text` is cut to what Telegram accepts only if it has no markup; one with markup must fit.
        """
        sent = text if parse_mode else shortened(text, LONGEST_TEXT)
        plain = {"chat_id": chat_id, "link_preview_options": {"is_disabled": True}}
        try:
            self.call("sendMessage", {**plain, "text": sent, **({"parse_mode": parse_mode} if parse_mode else {})})
        except UndeliverableError as error:
            if parse_mode is None or _UNPARSABLE not in str(error).lower():
                raise
            self.call("sendMessage", {**plain, "text": shortened(text, LONGEST_TEXT)})


_UNPARSABLE: Final = "parse entities"


def _document(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(method: str, status: int, document: Mapping[str, Any]) -> Exception:
    code = document.get("error_code", status)
    description = str(document.get("description") or f"status {status}")[:300]
    more = document.get("parameters")
    parameters: Mapping[str, Any] = more if isinstance(more, dict) else {}
    match code:
        case 429:
            pause = pause_of(parameters.get("retry_after"))
            return RateLimitedError("Telegram accepts no further messages for now", retry_after=pause)
        case 400 if isinstance(parameters.get("migrate_to_chat_id"), int):
            return MigratedError(parameters["migrate_to_chat_id"])
        case 400 | 403:
            return UndeliverableError(f"Telegram refuses the message: {description}")
        case 409:
            return ConflictError(
                "Telegram sends messages to a webhook of this bot, so it can't be asked for them; to change that, run: "
                "da admin telegram --polling"
            )
        case 401 | 404:
            return UnavailableError("Telegram does not know the bot; check TELEGRAM_BOT_TOKEN and TELEGRAM_URL")
    return UnavailableError(f"Telegram can't {method}: {description}")


def units(text: str) -> int:
    """Return the length of a text as Telegram counts it: in UTF-16 code units."""
    return len(text) + sum(character > "\uffff" for character in text)


def shortened(text: str, longest: int) -> str:
    """Shorten a text to a number of UTF-16 code units, without cutting a character in two."""
    if units(text) <= longest:
        return text
    length = 0
    for place, character in enumerate(text):
        length += units(character)
        if length >= longest:
            return text[:place] + "…"
    return text


@dataclass(frozen=True, slots=True)
class TelegramChat:
    """Messages to a private chat. `moved` is called with the new id of a chat that has one."""

    api: BotApi
    chat_id: int
    base_url: str | None
    moved: Callable[[int], object] = lambda _chat_id: None
    pictures: Pictures = no_pictures

    def send(self, notifications: Sequence[Notification]) -> None:
        """Send one message, in HTML; Telegram counts its length without the markup."""
        picture = self.pictures(notifications[0]) if len(notifications) == 1 else None
        if picture is None:
            self._send(self._text(notifications, LONGEST_TEXT))
            return
        caption = self._text(notifications, LONGEST_CAPTION)
        photo = {"chat_id": self.chat_id, "caption": caption, "parse_mode": "HTML"}
        try:
            self.api.call("sendPhoto", photo, photo=picture)
        except MigratedError as error:
            self.moved(error.chat_id)
            replace(self, chat_id=error.chat_id).send(notifications)
        except UndeliverableError:  # Telegram accepts neither all sizes nor all proportions; a blocked chat fails again
            self._send(self._text(notifications, LONGEST_TEXT))

    def _text(self, notifications: Sequence[Notification], room: int) -> str:
        parts: list[str] = []
        for number, each in enumerate(notifications):
            head, body = " ".join(each.headline.split()), "\n".join(each.lines)
            if number and units(head) + _LEAST > room:
                parts.append(html.escape(f"and {len(notifications) - number} more", quote=False))
                break
            head = shortened(head, room // 2)
            link = "" if self.base_url is None or each.url is None else self.base_url.rstrip("/") + each.url
            body = shortened(body, room - units(head) - _LEAST)
            room -= units(head) + units(body) + _BETWEEN
            shown = html.escape(head, quote=False)
            title = f'<a href="{html.escape(link)}">{shown}</a>' if link else f"<b>{shown}</b>"
            parts.append("\n".join((title, html.escape(body, quote=False))) if body else title)
        return "\n\n".join(parts)

    def _send(self, text: str) -> None:
        try:
            self.api.send(self.chat_id, text, "HTML")
        except MigratedError as error:
            self.moved(error.chat_id)
            replace(self, chat_id=error.chat_id)._send(text)  # noqa: SLF001


_LEAST: Final = 200
"""Code units that are kept free for what follows a headline."""
_BETWEEN: Final = 3
