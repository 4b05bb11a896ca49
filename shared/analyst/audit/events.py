"""Audit events, and the notes that functions add to them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, model_validator
from ulid import ULID

from analyst.access import CallerKind
from analyst.clients import ClientKind


@dataclass(slots=True)
class Note:
    """Details for the audit log. `action` replaces the action of the function."""

    action: str | None = None
    resources: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    is_unchanged: bool = False
    user_id: str | None = None
    email: str | None = None


class Noting:
    """Collects the notes of a function; the context of a request is one."""

    __slots__ = ()
    note: Note

    def audited(self, *resources: str, is_unchanged: bool = False, **params: Any) -> None:
        """Add resources, such as `table:shop.orders`, and parameters to the audit event: JSON values, and no secrets.

        Several calls add up. Repeated answers with `is_unchanged` are counted instead of written one by one.
        """
        self.note.resources = (*self.note.resources, *resources)
        self.note.params.update(params)
        self.note.is_unchanged = is_unchanged

    def is_by(self, user_id: str | None, email: str | None) -> None:
        """Record whose request it is, where the function itself checks their credentials."""
        self.note.user_id = user_id
        self.note.email = email

    def signs_in(self, provider: str, email: str | None = None, user_id: str | None = None) -> None:
        """Record that this is a sign-in with a provider; `user_id` is set once the user is certain."""
        self.note.action = "auth.sign_in"
        self.note.user_id = user_id
        self.note.email = email
        self.note.params["provider"] = provider


_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_OF_ONE: Final = {"id", "at", "duration_ms", "count", "since"}


class Outcome(StrEnum):
    """The outcome of an action."""

    OK = "ok"
    DENIED = "denied"
    """Credentials or rights were missing, or there were too many attempts."""
    FAILED = "failed"


class AuditEvent(BaseModel):
    """An audit event: one action, or `count` similar ones since `since`, with only the fields that they share.

    `at` is when the response was ready. `resources` have a kind, such as `table:shop.orders`. `status` is the HTTP status;
    events that an edit of the state recorded have none.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    at: AwareDatetime
    action: str
    outcome: Outcome
    caller: CallerKind | None = None
    user_id: str | None = None
    email: str | None = None
    token_id: str | None = None
    resources: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    client_address: str | None = None
    client_kind: ClientKind | None = None
    duration_ms: int | None = None
    count: int = 1
    since: AwareDatetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_utf8(cls, values: Any) -> Any:
        """Replace lone surrogates, which clients can put into JSON but UTF-8 can't encode."""
        return _encodable(values)

    @property
    def place(self) -> "Place":
        """Its position in the order of all events."""
        return Place(milliseconds(self.at), self.id)

    def joined(self, other: "AuditEvent") -> "AuditEvent":
        """Merge this and a later event, with only the fields that they share."""
        ours, theirs = self.model_dump(exclude=_OF_ONE), other.model_dump(exclude=_OF_ONE)
        same = {name: value for name, value in ours.items() if theirs[name] == value}
        required = {"action": self.action, "outcome": self.outcome}
        count, since = self.count + other.count, self.since or self.at
        return AuditEvent(**{**required, **same}, id=other.id, at=other.at, count=count, since=since)

    def again(self, at: datetime) -> "AuditEvent":
        """Return it with a position of its own, at another time."""
        return self.model_copy(update={"id": new_id(at), "at": at})


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case dict():
            return {_encodable(key): _encodable(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(_encodable(each) for each in value)
    return value


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in the order of all events: by ms since 1970, then by id."""

    ms: int
    id: str = ""


def new_id(at: datetime) -> str:
    """Return a new id of an event: a ULID of its time."""
    return str(ULID.from_timestamp(milliseconds(at)))


def milliseconds(at: datetime) -> int:
    """Return a time in whole ms since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)
