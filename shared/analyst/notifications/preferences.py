"""What a person wants to hear of, where, and how the channels reach them.

They are the object `state/notifications/people/<user id>.json`, which changes by compare-and-swap.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ulid import ULID

from analyst.errors import InvalidInputError, UnavailableError
from analyst.names import TablePattern, fits
from analyst.notifications.notification import CHANNELS, KINDS, Channel, Kind
from analyst.store import Object, Store, in_parallel
from analyst.store.compare_and_swap import swap

PEOPLE: Final = "state/notifications/people/"


class TelegramLink(BaseModel):
    """A chat of Telegram that belongs to the person. `problem` says why it is not used any more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chat_id: int
    linked_at: datetime
    problem: str | None = None


class SlackLink(BaseModel):
    """An incoming webhook of Slack. Its address is a secret: anybody who has it can post."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    linked_at: datetime
    problem: str | None = None

    @property
    def shown(self) -> str:
        """The address without its secret part."""
        return self.url.rpartition("/")[0] + "/…"


class Preferences(BaseModel):
    """The preferences of one person. `kinds` has only what differs from the defaults.

    Before `knows_gateway`, connected programs got what the page did, and were no channel of their own.

    `watch` are tables to be notified of although the person does not use them, `mute` tables to ignore.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kinds: Mapping[str, tuple[Channel, ...]] = {}
    watch: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    telegram: TelegramLink | None = None
    slack: SlackLink | None = None
    knows_gateway: bool = False
    edit: str = ""
    """Identifies the last write, by which a writer that got no response finds out whether it succeeded."""

    def channels(self, kind: Kind) -> tuple[Channel, ...]:
        """Return the channels for a kind: the chosen ones, or the defaults."""
        chosen = self.kinds.get(kind)
        if chosen is None:
            return KINDS[kind].channels
        return (*chosen, "gateway") if not self.knows_gateway and "page" in chosen else chosen

    def wants(self, table: str) -> bool:
        """Return whether the person watches a table."""
        return any(fits(pattern, table) for pattern in self.watch)

    def mutes(self, table: str) -> bool:
        """Return whether the person has muted a table."""
        return any(fits(pattern, table) for pattern in self.mute)


class Changes(BaseModel):
    """The changes of preferences. Omitted fields are not changed. An empty list of channels turns a kind off.

    `slack` is the address of an incoming webhook; an empty text removes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: Annotated[dict[Kind, Annotated[tuple[Channel, ...], Field(max_length=len(CHANNELS))]], Field()] = {}
    watch: Annotated[tuple[TablePattern, ...], Field(max_length=500)] | None = None
    mute: Annotated[tuple[TablePattern, ...], Field(max_length=500)] | None = None
    slack: Annotated[str, Field(max_length=500)] | None = None


T = TypeVar("T")


def read(store: Store, user_id: str) -> Preferences:
    """Read the preferences of a user; the defaults if there are none.

    Raises:
        UnavailableError: the store does not respond, or they are damaged.
    """
    key = _key(user_id)
    found = store.read(key)
    return Preferences() if found is None else _parsed(key, found)


def edit(store: Store, user_id: str, change: Callable[[Preferences], Preferences]) -> Preferences:
    """Change the preferences of a user by compare-and-swap, and return them.

    Raises:
        UnavailableError: the store does not respond, or they are damaged.
    """
    key, edit_id = _key(user_id), str(ULID())
    written: list[Preferences] = []

    def changed(current: Object | None) -> bytes:
        before = Preferences() if current is None else _parsed(key, current)
        written.append(change(before).model_copy(update={"edit": edit_id}))
        return written[-1].model_dump_json(exclude_defaults=True).encode()

    swap(store, key, changed, done=lambda current: _parsed(key, current).edit == edit_id)
    return written[-1]


def changed(before: Preferences, changes: Changes, slack_url: str, now: datetime) -> Preferences:
    """Return preferences with changes; `slack_url` is the only server that a webhook may be on.

    Raises:
        InvalidInputError: the address is not that of an incoming webhook.
    """
    kinds: dict[str, tuple[Channel, ...]] = {kind: before.channels(kind) for kind in KINDS if kind in before.kinds}
    for kind, chosen in changes.kinds.items():
        kinds[kind] = tuple(dict.fromkeys(chosen))
        if set(chosen) == set(KINDS[kind].channels):
            del kinds[kind]
    update: dict[str, object] = {"kinds": kinds, "knows_gateway": True}
    for name in ("watch", "mute"):
        given = getattr(changes, name)
        if given is not None:
            update[name] = tuple(sorted(set(given)))
    if changes.slack is not None:
        url = changes.slack.strip()
        update["slack"] = SlackLink(url=webhook(url, slack_url), linked_at=now) if url else None
    return before.model_copy(update=update)


_WEBHOOK: Final = re.compile(r"/services/[A-Za-z0-9]{1,40}/[A-Za-z0-9]{1,40}/[A-Za-z0-9]{1,80}")


def webhook(url: str, slack_url: str) -> str:
    """Check that a URL is an incoming webhook of Slack's server, so that nobody makes us send requests elsewhere.

    Raises:
        InvalidInputError: it is not.
    """
    base = slack_url.rstrip("/")
    if not url.startswith(base + "/") or _WEBHOOK.fullmatch(url[len(base) :]) is None:
        raise InvalidInputError(
            f"the address is not an incoming webhook of Slack; copy the one that Slack shows, such as {base}/services/T…/B…/…"
        )
    return url


def everybody(store: Store) -> dict[str, Preferences]:
    """Read the preferences of all people who have any, by user id.

    Raises:
        UnavailableError: the store does not respond, or some are damaged.
    """
    found = [entry.key.removeprefix(PEOPLE).removesuffix(".json") for entry in store.list(PEOPLE)]
    return dict(zip(found, in_parallel(lambda user_id: read(store, user_id), found), strict=True))


def _key(user_id: str) -> str:
    return f"{PEOPLE}{user_id}.json"


def _parsed(key: str, found: Object) -> Preferences:
    try:
        return Preferences.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{key!r} is damaged; restore an earlier version of it, or delete it") from error
