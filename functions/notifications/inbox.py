"""The caller's notifications, and what they want to hear of."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from analyst.access import Role
from analyst.auth.limits import Limit
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import Picture, function
from analyst.notifications import inbox, preferences
from analyst.notifications.delivery import deliver_later
from analyst.notifications.inbox import ChannelState, Id, Inbox, PreferencesView
from analyst.notifications.notification import SENT, Channel
from analyst.notifications.outbox import Destination, Outbox
from analyst.notifications.preferences import Changes
from analyst.state.fields import Input, Output

_TESTS: Final = Limit("notification-test", 10, timedelta(hours=1))


class InboxQuery(Input):
    """Which notifications: only `unread` ones, those `before` an id (for the next page), at most `limit`."""

    unread: bool = False
    before: Id | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class MarkRead(Input):
    """What was read: notifications by id, or all up to and including the id `through`."""

    ids: Annotated[tuple[Id, ...], Field(max_length=500)] = ()
    through: Id | None = None


class Unread(Output):
    """The number of unread notifications."""

    unread: int


class TestMessage(Input):
    """The channel to try. `gateway` are the caller's programs that are connected, now or later."""

    channel: Channel


@function("GET", "/api/notifications", allow=Role.VIEWER)
def list_notifications(query: InboxQuery, ctx: Context) -> Inbox:
    """List the caller's notifications of the last 30 days. Tables that the caller can no longer read are omitted."""
    return Inbox.page(
        Outbox(ctx.store),
        ctx.caller,
        ctx.access.current(),
        only_unread=query.unread,
        before=query.before,
        limit=query.limit,
    )


@function("POST", "/api/notifications/read", allow=Role.VIEWER)
def mark_notifications_read(request: MarkRead, ctx: Context) -> Unread:
    """Mark notifications as read. This can't be undone."""
    outbox = Outbox(ctx.store)
    outbox.mark(ctx.user_id, request.ids, through=request.through or "")
    return Unread(unread=Inbox.page(outbox, ctx.caller, ctx.access.current()).unread)


@function(
    "GET",
    "/api/notifications/{id}/picture",
    allow=Role.VIEWER,
    answers={404: "The caller has no such notification, or it has no picture."},
)
def notification_picture(id: Id, ctx: Context) -> Picture:
    """Return the picture of one of the caller's notifications, a PNG."""
    data = Outbox(ctx.store).picture(ctx.user_id, id)
    if data is None:
        raise NotFoundError(f"you have no notification {id!r} with a picture")
    return Picture(data)


@function("GET", "/api/notifications/preferences", allow=Role.VIEWER)
def get_notification_preferences(ctx: Context) -> PreferencesView:
    """Return what the caller is notified of, and where."""
    return PreferencesView.of(ctx.caller, preferences.read(ctx.store, ctx.user_id), ctx.settings)


@function(
    "PUT",
    "/api/notifications/preferences",
    allow=Role.VIEWER,
    answers={422: "The address is not an incoming webhook of Slack."},
    audit="notifications.preferences",
)
def change_notification_preferences(changes: Changes, ctx: Context) -> PreferencesView:
    """Change what the caller is notified of, and where. Omitted fields are not changed."""
    settings, now = ctx.settings, ctx.now
    ctx.audited(changed=sorted(changes.model_fields_set))
    after = preferences.edit(
        ctx.store, ctx.user_id, lambda mine: preferences.changed(mine, changes, settings.slack_url, now)
    )
    return PreferencesView.of(ctx.caller, after, settings)


@function(
    "POST",
    "/api/notifications/test",
    allow=Role.VIEWER,
    status=202,
    answers={422: "The channel is not set up.", 429: "The caller has sent too many test messages."},
)
def send_test_notification(request: TestMessage, ctx: Context) -> ChannelState:
    """Send the caller a test message through a channel. The preferences show afterwards what went wrong."""
    ctx.limits.count(_TESTS, ctx.user_id, ctx.now)
    mine = preferences.read(ctx.store, ctx.user_id)
    state = PreferencesView.of(ctx.caller, mine, ctx.settings).ready(request.channel)
    Outbox(ctx.store).add(ctx.user_id, inbox.test_message(ctx.now), [request.channel])
    if request.channel in SENT:
        deliver_later(ctx.tasks, Destination(request.channel, ctx.user_id))
    return state
