"""Finding and sending notifications, by tasks that may run twice."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from analyst.context import Context
from analyst.http import Allow, function
from analyst.notifications.collection import Collected, Collection, World
from analyst.notifications.delivery import Delivered, Delivery
from analyst.notifications.outbox import Destination
from analyst.usage import Counting
from functions.notifications.inbox import deliver_later


class Deliver(BaseModel):
    """A channel of a user, for which something waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: Literal["email", "telegram", "slack"]
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


class CollectAnswer(BaseModel):
    """The number of events that were found, and of channels of people for which something waits."""

    model_config = ConfigDict(frozen=True)

    events: int
    channels: int


@function("POST", "/notifications/collect", allow=Allow.SERVICE)
def collect_notifications(ctx: Context) -> CollectAnswer:
    """Find what happened since the last call, put notifications into the outbox, and have them sent. Extra calls are harmless."""
    settings = ctx.settings
    Counting(ctx.store, ctx.clock, settings.memory_limit, settings.scratch_dir).update()
    with ctx.state.read() as db:
        world = World.read(db, settings.sync_schedule)
    access = ctx.access.refresh()
    found: Collected = Collection(ctx.store, settings, ctx.now, world, access, ctx.texts.current()).collect()
    deliver_later(ctx, *found.to_send)
    return CollectAnswer(events=found.events, channels=len(found.to_send))


@function("POST", "/notifications/deliver", allow=Allow.SERVICE)
def deliver_notifications(request: Deliver, ctx: Context) -> Delivered:
    """Send what waits for a channel of a user. If the service wants a pause, the rest is sent after it."""
    to = Destination(request.channel, request.user)
    done = Delivery(ctx.store, ctx.settings, ctx.process.http, ctx.access.current).send(to)
    if done.retry_after is not None:
        deliver_later(ctx, to, delay=done.retry_after)
    return done
