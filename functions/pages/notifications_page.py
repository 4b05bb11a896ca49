"""The page of notifications: the inbox, what one hears of, and the channels."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask, refused
from analyst.notifications.inbox import Id
from analyst.notifications.notification import CHANNELS, Channel
from functions.notifications import inbox, telegram_chats

_NAMES: Final = {"page": "Inbox", "gateway": "Programs", "email": "E-mail", "telegram": "Telegram", "slack": "Slack"}
_DONE: Final = {
    "saved": "Your choices were saved.",
    "linked": "The channel is set up.",
    "removed": "The channel was removed.",
    "sent": "A test message is on its way.",
}
Choice = Annotated[tuple[Channel, ...], Field(max_length=len(CHANNELS))]
Lines = Annotated[str, StringConstraints(max_length=20_000)]


class NotificationsQuery(Form):
    """The page of the inbox, and the change that led to it."""

    before: Id | None = None
    done: Literal["saved", "linked", "removed", "sent"] | None = None


class ReadForm(Form):
    """The newest notification that the page showed."""

    through: Id


class KindsForm(Form):
    """The channels of each kind, and tables to watch and to mute, one per line."""

    table_failed: Choice = ()
    table_stale: Choice = ()
    expectation_failed: Choice = ()
    source_failed: Choice = ()
    request_answered: Choice = ()
    request_received: Choice = ()
    memory_review: Choice = ()
    memory_decided: Choice = ()
    memory_approved: Choice = ()
    script: Choice = ()
    script_failed: Choice = ()
    watch: Lines = ""
    mute: Lines = ""


class ChannelForm(Form):
    """What to do with a channel; `value` is the address of a webhook, or a code."""

    channel: Literal["gateway", "email", "telegram", "slack"]
    action: Literal["set", "remove", "test", "invite"]
    value: Annotated[SecretStr, Field(max_length=500)] = SecretStr("")


@function("GET", "/notifications", allow=Role.VIEWER)
def notifications_page(query: NotificationsQuery, ctx: Context) -> View:
    """Show the caller's notifications, and what they hear of."""
    return _page(ctx, before=query.before, done=_DONE.get(query.done or ""))


@function("POST", "/notifications/read", allow=Role.VIEWER)
def read_notifications_form(form: ReadForm, ctx: Context) -> View | Redirect:
    """Mark all notifications that the page showed as read."""
    ask(ctx, inbox.mark_notifications_read, through=form.through)
    return Redirect("/notifications", 303)


@function("POST", "/notifications/kinds", allow=Role.VIEWER)
def choose_notifications_form(form: KindsForm, ctx: Context) -> View | Redirect:
    """Save what the caller hears of."""
    offered = [each.kind for each in ask(ctx, inbox.get_notification_preferences).kinds]
    kinds = {kind: getattr(form, kind) for kind in offered}
    try:
        ask(
            ctx,
            inbox.change_notification_preferences,
            kinds=kinds,
            watch=tuple(form.watch.split()),
            mute=tuple(form.mute.split()),
        )
    except InvalidInputError as error:
        return refused(_page(ctx), error)
    return Redirect("/notifications?done=saved", 303)


@function("POST", "/notifications/channels", allow=Role.VIEWER)
def change_channel_form(form: ChannelForm, ctx: Context) -> View | Redirect:
    """Set up, remove or try a channel of the caller."""
    try:
        if form.action == "invite":
            return _page(ctx, invitation=ask(ctx, telegram_chats.invite_to_telegram).url)
        done = _change(form, ctx)
    except AnalystError as error:
        return refused(_page(ctx), error)
    return Redirect(f"/notifications?done={done}", 303)


def _change(form: ChannelForm, ctx: Context) -> str:
    """Make a change; return what the page then says."""
    match form.action, form.channel:
        case "test", channel:
            ask(ctx, inbox.send_test_notification, channel=channel)
            return "sent"
        case "set", "telegram":
            ask(ctx, telegram_chats.verify_telegram_code, code=form.value.get_secret_value())
            return "linked"
        case "remove", "telegram":
            ask(ctx, telegram_chats.unlink_telegram)
            return "removed"
        case action, "slack":
            ask(
                ctx,
                inbox.change_notification_preferences,
                slack=form.value.get_secret_value() if action == "set" else "",
            )
            return "linked" if action == "set" else "removed"
    raise InvalidInputError(f"the channel {form.channel!r} can't be changed this way; it needs no setup")


def _page(ctx: Context, *, before: str | None = None, **values: Any) -> View:
    found = ask(ctx, inbox.list_notifications, before=before)
    data = {
        "notifications": found.notifications,
        "unread": found.unread,
        "next": found.next,
        "preferences": ask(ctx, inbox.get_notification_preferences),
    }
    extras = {
        "names": _NAMES,
        "can_telegram": ctx.settings.telegram_bot_token is not None,
        "invitation": None,
        **values,
    }
    return View("notifications.html", "Notifications", data, extras, "/notifications")
