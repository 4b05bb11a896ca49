"""The outbox: notifications, one object for each of them and each person.

- `state/notifications/inbox/<user>/<id>.json` is what the person can read, for 30 days. It is written last, so an event
  whose notification is there is dealt with.
- `state/notifications/out/<channel>/<user>/<id>.json` still has to be sent. It is deleted when it was sent, or after three
  days. A process that dies in between leaves it, and the next delivery sends it: at least once.
- `state/notifications/marks/<user>.json` has the ids that the person has read, and `…/received/<user>.json` those that a
  program of theirs has received from the gateway.
- `state/notifications/pictures/<user>/<id>.png` is the picture of one.
- `state/notifications/live/<time>/<user>/<id>.json` is there for a day. Its keys sort by the time at which they were
  written, so that a gateway for many people lists a few minutes of it instead of their inboxes.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst.access import AccessList, Caller
from analyst.errors import UnavailableError
from analyst.notifications.event_stream import Added
from analyst.notifications.notification import SENT, Channel, Notification, seen_by
from analyst.store import Entry, Object, Store, in_parallel
from analyst.store.compare_and_swap import put_once, swap

PREFIX: Final = "state/notifications/"
_INBOX: Final = f"{PREFIX}inbox/"
_OUT: Final = f"{PREFIX}out/"
_MARKS: Final = f"{PREFIX}marks/"
_RECEIVED: Final = f"{PREFIX}received/"
_PICTURES: Final = f"{PREFIX}pictures/"
_LIVE: Final = f"{PREFIX}live/"
_PERIOD: Final = 6
"""The first characters of a ULID, which change every 2^20 ms, or 17 minutes."""
PERIOD_SECONDS: Final = 2**20 / 1000
_DAY: Final = 86_400.0
KEPT: Final = 30 * _DAY
"""Seconds for which a notification can be read."""
SENT_WITHIN: Final = 3 * _DAY
"""Seconds after which a notification that could not be sent stays in the inbox only."""
MOST: Final = 500
"""The maximum number of notifications that a person's inbox shows; the sweep deletes older ones."""
_FAR: Final = "6"
"""Later than all ids of the next centuries."""


class Shown(BaseModel):
    """A notification as its reader sees it."""

    model_config = ConfigDict(frozen=True)

    notification: Notification
    read: bool


