"""Server-sent events: the caller's notifications, as they come."""

import time
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import Text, function
from analyst.notifications import event_stream
from analyst.notifications.event_stream import Position, Waiting
from analyst.notifications.inbox import InboxNotification
from analyst.notifications.outbox import Outbox
from analyst.state.fields import Input
from functions.notifications.inbox import Unread

_LOOK_EVERY: Final = 2.0
_AGAIN: Final = 1.0
_AGAIN_IF_FULL: Final = 10.0
_TYPE: Final = "text/event-stream; charset=utf-8"


class StreamQuery(Input):
    """How many seconds to `wait` for an event, and the id of the last one (`after`), which `Last-Event-ID` overrides.

    While it waits, the inbox is read every `every` seconds, which costs a request to the bucket each time.
    """

    wait: Annotated[float, Field(ge=0, le=25)] = 20
    every: Annotated[float, Field(ge=_LOOK_EVERY, le=25)] = _LOOK_EVERY
    after: Annotated[str, Field(max_length=1000)] = ""


@function("GET", "/api/notifications/stream", allow=Role.VIEWER)
def stream_notifications(query: StreamQuery, ctx: Context) -> Text:
    """Return the caller's new notifications as server-sent events, for `EventSource` in browsers.

    The first answer is an event `ready` with the number of unread notifications. Each later answer has an event
    `notification` for each new notification, or ends after `wait` seconds. The browser reconnects by itself. Every
    notification is sent at least once; those with the same `id` are the same.
    """
    inbox = _Stream(ctx, Outbox(ctx.store), ctx.user_id)
    position = Position.parse(ctx.request.headers.get("Last-Event-ID", "") or query.after)
    if position is None:
        return _text([inbox.ready()], again_after=_AGAIN)
    may_wait = query.wait > 0 and ctx.request.method == "GET"
    with ctx.process.kept("waiting for events", Waiting).place(wanted=may_wait) as waits:
        ends = time.monotonic() + (query.wait if waits else 0)
        while not (events := inbox.since(position)):
            left = ends - time.monotonic()
            if left <= 0 or ctx.is_client_gone() or ctx.process.stopping.wait(min(left, query.every)):
                break
    return _text(events, again_after=_AGAIN if waits or events else _AGAIN_IF_FULL)


@dataclass(frozen=True, slots=True)
class _Stream:
    """The inbox of a person, as events."""

    ctx: Context
    outbox: Outbox
    person: str

    def ready(self) -> str:
        """Return the event that begins a stream: it has the position after all that is there."""
        position = Position.at_end(self.outbox.added(self.person, self.ctx.process.clock()), self.ctx.process.clock())
        unread = sum(not each.read for each in self.outbox.inbox(self.ctx.caller, self.ctx.access.current()))
        return event_stream.event("ready", Unread(unread=unread).model_dump_json(), position)

    def since(self, position: Position) -> list[str]:
        """Return the events after a position: of each notification, what the person may see now.

        The last event has the next position. A reader that gets only a part of an answer gets that part again.
        """
        added = self.outbox.added(self.person, self.ctx.process.clock())
        new = position.new(added)
        found = self.outbox.shown(self.ctx.caller, [each.id for each in new], self.ctx.access.current()) if new else []
        texts = [InboxNotification.of(each).model_dump_json() for each in found if not each.read]
        last = position.after(added)
        return [
            event_stream.event("notification", text, last if number == len(texts) else None)
            for number, text in enumerate(texts, 1)
        ]


def _text(events: list[str], *, again_after: float) -> Text:
    text = event_stream.answer(events, again_after=again_after)
    return Text(text, _TYPE, {"Cache-Control": "no-store"})
