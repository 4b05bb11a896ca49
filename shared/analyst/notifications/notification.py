"""A notification: what happened, to which tables, and who may see it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from ulid import ULID

from analyst.access import AccessList, Caller, Role

Channel = Literal["page", "gateway", "email", "telegram", "slack"]
"""Where a notification is shown or sent.

`page` is the inbox that pages, the API and `da` show, `gateway` the programs that are connected to the WebSocket
gateway.
"""

CHANNELS: Final[tuple[Channel, ...]] = ("page", "gateway", "email", "telegram", "slack")
SENT: Final[tuple[Channel, ...]] = ("email", "telegram", "slack")
"""Channels to which a task sends what waits; the others are read by whoever wants to know."""

Kind = Literal[
    "table_failed",
    "table_stale",
    "expectation_failed",
    "source_failed",
    "request_answered",
    "request_received",
    "memory_review",
    "memory_decided",
    "memory_approved",
    "script",
    "script_failed",
    "message",
]


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What a kind is about. `channels` are the defaults; `role` is the lowest role that is notified.

    `one` and `many` are the headlines of notifications about tables, with the fields `table` and `count`.
    """

    about: str
    channels: tuple[Channel, ...]
    role: Role = Role.VIEWER
    one: str = ""
    many: str = ""


_CHATS: Final[tuple[Channel, ...]] = ("page", "gateway", "telegram", "slack")
_EVERYWHERE: Final = CHANNELS

KINDS: Final[Mapping[Kind, KindInfo]] = MappingProxyType(
    {
        "table_failed": KindInfo(
            "A table that you use can't be synced, or can be synced again",
            _CHATS,
            one="{table} can't be synced",
            many="{count} tables can't be synced",
        ),
        "table_stale": KindInfo(
            "The sync of a table that you use is more than a day overdue",
            _CHATS,
            one="{table} is out of date",
            many="{count} tables are out of date",
        ),
        "expectation_failed": KindInfo(
            "A table that you use does not meet an expectation",
            _CHATS,
            one="{table} does not meet its expectations",
            many="{count} tables do not meet their expectations",
        ),
        "source_failed": KindInfo("A source can't be read at all", _CHATS, Role.ADMIN),
        "request_answered": KindInfo("Your request for access is answered", _EVERYWHERE),
        "request_received": KindInfo("Somebody requests access to a table", _EVERYWHERE, Role.ADMIN),
        "memory_review": KindInfo("Memory items are waiting for review", _CHATS, Role.KM_ADMIN),
        "memory_decided": KindInfo("A memory item from you or your notes was decided on", _CHATS),
        "memory_approved": KindInfo("A memory item now applies to you", ("page", "gateway")),
        "script": KindInfo("Notifications from your scripts", _EVERYWHERE),
        "script_failed": KindInfo("One of your scripts failed for the first time, or was paused", _EVERYWHERE),
        "message": KindInfo("Test messages that you send to yourself", _EVERYWHERE),
    }
)
"""The kinds of notifications, in the order in which they are listed."""


class Item(BaseModel):
    """A table that a notification is about, and the text about it. `registration` is its uuid at that time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str
    registration: str | None = None
    text: str = ""


class Notification(BaseModel):
    """One notification. `id` is a ULID of `at`, so that ids sort by time; `url` is a path of the pages.

    If there are `items`, the headline is made from those that the reader may see, and `title` is only used if it says
    something else, without naming a table.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    at: AwareDatetime
    kind: Kind
    title: str = ""
    text: str = ""
    items: tuple[Item, ...] = ()
    url: str | None = None
    script: str | None = None
    """The name of the script that it comes from."""
    image_url: str | None = None
    """The address of a picture elsewhere, which only programs get."""
    picture: bool = False
    """Whether there is a picture, see `Outbox.picture`."""

    @property
    def headline(self) -> str:
        """One line that says what happened."""
        if self.title or not self.items:
            return self.title
        info = KINDS[self.kind]
        if len(self.items) == 1:
            return info.one.format(table=self.items[0].table)
        return info.many.format(count=len(self.items))

    @property
    def lines(self) -> tuple[str, ...]:
        """The rest of the text: a line for each table."""
        named = tuple(f"{item.table}: {item.text}" if item.text else item.table for item in self.items[:_LISTED])
        more = (f"and {len(self.items) - _LISTED} more",) if len(self.items) > _LISTED else ()
        return (*((self.text,) if self.text else ()), *named, *more)


_LISTED: Final = 20
MOST_ITEMS: Final = 200
"""The maximum number of tables of one notification."""


def notification_id(key: str, at: datetime) -> str:
    """Return the id of the notification about an event: the same for the same `key` and time, so it is stored once."""
    stamp = int(at.timestamp() * 1000).to_bytes(6, "big")
    return str(ULID.from_bytes(stamp + hashlib.sha256(key.encode()).digest()[:10]))


def seen_by(notification: Notification, access: AccessList, caller: Caller | None) -> Notification | None:
    """Return a notification with only the tables that its reader may read now; `None` if they may not see it.

    A table that is registered again is another table. So is one that was registered since: its name says nothing.
    """
    if caller is None or not caller.includes(KINDS[notification.kind].role):
        return None
    if not notification.items:
        return notification
    items = tuple(item for item in notification.items if _may_see(item, access, caller))
    return notification.model_copy(update={"items": items}) if items else None


def caller_of(access: AccessList, user_id: str) -> Caller | None:
    """Return an active user as the caller that the access list knows; `None` if there is no such user."""
    user = access.users.get(user_id)
    return None if user is None else Caller(user_id, user.email, user.role, frozenset(user.groups))


def _may_see(item: Item, access: AccessList, caller: Caller) -> bool:
    registered = access.tables.get(item.table)
    return (registered and registered.uuid) == item.registration and access.may_read(caller, item.table)
