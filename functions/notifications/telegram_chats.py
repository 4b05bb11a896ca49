"""The bot of Telegram: linking a chat, and the messages that people send to it."""

import json
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import StringConstraints

from analyst.access import Role
from analyst.auth.limits import Limit
from analyst.context import Context
from analyst.http import Allow, Text, function
from analyst.notifications import preferences
from analyst.notifications.delivery import deliver_later
from analyst.notifications.outbox import Destination, Outbox
from analyst.notifications.telegram import BotApi
from analyst.notifications.telegram_bot import (
    CODE_LASTS,
    SECRET,
    Links,
    read_update,
    require_secret,
    set_webhook,
    welcome,
)
from analyst.scripts.chat import ScriptChat
from analyst.state.fields import Input, Output

_LARGEST_UPDATE: Final = 1 << 20
_TRIED: Final = Limit("telegram-code", 10, timedelta(hours=1))
"""Codes that a user may try: there are a million."""
_ASKED: Final = Limit("telegram-link", 30, timedelta(hours=1))
_PATH: Final = "/webhooks/telegram"


class Verification(Input):
    """The code that the bot shows."""

    code: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\s*[0-9]{6}\s*$")]


class TelegramLinked(Output):
    """The linked chat."""

    status: Literal["linked"] = "linked"
    chat_id: int


class TelegramUnlinked(Output):
    """No chat is linked now."""

    status: Literal["unlinked"] = "unlinked"


class TelegramStatus(Output):
    """Whether a chat is linked. `problem` says why it gets nothing."""

    linked: bool
    chat_id: int | None = None
    linked_at: datetime | None = None
    problem: str | None = None


class TelegramInvitation(Output):
    """A link that opens the bot in Telegram and links that chat; it works once, for `expires_in` seconds."""

    url: str
    expires_in: int


class WebhookChoice(Input):
    """Whether Telegram sends messages to this server."""

    enabled: bool = True


class WebhookState(Output):
    """The bot, and where Telegram sends its messages (null: nowhere, so they are fetched)."""

    bot: str
    url: str | None


@function(
    "POST",
    "/api/telegram/link",
    allow=Role.VIEWER,
    answers={409: "There is no bot.", 429: "The caller has asked for too many links."},
    audit="telegram.link",
)
def invite_to_telegram(ctx: Context) -> TelegramInvitation:
    """Return a link that opens the bot, and links the chat in which it is opened to the caller."""
    ctx.limits.count(_ASKED, ctx.user_id, ctx.now)
    name = _bot(ctx).call("getMe")["username"]
    code = Links(ctx.store).code_of_person(ctx.user_id, ctx.now)
    return TelegramInvitation(url=f"https://t.me/{name}?start={code}", expires_in=int(CODE_LASTS.total_seconds()))


@function(
    "POST",
    "/api/telegram/verify",
    allow=Role.VIEWER,
    answers={404: "The code is wrong or expired.", 429: "The caller has tried too many codes."},
    audit="telegram.link",
)
def verify_telegram_code(request: Verification, ctx: Context) -> TelegramLinked:
    """Link the chat that shows this code to the caller. The bot shows one after `/start`."""
    ctx.limits.count(_TRIED, ctx.user_id, ctx.now)
    chat_id = Links(ctx.store).link_by_person(request.code.strip(), ctx.user_id, ctx.now)
    Outbox(ctx.store).add(ctx.user_id, welcome(ctx.user_id, chat_id, ctx.now), ["telegram"])
    deliver_later(ctx.tasks, Destination("telegram", ctx.user_id))
    return TelegramLinked(chat_id=chat_id)


@function("POST", "/api/telegram/unlink", allow=Role.VIEWER, audit="telegram.unlink")
def unlink_telegram(ctx: Context) -> TelegramUnlinked:
    """Unlink the caller's chat, if one is linked."""
    Links(ctx.store).unlink(ctx.user_id)
    return TelegramUnlinked()


@function("GET", "/api/telegram/status", allow=Role.VIEWER)
def telegram_status(ctx: Context) -> TelegramStatus:
    """Return whether a chat is linked to the caller."""
    link = preferences.read(ctx.store, ctx.user_id).telegram
    if link is None:
        return TelegramStatus(linked=False)
    return TelegramStatus(linked=True, chat_id=link.chat_id, linked_at=link.linked_at, problem=link.problem)


@function(
    "POST",
    _PATH,
    allow=Allow.ANYBODY,
    body_limit=_LARGEST_UPDATE,
    answers={401: "The secret is wrong.", 409: "There is no bot."},
    binary=True,
    foreign=True,
)
def receive_telegram_update(ctx: Context) -> Text:
    """Answer a message to the bot, in the response, as Telegram allows. The secret comes from `setWebhook`."""
    require_secret(ctx.request.headers.get(SECRET), ctx.settings)
    reply = chat(ctx).answer(read_update(ctx.request.get_data()), ctx.now)
    if reply is None:
        return Text("{}", "application/json")
    method, parameters = reply.call()
    return Text(json.dumps({"method": method, **parameters}), "application/json")


@function(
    "POST",
    "/api/admin/telegram/webhook",
    allow=Role.ADMIN,
    answers={409: "There is no bot.", 422: "Telegram does not accept the address of the server."},
    audit="telegram.webhook",
)
def set_telegram_webhook(request: WebhookChoice, ctx: Context) -> WebhookState:
    """Have Telegram send messages for the bot to this server, or stop that."""
    api = _bot(ctx)
    name = str(api.call("getMe")["username"])
    if not request.enabled:
        api.call("deleteWebhook")
        return WebhookState(bot=name, url=None)
    url = f"{ctx.base_url}{_PATH}"
    set_webhook(api, url, ctx.settings)
    return WebhookState(bot=name, url=url)


def _bot(ctx: Context) -> BotApi:
    return BotApi.of(ctx.settings, ctx.process.http)


def chat(ctx: Context) -> ScriptChat:
    """Return what answers updates of Telegram."""
    return ScriptChat(ctx.store, ctx.settings, ctx.access.current, ctx.limits, ctx.tasks)
