"""The bot of Telegram: its commands, and what links a chat to a person.

A bot can't write first, so a person links a chat from there: by a link of ours, whose one-time code Telegram sends as
`/start <code>`, or by a code of six digits that the bot shows and that the person enters on our pages. Codes are kept
as hashes and end after ten minutes. A chat belongs to one person, and a person has one chat.

Buttons run the person's own scripts. Whoever presses one must be the person that the chat is linked to at that moment,
and the run of an update has an id that is stored before it starts, so an update that comes twice starts one run.
"""

import hashlib
import hmac
import json
import secrets
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst import runs
from analyst.access import AccessList
from analyst.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from analyst.notifications import preferences
from analyst.notifications.channels import UndeliverableError
from analyst.notifications.notification import Notification, caller_of, notification_id
from analyst.notifications.outbox import PREFIX, Destination, Outbox
from analyst.notifications.preferences import Preferences, TelegramLink
from analyst.notifications.telegram import BotApi
from analyst.settings import Settings
from analyst.store import ANY, Store
from analyst.store.compare_and_swap import put_once
from analyst.store.interface import StoreConflictError

_CODES: Final = f"{PREFIX}telegram/codes/"
_CHATS: Final = f"{PREFIX}telegram/chats/"
_UPDATES: Final = f"{PREFIX}telegram/updates/"
OFFSET: Final = f"{PREFIX}telegram/offset.json"
EXPIRING: Final = (_CODES, _UPDATES)
"""Prefixes of what the sweep deletes after a day."""
SECRET: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header
CODE_LASTS: Final = timedelta(minutes=10)
_DIGITS: Final = 6
_SHOWN: Final = 5
_SCRIPTS_SHOWN: Final = 20
ALLOWED_UPDATES: Final = ("message", "callback_query", "my_chat_member")

HELP: Final = (
    "I send you the notifications of {name}.\n\n"
    "/status - what is new, and your scripts with buttons that run them\n"
    "/test - send a report with a picture to this chat\n"
    "/whoami - the account that this chat is linked to\n"
    "/start - link this chat to your account\n"
    "/help - this text\n\n"
    "To choose what you hear of, or to unlink this chat: {base}/notifications"
)


class _Code(BaseModel):
    """A one-time code: of a person who wants to link a chat, or of a chat that wants to be linked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    expires: AwareDatetime
    user_id: str | None = None
    chat_id: int | None = None
    used: bool = False


class _Press(BaseModel):
    """A button that was pressed: the run that it starts, and whether that was handed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    started: bool = False


class _Chat(BaseModel):
    """What is known of a chat: the person it is linked to, and the code that it shows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class OwnScript:
    """A script of the person to whom a chat is linked, and the result of its last run as text."""

    id: str
    name: str
    last: str


@dataclass(frozen=True, slots=True)
class WantedRun:
    """A run of a script that a person has asked for by a button; `key` is where that is noted."""

    script: str
    run_id: str
    user_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bot answers: a message to a chat with `buttons` (texts and data), or a note at the button `pressed`.

    `run` is to be started, and what waits for `send` to be sent.
    """

    chat_id: int
    text: str
    buttons: tuple[tuple[str, str], ...] = ()
    pressed: str | None = None
    run: WantedRun | None = None
    send: Destination | None = None

    def call(self) -> tuple[str, dict[str, Any]]:
        """Return the method of the Bot API, and its parameters."""
        if self.pressed is not None:
            return "answerCallbackQuery", {"callback_query_id": self.pressed, "text": self.text[:_LONGEST_NOTE]}
        rows = [[{"text": text, "callback_data": data}] for text, data in self.buttons]
        markup = {"reply_markup": {"inline_keyboard": rows}} if rows else {}
        return "sendMessage", {"chat_id": self.chat_id, "text": self.text, **markup}


_LONGEST_NOTE: Final = 200


