"""Search of the audit log: rows of edits and events in the bucket as one list, a page at a time."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from analyst.audit import AuditEvent, Outcome
from analyst.audit.events import Place, milliseconds
from analyst.audit.reader import Events, Item, Reached, Wanted
from analyst.state.audit import EVENTS
from analyst.validation import Matching

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PATIENCE: Final = 5.0
"""Seconds after which a page ends with what was found, if it is not full."""

_CURSOR: Final = r"^-?[0-9]{1,15}:[ -~]{0,100}$"
_LAST_MS: Final = 10**15

Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _written(value: object) -> object:
    """Parse a time in RFC 3339; numbers are rejected."""
    if not isinstance(value, str):
        return value
    try:
        if _DAY.match(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:
        pass
    raise ValueError("must be a time such as 2026-03-01T00:00:00Z")


Time = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time with its zone, as RFC 3339 writes it."""


class AuditQuery(BaseModel):
    """Filter for audit events. `user` is an e-mail address or an id, `action` a prefix, and `until` is exclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: Time | None = None
    until: Time | None = None
    user: Text | None = None
    action: Text | None = None
    resource: Text | None = None
    outcome: Outcome | None = None
    request_id: Text | None = None
    cursor: Annotated[str, Matching(_CURSOR, "the `next` of a page")] | None = None
    """The `next` of the previous page of the same query."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class AuditPage(BaseModel):
    """Events, newest first. If `next` is set, there may be more, even if this page is short or empty."""

    model_config = ConfigDict(frozen=True)

    events: tuple[AuditEvent, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """The environment of a search. `db` is the open system state."""

    events: Events
    db: "DuckDBPyConnection"
    monotonic: Callable[[], float] = time.monotonic

    def page(self, query: AuditQuery) -> AuditPage:
        """Find a page of events.

        Raises:
            InvalidInputError: the cursor is invalid.
            UnavailableError: the store does not respond, or an object is damaged.
        """
        until = self.monotonic() + PATIENCE
        found: list[AuditEvent] = []
        for item in self._items(_wanted(query)):
            if isinstance(item, Reached):
                if self.monotonic() > until:
                    return _page(found, item.place)
            elif len(found) == query.limit:
                return _page(found, found[-1].place)
            else:
                found.append(item)
        return _page(found, None)

    def _items(self, wanted: Wanted) -> Iterator[Item]:
        streams = (self.events.newest(wanted), wanted.among(self.db, EVENTS))
        return merge(*streams, key=attrgetter("place"), reverse=True)


def _wanted(query: AuditQuery) -> Wanted:
    before = [_read_cursor(query.cursor)] if query.cursor is not None else []
    before += [Place(milliseconds(query.until))] if query.until is not None else []
    return Wanted(
        before=min(before, default=Place(_LAST_MS)),
        since_ms=milliseconds(query.since) if query.since is not None else -_LAST_MS,
        user=query.user,
        action=query.action,
        resource=query.resource,
        outcome=query.outcome,
        request_id=query.request_id,
    )


def _page(events: list[AuditEvent], place: Place | None) -> AuditPage:
    return AuditPage(events=tuple(events), next=None if place is None else f"{place.ms}:{place.id}")


def _read_cursor(text: str) -> Place:
    ms, _, found = text.partition(":")
    return Place(int(ms), found)
