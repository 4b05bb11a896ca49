"""A person's inbox and preferences as the API and the pages show them. Secrets of channels are not in them."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from ulid import ULID

from analyst.access import AccessList, Caller
from analyst.errors import InvalidInputError
from analyst.notifications.delivery import reachable
from analyst.notifications.notification import KINDS, Channel, Item, Kind, Notification
from analyst.notifications.outbox import Outbox, Shown
from analyst.notifications.preferences import Preferences
from analyst.settings import Settings

_ID: Final = r"^[0-9A-HJKMNP-TV-Z]{26}$"
Id = Annotated[str, Field(pattern=_ID)]


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

    @classmethod
    def of(cls, shown: Shown) -> "InboxNotification":
        """Return a notification as the API shows it."""
        notification = shown.notification
        return cls(
            id=notification.id,
            at=notification.at,
            kind=notification.kind,
            title=notification.headline,
            text=notification.text,
            items=notification.items,
            url=notification.url,
            read=shown.read,
            script=notification.script,
            picture=f"/api/notifications/{notification.id}/picture" if notification.picture else None,
        )


class Inbox(BaseModel):
    """Notifications, newest first. `unread` counts all unread ones; `next` is the `before` of the next page."""

    model_config = ConfigDict(frozen=True)

    notifications: tuple[InboxNotification, ...]
    unread: int
    next: str | None = None

    @classmethod
    def page(
        cls,
        outbox: Outbox,
        caller: Caller,
        access: AccessList,
        *,
        only_unread: bool = False,
        before: str | None = None,
        limit: int = 50,
    ) -> "Inbox":
        """Return a page of what a person may see now."""
        everything = outbox.inbox(caller, access)
        found = [
            each
            for each in everything
            if not (only_unread and each.read) and (before is None or each.notification.id < before)
        ]
        page = found[:limit]
        return cls(
            notifications=tuple(map(InboxNotification.of, page)),
            unread=sum(not each.read for each in everything),
            next=page[-1].notification.id if len(found) > len(page) else None,
        )


class KindChoice(BaseModel):
    """A kind of notifications, and the channels in which the caller gets it."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    about: str
    channels: tuple[Channel, ...]


class ChannelState(BaseModel):
    """A channel: whether it is ready, the caller's `address` in it, and the `problem` if it has one."""

    model_config = ConfigDict(frozen=True)

    channel: Channel
    ready: bool
    address: str | None = None
    problem: str | None = None


class PreferencesView(BaseModel):
    """What the caller is notified of, and where. Secrets of channels are not shown."""

    model_config = ConfigDict(frozen=True)

    kinds: tuple[KindChoice, ...]
    channels: tuple[ChannelState, ...]
    watch: tuple[str, ...]
    mute: tuple[str, ...]

    @classmethod
    def of(cls, caller: Caller, mine: Preferences, settings: Settings) -> "PreferencesView":
        """Return the preferences of a person, and which channels reach them on this server."""
        ready = reachable(settings, mine)
        no_mail = None if "email" in ready else "this server sends no mail"
        no_bot = None if settings.telegram_bot_token is not None else "this server has no bot of Telegram"
        telegram, slack = mine.telegram, mine.slack
        return cls(
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
                    channel="slack",
                    ready="slack" in ready,
                    address=slack and slack.shown,
                    problem=slack and slack.problem,
                ),
            ),
            watch=mine.watch,
            mute=mine.mute,
        )

    def ready(self, channel: Channel) -> ChannelState:
        """Return the state of a channel that reaches the caller.

        Raises:
            InvalidInputError: it does not.
        """
        state = next(each for each in self.channels if each.channel == channel)
        if not state.ready:
            raise InvalidInputError(
                f"no test message can be sent because the channel {channel!r} is not ready: "
                f"{state.problem or 'it is not set up'}; see your notification preferences"
            )
        return state


def test_message(now: datetime) -> Notification:
    """Return a notification by which a person tries a channel."""
    return Notification(
        id=str(ULID.from_datetime(now)), at=now, kind="message", title="This is a test message.", url="/notifications"
    )
