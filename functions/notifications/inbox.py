"""The caller's notifications, and what they want to hear of."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from ulid import ULID

from analyst.access import Role
from analyst.auth.limits import Limit
from analyst.context import Context
from analyst.errors import InvalidInputError, NotFoundError
from analyst.http import Picture, function
from analyst.notifications import preferences
from analyst.notifications.delivery import reachable
from analyst.notifications.notification import KINDS, SENT, Channel, Item, Kind, Notification
from analyst.notifications.outbox import Destination, Outbox, Shown
from analyst.notifications.preferences import Changes, Preferences

_TESTS: Final = Limit("notification-test", 10, timedelta(hours=1))
_ID: Final = r"^[0-9A-HJKMNP-TV-Z]{26}$"
Id = Annotated[str, Field(pattern=_ID)]


class InboxQuery(BaseModel):
    """Which notifications: only `unread` ones, those `before` an id (for the next page), at most `limit`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unread: bool = False
    before: Id | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class InboxNotification(BaseModel):
    """A notification. `title` is one line; `items` are the tables that it is about; `url` is a path of the pages.

    `picture` is the path of its picture in the API, if it has one; `script` names the script that it comes from.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    at: datetime
    kind: Kind
    title: str
    text: str
    items: tuple[Item, ...]
    url: str | None
    read: bool
    script: str | None = None
    picture: str | None = None


class Inbox(BaseModel):
    """Notifications, newest first. `unread` counts all; `next` is the `before` of the next page."""

    model_config = ConfigDict(frozen=True)

    notifications: tuple[InboxNotification, ...]
    unread: int
    next: str | None = None


class MarkRead(BaseModel):
    """What was read: notifications by id, or all up to and including the id `through`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: Annotated[tuple[Id, ...], Field(max_length=500)] = ()
    through: Id | None = None


class Unread(BaseModel):
    """The number of unread notifications."""

    model_config = ConfigDict(frozen=True)

    unread: int


class KindChoice(BaseModel):
    """A kind of notifications, and the channels in which the caller gets it."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    about: str
    channels: tuple[Channel, ...]


class ChannelState(BaseModel):
    """A channel: whether it reaches the caller, where (`address`), and what is wrong with it."""

    model_config = ConfigDict(frozen=True)

    channel: Channel
    ready: bool
    address: str | None = None
    problem: str | None = None


class PreferencesView(BaseModel):
    """What the caller hears of, and where. Secrets of channels are not shown."""

    model_config = ConfigDict(frozen=True)

    kinds: tuple[KindChoice, ...]
    channels: tuple[ChannelState, ...]
    watch: tuple[str, ...]
    mute: tuple[str, ...]


class TestMessage(BaseModel):
    """The channel to try. `gateway` are the caller's programs that are connected, now or later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: Channel


@function("GET", "/api/notifications", allow=Role.VIEWER)
def list_notifications(query: InboxQuery, ctx: Context) -> Inbox:
    """List the caller's notifications of the last 30 days. Of tables that the caller can't read any more, nothing is said."""
    everything = Outbox(ctx.store).inbox(ctx.caller, ctx.access.current())
    found = [
        each
        for each in everything
        if not (query.unread and each.read) and (query.before is None or each.notification.id < query.before)
    ]
    page = found[: query.limit]
    return Inbox(
        notifications=tuple(map(shown, page)),
        unread=sum(not each.read for each in everything),
        next=page[-1].notification.id if len(found) > len(page) else None,
    )


@function("POST", "/api/notifications/read", allow=Role.VIEWER)
def mark_notifications_read(request: MarkRead, ctx: Context) -> Unread:
    """Mark notifications as read. It can't be undone."""
    outbox, person = Outbox(ctx.store), ctx.user_id
    outbox.mark(person, request.ids, through=request.through or "")
    return Unread(unread=sum(not each.read for each in outbox.inbox(ctx.caller, ctx.access.current())))


class PictureOf(BaseModel):
    """The id of a notification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Id


@function(
    "GET",
    "/api/notifications/{id}/picture",
    allow=Role.VIEWER,
    answers={404: "The caller has no such notification, or it has no picture."},
)
def notification_picture(request: PictureOf, ctx: Context) -> Picture:
    """Return the picture of one of the caller's notifications, a PNG."""
    data = Outbox(ctx.store).picture(ctx.user_id, request.id)
    if data is None:
        raise NotFoundError(f"you have no notification {request.id!r} with a picture")
    return Picture(data)