class _Marks(BaseModel):
    """What a person has read: the ids, and everything up to the id `through`.

    `hidden` were not for the page, so they count as read there, but not for a program that has not received them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    ids: tuple[str, ...] = ()
    through: str = ""
    hidden: tuple[str, ...] = ()
    edit: str = ""

    def has(self, id_: str) -> bool:
        return id_ <= self.through or id_ in self.ids


@dataclass(frozen=True, slots=True)
class Destination:
    """A channel of a person, for which something waits."""

    channel: Channel
    user_id: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Something that was added for a user: its key in the bucket."""

    key: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Outbox:
    """The notifications of a bucket. All methods raise `UnavailableError` if the store does not respond."""

    store: Store

    def add(self, user_id: str, notification: Notification, channels: Collection[Channel]) -> bool:
        """Add a notification for a person unless it is there already; return whether something was added.

        It is always added to the inbox, which also remembers that it was: with `page` missing in `channels`, it is
        read, and with `gateway` missing, programs count as having received it.
        """
        key = f"{_INBOX}{user_id}/{notification.id}.json"
        if self.store.head(key) is not None:
            return False
        data = notification.model_dump_json(exclude_defaults=True).encode()
        for channel in channels:
            if channel in SENT:
                put_once(self.store, f"{_OUT}{channel}/{user_id}/{notification.id}.json", data)
        if "page" not in channels:
            self._mark(f"{_MARKS}{user_id}.json", [notification.id], is_hidden=True)
        if "gateway" in channels:
            put_once(self.store, f"{_LIVE}{ULID()}/{user_id}/{notification.id}.json", data)
        else:
            self.mark_received(user_id, [notification.id])
        return put_once(self.store, key, data)

    def reply(self, user_id: str, notification: Notification, channel: Channel) -> None:
        """Have something sent that a person asked for in a chat: it is not in their inbox."""
        data = notification.model_dump_json(exclude_defaults=True).encode()
        put_once(self.store, f"{_OUT}{channel}/{user_id}/{notification.id}.json", data)

    def keep_picture(self, user_id: str, notification_id: str, data: bytes) -> None:
        """Keep the picture of a notification that is about to be added; the first one stays."""
        put_once(self.store, f"{_PICTURES}{user_id}/{notification_id}.png", data)

    def picture(self, user_id: str, notification_id: str) -> bytes | None:
        """Return the picture of a person's notification, a PNG; `None` if there is none."""
        found = self.store.read(f"{_PICTURES}{user_id}/{notification_id}.png")
        return None if found is None else found.data

    def kept(self, user_id: str, notification_id: str) -> Notification | None:
        """Return a notification of a person as it was added; `None` if there is none."""
        return self._read(f"{_INBOX}{user_id}/{notification_id}.json")

    def inbox(self, caller: Caller | None, access: AccessList) -> list[Shown]:
        """Return what a caller can read, newest first: of each notification, what they may see now; `None` sees nothing."""
        if caller is None or (user_id := caller.user_id) is None:
            return []
        keys = sorted((entry.key for entry in self.store.list(f"{_INBOX}{user_id}/")), reverse=True)[:MOST]
        return self._shown(caller, keys, access)

    def shown(self, caller: Caller, ids: Iterable[str], access: AccessList) -> list[Shown]:
        """Return notifications of a caller by their ids: of each, what they may see now."""
        return self._shown(caller, [f"{_INBOX}{caller.user_id}/{id_}.json" for id_ in ids], access)

    def added(self, user_id: str, now: datetime) -> list[Added]:
        """Return what is in a person's inbox, and when it was added, by the clock that says `now`."""
        ms = now.timestamp() * 1000
        return [
            Added(_id_of(entry.key), int(ms - entry.age * 1000)) for entry in self.store.list(f"{_INBOX}{user_id}/")
        ]

    def _shown(self, caller: Caller, keys: Iterable[str], access: AccessList) -> list[Shown]:
        marks = self._marks(caller.user_id or "")
        found = [each for each in in_parallel(self._read, keys) if each is not None]
        seen = (seen_by(each, access, caller) for each in found)
        return [Shown(notification=each, read=marks.has(each.id)) for each in seen if each is not None]

    def mark(self, user_id: str, ids: Iterable[str] = (), *, through: str = "") -> None:
        """Mark notifications as read: those with these ids, and all up to the id `through` that are there now."""
        if through:
            newest = max((_id_of(entry.key) for entry in self.store.list(f"{_INBOX}{user_id}/")), default="")
            through = min(through, newest)  # otherwise what comes later would be read as well
        self._mark(f"{_MARKS}{user_id}.json", ids, through)

    def unreceived(self, user_id: str) -> list[Notification]:
        """Return what a person has neither read nor received by a program, oldest first, whether they may see it or not."""
        read, received = self._marks(user_id), self._marks(user_id, _RECEIVED)
        keys = sorted((entry.key for entry in self.store.list(f"{_INBOX}{user_id}/")), reverse=True)[:MOST]
        new = [
            key for key in keys if not received.has(id_ := _id_of(key)) and (not read.has(id_) or id_ in read.hidden)
        ]
        return [found for found in in_parallel(self._read, reversed(new)) if found is not None]

    def mark_received(self, user_id: str, ids: Iterable[str]) -> None:
        """Note what a program of a person has received."""
        self._mark(f"{_RECEIVED}{user_id}.json", ids)

    def announced(self, since: float, until: float) -> list["Announced"]:
        """Return what was added for anybody between two times (seconds since 1970), and a while before and after.

        What was added twice, because its first writer died, is announced twice.
        """
        periods = range(int(since / PERIOD_SECONDS), int(until / PERIOD_SECONDS) + 1)
        prefixes = [str(ULID.from_timestamp(number * PERIOD_SECONDS + 1))[:_PERIOD] for number in periods]
        keys = (entry.key for prefix in prefixes for entry in self.store.list(f"{_LIVE}{prefix}"))
        return [Announced(key, key.rsplit("/", 2)[1]) for key in keys]

    def notification(self, announced: "Announced") -> Notification | None:
        """Return what was announced; `None` if it is gone."""
        return self._read(announced.key)

    def _mark(self, key: str, ids: Iterable[str], through: str = "", *, is_hidden: bool = False) -> None:
        more, edit = tuple(ids), str(ULID())

        def marked(current: Object | None) -> bytes:
            before = _Marks() if current is None else _parsed_marks(current)
            last = max(before.through, through)
            known = sorted({*before.ids, *more}, reverse=True)
            hidden = sorted({*before.hidden, *(more if is_hidden else ())}, reverse=True)[:MOST]
            ids = tuple(id_ for id_ in known if id_ > last)[: 2 * MOST]
            after = _Marks(ids=ids, through=last, hidden=tuple(hidden), edit=edit)
            return after.model_dump_json().encode()

        swap(self.store, key, marked, done=lambda current: _parsed_marks(current).edit == edit)

    def waiting(self) -> Iterator[Destination]:
        """Return the channels of people for which something waits."""
        for channel in SENT:
            for user_id in self.store.list_folders(f"{_OUT}{channel}/"):
                yield Destination(channel, user_id)

    def to_send(self, to: Destination, limit: int) -> list[tuple[Notification | None, str]]:
        """Return what waits for a channel of a person, oldest first, with its key.

        `None` is what has waited too long or can't be read.
        """
        entries = list(islice(self.store.list(f"{_OUT}{to.channel}/{to.user_id}/"), limit))
        return [(None if entry.age > SENT_WITHIN else self._read(entry.key), entry.key) for entry in entries]

    def settle(self, key: str) -> None:
        """Remove what was sent, or can't be."""
        self.store.delete(key)

    def forget(self, to: Destination) -> None:
        """Remove all that waits for a channel of a person, which can't be reached."""
        for entry in list(self.store.list(f"{_OUT}{to.channel}/{to.user_id}/")):
            self.store.delete(entry.key)

    def _read(self, key: str) -> Notification | None:
        """Return a notification; `None` if it is gone, or of a version that knows other kinds."""
        found = self.store.read(key)
        try:
            return None if found is None else Notification.model_validate_json(found.data)
        except ValidationError:
            return None

    def _marks(self, user_id: str, prefix: str = _MARKS) -> _Marks:
        found = self.store.read(f"{prefix}{user_id}.json")
        return _Marks() if found is None else _parsed_marks(found)


def expired(store: Store) -> Iterator[Entry]:
    """List what the sweep deletes: notifications that are old, or more than a person's inbox shows."""
    yield from (entry for entry in store.list(_OUT) if entry.age > SENT_WITHIN + _DAY)
    yield from (entry for entry in store.list(_LIVE) if entry.age > _DAY)
    yield from (entry for entry in store.list(_PICTURES) if entry.age > KEPT + _DAY)
    for user_id in store.list_folders(_INBOX):
        newest = sorted(store.list(f"{_INBOX}{user_id}/"), key=lambda entry: entry.key, reverse=True)
        yield from (entry for place, entry in enumerate(newest) if entry.age > KEPT or place >= MOST)


def _id_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _parsed_marks(found: Object) -> _Marks:
    try:
        marks = _Marks.model_validate_json(found.data)
        return marks.model_copy(update={"through": ""}) if marks.through > _FAR else marks  # of an earlier version
    except ValidationError as error:
        raise UnavailableError("the marks of read notifications are damaged; delete their object") from error