@dataclass(frozen=True, slots=True)
class Links:
    """The chats of people."""

    store: Store

    def code_of_person(self, user_id: str, now: datetime) -> str:
        """Return a one-time code for a link of the bot; it fits into `?start=`."""
        code = secrets.token_urlsafe(24)
        self._add(code, _Code(expires=now + CODE_LASTS, user_id=user_id))
        return code

    def code_of_chat(self, chat_id: int, now: datetime) -> str:
        """Return a one-time code of six digits for a chat; an earlier one of the chat ends."""
        before = self._chat(chat_id)
        if before.code is not None:
            self.store.delete(before.code)
        while True:
            code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
            key = self._add(code, _Code(expires=now + CODE_LASTS, chat_id=chat_id), unless_valid=now)
            if key is not None:
                self._set_chat(chat_id, before.model_copy(update={"code": key}))
                return code

    def link_by_person(self, code: str, user_id: str, now: datetime) -> int:
        """Link a person to the chat that shows this code; return its id.

        Raises:
            NotFoundError: the code is wrong, expired or used.
        """
        found = self._use(code, now)
        if found is None or found.chat_id is None:
            raise NotFoundError("the code is wrong or expired; send /start to the bot for a new one")
        self._link(user_id, found.chat_id, now)
        return found.chat_id

    def link_by_chat(self, code: str, chat_id: int, now: datetime) -> str | None:
        """Link a chat to the person who was given this code; return their id, or `None` if it is not valid."""
        found = self._use(code, now)
        if found is None or found.user_id is None:
            return None
        self._link(found.user_id, chat_id, now)
        return found.user_id

    def unlink(self, user_id: str) -> None:
        """Unlink a person's chat, if there is one."""
        before: list[TelegramLink] = []

        def without(mine: Preferences) -> Preferences:
            before.extend([mine.telegram] if mine.telegram else [])
            return mine.model_copy(update={"telegram": None})

        preferences.edit(self.store, user_id, without)
        for link in before[-1:]:
            self.store.delete(_chat_key(link.chat_id))

    def person_of(self, chat_id: int) -> str | None:
        """Return the id of the person that a chat is linked to: both sides must say so."""
        user_id = self._chat(chat_id).user_id
        if user_id is None:
            return None
        link = preferences.read(self.store, user_id).telegram
        return user_id if link is not None and link.chat_id == chat_id else None

    def move(self, user_id: str, chat_id: int) -> None:
        """Note that a person's chat has another id now."""
        link = preferences.read(self.store, user_id).telegram
        if link is not None:
            self._set_chat(chat_id, _Chat(user_id=user_id))
            moved = link.model_copy(update={"chat_id": chat_id})
            preferences.edit(self.store, user_id, lambda mine: mine.model_copy(update={"telegram": moved}))
            self.store.delete(_chat_key(link.chat_id))

    def _link(self, user_id: str, chat_id: int, now: datetime) -> None:
        other = self.person_of(chat_id)
        if other is not None and other != user_id:
            self.unlink(other)
        link = TelegramLink(chat_id=chat_id, linked_at=now)
        before = preferences.read(self.store, user_id).telegram
        self._set_chat(chat_id, _Chat(user_id=user_id))
        preferences.edit(self.store, user_id, lambda mine: mine.model_copy(update={"telegram": link}))
        if before is not None and before.chat_id != chat_id:
            self.store.delete(_chat_key(before.chat_id))

    def _add(self, code: str, content: _Code, unless_valid: datetime | None = None) -> str | None:
        key, data = _code_key(code), content.model_dump_json().encode()
        existing = self.store.read(key) if unless_valid is not None else None
        if existing is None:
            return key if put_once(self.store, key, data) else None
        old = _parsed_code(existing.data)
        if unless_valid is not None and old is not None and not old.used and old.expires > unless_valid:
            return None  # another chat shows this code
        return key if put_once(self.store, key, data, if_version=existing.version) else None

    def _use(self, code: str, now: datetime) -> _Code | None:
        """Use up a code; the swap decides between two who try at the same time."""
        if not 0 < len(code) <= 64:  # noqa: PLR2004 - Telegram's own limit
            return None
        found = self.store.read(_code_key(code))
        content = None if found is None else _parsed_code(found.data)
        if found is None or content is None or content.used or content.expires <= now:
            return None
        used = content.model_copy(update={"used": True}).model_dump_json().encode()
        try:
            self.store.put(_code_key(code), used, if_version=found.version)
        except StoreConflictError:
            return None
        return content

    def _chat(self, chat_id: int) -> _Chat:
        found = self.store.read(_chat_key(chat_id))
        try:
            return _Chat() if found is None else _Chat.model_validate_json(found.data)
        except ValidationError:
            return _Chat()

    def _set_chat(self, chat_id: int, chat: _Chat) -> None:
        # Unconditional: the preferences of the person have the last word, see person_of.
        self.store.put(_chat_key(chat_id), chat.model_dump_json(exclude_none=True).encode(), if_version=ANY)