@function("GET", "/api/notifications/preferences", allow=Role.VIEWER)
def get_notification_preferences(ctx: Context) -> PreferencesView:
    """Return what the caller hears of, and where."""
    return _preferences(ctx, preferences.read(ctx.store, ctx.user_id))


@function(
    "PUT",
    "/api/notifications/preferences",
    allow=Role.VIEWER,
    answers={422: "The address is not an incoming webhook of Slack."},
    audit="notifications.preferences",
)
def change_notification_preferences(changes: Changes, ctx: Context) -> PreferencesView:
    """Change what the caller hears of, and where; what is not given stays."""
    settings, now = ctx.settings, ctx.now
    ctx.audited(changed=sorted(changes.model_fields_set))
    after = preferences.edit(
        ctx.store, ctx.user_id, lambda mine: preferences.changed(mine, changes, settings.slack_url, now)
    )
    return _preferences(ctx, after)


@function(
    "POST",
    "/api/notifications/test",
    allow=Role.VIEWER,
    status=202,
    answers={422: "The channel is not set up.", 429: "The caller has sent too many test messages."},
)
def send_test_notification(request: TestMessage, ctx: Context) -> ChannelState:
    """Send the caller a test message through a channel. What goes wrong is shown in the preferences afterwards."""
    ctx.limits.count(_TESTS, ctx.user_id, ctx.now)
    view = _preferences(ctx, preferences.read(ctx.store, ctx.user_id))
    state = next(each for each in view.channels if each.channel == request.channel)
    if not state.ready:
        raise InvalidInputError(
            f"no test message can be sent because the channel {request.channel!r} is not ready: "
            f"{state.problem or 'it is not set up'}; see your notification preferences"
        )
    text = "This is a test message."
    made = Notification(
        id=str(ULID.from_datetime(ctx.now)), at=ctx.now, kind="message", title=text, url="/notifications"
    )
    outbox = Outbox(ctx.store)
    outbox.add(ctx.user_id, made, [request.channel])
    if request.channel in SENT:
        deliver_later(ctx, Destination(request.channel, ctx.user_id))
    return state


def deliver_later(ctx: Context, *places: Destination, delay: float = 0.0) -> None:
    """Have what waits for channels of people sent after this answer.

    Raises:
        UnavailableError: tasks can't be added; the next collection finds what waits.
    """
    for each in places:
        body = {"channel": each.channel, "user": each.user_id}
        ctx.tasks.enqueue("/notifications/deliver", body, name=f"notify {each.channel} {each.user_id}", delay=delay)


def shown(each: Shown) -> InboxNotification:
    """Return a notification as the API shows it."""
    it = each.notification
    return InboxNotification(
        id=it.id,
        at=it.at,
        kind=it.kind,
        title=it.headline,
        text=it.text,
        items=it.items,
        url=it.url,
        read=each.read,
        script=it.script,
        picture=f"/api/notifications/{it.id}/picture" if it.picture else None,
    )


def _preferences(ctx: Context, mine: Preferences) -> PreferencesView:
    caller, settings = ctx.caller, ctx.settings
    ready = reachable(settings, mine)
    no_mail = None if "email" in ready else "this server sends no mail"
    no_bot = None if settings.telegram_bot_token is not None else "this server has no bot of Telegram"
    telegram, slack = mine.telegram, mine.slack
    return PreferencesView(
        kinds=tuple(
            KindChoice(kind=kind, about=info.about, channels=mine.channels(kind))
            for kind, info in KINDS.items()
            if kind != "message" and caller.includes(info.role)
        ),
        channels=(
            ChannelState(channel="page", ready=True),
            ChannelState(channel="gateway", ready=True),
            ChannelState(channel="email", ready="email" in ready, address=caller.email, problem=no_mail),
            ChannelState(
                channel="telegram",
                ready="telegram" in ready,
                address=None if telegram is None else f"chat {telegram.chat_id}",
                problem=no_bot or (telegram and telegram.problem),
            ),
            ChannelState(
                channel="slack", ready="slack" in ready, address=slack and slack.shown, problem=slack and slack.problem
            ),
        ),
        watch=mine.watch,
        mute=mine.mute,
    )
