"""Finding and sending notifications, and asking for messages to the bot: by tasks that may run twice."""

from contextlib import suppress
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from analyst import automation
from analyst.context import Context
from analyst.http import Allow, function
from analyst.notifications.channels import UndeliverableError
from analyst.notifications.collection import Collection, World
from analyst.notifications.delivery import Delivered, Delivery, deliver_later
from analyst.notifications.outbox import Destination
from analyst.notifications.telegram import BotApi
from analyst.notifications.telegram_bot import ALLOWED_UPDATES, keep_offset, offset_after
from analyst.state.fields import Input, Output
from analyst.usage import Counting
from functions.notifications.telegram_chats import chat

_WAIT: Final = 10.0


class Deliver(Input):
    """A channel of a user, for which something waits."""

    channel: Literal["email", "telegram", "slack"]
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


class Polled(Output):
    """The number of messages that were answered."""

    updates: Annotated[int, Field(ge=0)]


class CollectAnswer(Output):
    """The number of events that were found, and of people's channels with waiting notifications."""

    events: int
    channels: int


@function("POST", "/notifications/collect", allow=Allow.SERVICE)
def collect_notifications(ctx: Context) -> CollectAnswer:
    """Find events since the last call, put notifications into the outbox, and send them. Extra calls are harmless."""
    settings = ctx.settings
    Counting(ctx.store, ctx.clock, settings.memory_limit, settings.scratch_dir).update()
    with ctx.state.read() as db:
        world = World.read(db, settings.sync_schedule)
    access = ctx.access.refresh()
    found = Collection(ctx.store, settings, ctx.now, world, access, ctx.texts.current()).collect()
    deliver_later(ctx.tasks, *found.to_send)
    return CollectAnswer(events=found.events, channels=len(found.to_send))


@function("POST", "/notifications/deliver", allow=Allow.SERVICE)
def deliver_notifications(request: Deliver, ctx: Context) -> Delivered:
    """Send what waits for a channel of a user. If the service asks for a pause, the rest is sent later."""
    to = Destination(request.channel, request.user)
    done = Delivery(ctx.store, ctx.settings, ctx.process.http, ctx.access.current).send(to)
    if done.retry_after is not None:
        deliver_later(ctx.tasks, to, delay=done.retry_after)
    return done


@function("POST", "/telegram/poll", allow=Allow.SERVICE, answers={409: "There is no bot, or messages go to a webhook."})
def poll_telegram(ctx: Context) -> Polled:
    """Fetch messages to the bot from Telegram, and answer them: for servers that Telegram can't reach."""
    if automation.paused(ctx.store) is not None:  # the messages are for the original
        return Polled(updates=0)
    api = BotApi.of(ctx.settings, ctx.process.http)
    offset = offset_after(ctx.store)
    start = {} if offset is None else {"offset": offset}
    wanted = {"timeout": int(_WAIT), "allowed_updates": list(ALLOWED_UPDATES), **start}
    updates = api.call("getUpdates", wanted, wait=_WAIT)
    for update in updates:
        reply = chat(ctx).answer(update, ctx.now)
        if reply is not None:
            with suppress(UndeliverableError):  # they have blocked the bot meanwhile, or pressed a button long ago
                api.call(*reply.call())
        keep_offset(ctx.store, int(update["update_id"]) + 1)
    return Polled(updates=len(updates))