def _code_key(code: str) -> str:
    return f"{_CODES}{hashlib.sha256(code.encode(errors='replace')).hexdigest()}.json"


def _chat_key(chat_id: int) -> str:
    return f"{_CHATS}{chat_id}.json"


def _parsed_code(data: bytes) -> _Code | None:
    try:
        return _Code.model_validate_json(data)
    except ValidationError:
        return None


def webhook_secret(settings: Settings) -> str:
    """Return what Telegram sends with every update, so that nobody else can: derived from the token of the bot.

    Raises:
        ConflictError: there is no bot.
    """
    if settings.telegram_bot_token is None:
        raise ConflictError("updates of Telegram are not accepted because TELEGRAM_BOT_TOKEN is not set")
    token = settings.telegram_bot_token.get_secret_value()
    return hmac.new(token.encode(), b"webhook of AI Data Analyst", hashlib.sha256).hexdigest()


def require_secret(given: str | None, settings: Settings) -> None:
    """Check that an update has the secret that Telegram was told with `setWebhook`.

    Raises:
        UnauthenticatedError: it is missing or wrong.
        ConflictError: there is no bot.
    """
    if not hmac.compare_digest((given or "").encode(), webhook_secret(settings).encode()):
        raise UnauthenticatedError(f"the update is not from Telegram: {SECRET} is missing or wrong")


def read_update(body: bytes) -> Mapping[str, Any]:
    """Return an update; an empty one if it is not an object.

    Raises:
        InvalidInputError: it is not JSON.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise InvalidInputError("the update is not JSON") from error
    return found if isinstance(found, dict) else {}


def set_webhook(api: BotApi, url: str, settings: Settings) -> None:
    """Have Telegram send messages to the bot to an address of this server.

    Raises:
        InvalidInputError: Telegram does not accept the address.
    """
    secret = webhook_secret(settings)
    try:
        api.call("setWebhook", {"url": url, "secret_token": secret, "allowed_updates": list(ALLOWED_UPDATES)})
    except UndeliverableError as error:
        raise InvalidInputError(
            f"Telegram does not accept {url!r}, the address that follows from BASE_URL: {error}"
        ) from error


def welcome(user_id: str, chat_id: int, now: datetime) -> Notification:
    """Return the first notification of a chat that is linked."""
    return Notification(
        id=notification_id(f"welcome {user_id} {chat_id}", now),
        at=now,
        kind="message",
        title="This chat now gets your notifications.",
        url="/notifications",
    )


@dataclass(frozen=True, slots=True)
class Bot:
    """Answers updates. `scripts` returns those that a person may run."""

    store: Store
    settings: Settings
    access: Callable[[], AccessList]
    scripts: Callable[[str], Sequence[OwnScript]] = field(default=lambda _user_id: ())

    def answer(self, update: Mapping[str, Any], now: datetime) -> Reply | None:
        """Answer an update, unless it was answered before: Telegram repeats those whose answer it has missed."""
        number = update.get("update_id")
        if not isinstance(number, int) or isinstance(number, bool):
            return None
        key = f"{_UPDATES}{number}.json"
        if isinstance(query := update.get("callback_query"), Mapping):
            return self._press(query, key, now)
        if self.store.head(key) is not None:
            return None
        reply = self._answer(update, now)
        put_once(self.store, key, b"{}")
        return reply

    def _is_older(self, message: Mapping[str, Any], user_id: str) -> bool:
        """Return whether a person has linked the chat since: updates whose answer was an error arrive again, much later."""
        link, date = preferences.read(self.store, user_id).telegram, message.get("date")
        return link is not None and isinstance(date, int) and date < int(link.linked_at.timestamp())

    def _answer(self, update: Mapping[str, Any], now: datetime) -> Reply | None:
        if _is_blocked(update):
            chat = _chat_of(update["my_chat_member"])
            user_id = None if chat is None else Links(self.store).person_of(chat[0])
            if user_id is not None and not self._is_older(update["my_chat_member"], user_id):
                Links(self.store).unlink(user_id)
            return None
        message = update.get("message")
        chat = _chat_of(message)
        text = message.get("text") if isinstance(message, Mapping) else None
        if chat is None or not isinstance(text, str):
            return None
        chat_id, is_private = chat
        if not is_private:
            is_for_us = text.startswith("/")
            return (
                Reply(chat_id, "I write to private chats only; open one with me and send /start.")
                if is_for_us
                else None
            )
        match text.strip().partition(" ")[0].partition("@")[0].lower():
            case "/status":
                return self._status(chat_id)
            case "/test":
                return self._test(chat_id, update["update_id"], now)
        return Reply(chat_id, self._say(chat_id, text, now))

    def _press(self, query: Mapping[str, Any], key: str, now: datetime) -> Reply | None:
        """Answer a button, which any person may press who was ever sent it, and whose data any client may make up."""
        chat, pressed, sender = _chat_of(query.get("message")), query.get("id"), query.get("from")
        if chat is None or not isinstance(pressed, str):
            return None
        chat_id, is_private = chat
        user_id = (
            self._person(chat_id)
            if is_private and isinstance(sender, Mapping) and sender.get("id") == chat_id
            else None
        )
        if user_id is None:
            return Reply(chat_id, _UNLINKED, pressed=pressed)
        data = query.get("data")
        wanted = data.removeprefix(_RUN) if isinstance(data, str) and data.startswith(_RUN) else None
        script = next((each for each in self.scripts(user_id) if each.id == wanted), None)
        if script is None:
            return Reply(
                chat_id, "You can't run this script any more; /status lists those that you can.", pressed=pressed
            )
        wanted_run = _Press(run_id=runs.new_run_id(now))
        put_once(self.store, key, wanted_run.model_dump_json().encode())  # first: another attempt starts the same run
        found = self.store.read(key)
        before = wanted_run if found is None else _Press.model_validate_json(found.data)
        run = None if before.started else WantedRun(script.id, before.run_id, user_id, key)
        return Reply(chat_id, f"{script.name} starts in a moment.", pressed=pressed, run=run)

    def started(self, run: WantedRun) -> None:
        """Note that a run was started, so that its update does not start it again."""
        self.store.put(run.key, _Press(run_id=run.run_id, started=True).model_dump_json().encode(), if_version=ANY)

    def _test(self, chat_id: int, number: int, now: datetime) -> Reply:
        user_id = self._person(chat_id)
        if user_id is None:
            return Reply(chat_id, _UNLINKED)
        report = Notification(
            id=notification_id(f"test {chat_id} {number}", now),
            at=now,
            kind="message",
            title="A test report",
            text="This is how a script of yours reports to you, with a picture.",
            url="/notifications",
            picture=True,
        )
        outbox = Outbox(self.store)
        outbox.keep_picture(user_id, report.id, bar_chart(_BARS))
        outbox.add(user_id, report, ["telegram"])
        return Reply(chat_id, "A test report is on its way.", send=Destination("telegram", user_id))

    def _say(self, chat_id: int, text: str, now: datetime) -> str:
        command, _, rest = text.strip().partition(" ")
        match command.partition("@")[0].lower():
            case "/start":
                return self._start(chat_id, rest.strip(), now)
            case "/whoami":
                return self._whoami(chat_id)
            case "/help":
                return HELP.format(name=self.settings.instance_name, base=self._base)
        return "I only know commands; /help lists them."

    def _start(self, chat_id: int, code: str, now: datetime) -> str:
        links = Links(self.store)
        if code:
            user_id = links.link_by_chat(code, chat_id, now)
            if user_id is None:
                return f"This link is expired or was used before. For a new one, open {self._base}/notifications"
            return f"This chat is linked to {self._email(user_id)}. /help lists what I can do."
        user_id = self._person(chat_id)
        if user_id is not None:
            return f"This chat is already linked to {self._email(user_id)}. /help lists what I can do."
        shown = links.code_of_chat(chat_id, now)
        minutes = int(CODE_LASTS.total_seconds() // 60)
        return f"Your code is {shown}. Enter it on {self._base}/notifications within {minutes} minutes."

    def _whoami(self, chat_id: int) -> str:
        user_id = self._person(chat_id)
        if user_id is None:
            return _UNLINKED
        user = self.access().users[user_id]
        return f"You are {user.email}, with the role {user.role.value}."

    def _status(self, chat_id: int) -> Reply:
        user_id = self._person(chat_id)
        if user_id is None:
            return Reply(chat_id, _UNLINKED)
        scripts = self.scripts(user_id)
        listed = [f"- {each.name}: {each.last}" for each in scripts[:_SCRIPTS_SHOWN]]
        more = [f"and {len(scripts) - _SCRIPTS_SHOWN} more"] if len(scripts) > _SCRIPTS_SHOWN else []
        parts = [self._unread(user_id), *(["\n".join(("Your scripts:", *listed, *more))] if listed else [])]
        buttons = tuple((f"Run {each.name}", f"{_RUN}{each.id}") for each in scripts[:_SCRIPTS_SHOWN])
        return Reply(chat_id, "\n\n".join(parts), buttons)

    def _unread(self, user_id: str) -> str:
        access = self.access()
        shown = Outbox(self.store).inbox(caller_of(access, user_id), access)
        unread = [each.notification for each in shown if not each.read]
        if not unread:
            return "There is nothing new."
        lines = [f"- {each.headline}" for each in unread[:_SHOWN]]
        more = [f"and {len(unread) - _SHOWN} more"] if len(unread) > _SHOWN else []
        return "\n".join((f"{len(unread)} unread:", *lines, *more, f"{self._base}/notifications"))

    def _person(self, chat_id: int) -> str | None:
        """Return the active user that a chat belongs to."""
        user_id = Links(self.store).person_of(chat_id)
        return user_id if user_id in self.access().users else None

    def _email(self, user_id: str) -> str:
        user = self.access().users.get(user_id)
        return "an account that is not active" if user is None else user.email

    @property
    def _base(self) -> str:
        return (self.settings.base_url or "").rstrip("/")


_RUN: Final = "run:"
_BARS: Final = (3, 5, 4, 8, 6, 9, 12)


def bar_chart(values: Sequence[int], *, bar: int = 48, unit: int = 20) -> bytes:
    """Draw bars as a PNG, in gray: without a package for pictures, which the functions do not have."""
    height, gap = unit * (max(values) + 1), bar // 4
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for value in values:
            shade = 90 if height - y <= unit * value else 255
            rows += bytes([255] * gap + [shade] * bar)
        rows += bytes([255] * gap)
    width = len(values) * (bar + gap) + gap

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    )


_UNLINKED: Final = "This chat is not linked to an account; send /start to link it."


def _chat_of(message: object) -> tuple[int, bool] | None:
    """Return the id of the chat of a message, and whether it is private."""
    chat = message.get("chat") if isinstance(message, Mapping) else None
    chat_id = chat.get("id") if isinstance(chat, Mapping) else None
    if not isinstance(chat, Mapping) or not isinstance(chat_id, int) or isinstance(chat_id, bool):
        return None
    return chat_id, chat.get("type") == "private"


def _is_blocked(update: Mapping[str, Any]) -> bool:
    member = update.get("my_chat_member")
    status = member.get("new_chat_member") if isinstance(member, Mapping) else None
    return isinstance(status, Mapping) and status.get("status") == "kicked"


def offset_after(store: Store) -> int | None:
    """Return the number from which on updates have not been answered yet; `None` at first."""
    found = store.read(OFFSET)
    try:
        return None if found is None else int(json.loads(found.data)["offset"])
    except (ValueError, KeyError, TypeError):
        return None


def keep_offset(store: Store, offset: int) -> None:
    """Remember that all updates before a number are answered. Only one poll runs at a time."""
    store.put(OFFSET, json.dumps({"offset": offset}).encode(), if_version=ANY)
