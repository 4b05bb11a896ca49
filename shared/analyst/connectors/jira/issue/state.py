"""The state of an issue: a value that facts are joined into in any order.

Every event states facts: states of one issue that contain little. Their join is commutative, associative and idempotent,
so order, duplicates and replays do not matter. An answer of the REST API replaces an earlier one (`fetched`), and drops
what it makes obsolete, even if the events arrive later. Equal knowledge is equal bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import orjson

from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import Document, Kind

Register = dict[str, Any]
"""The newest knowledge of one thing: `at` in microseconds since 1970, and its `document`, or that it is `deleted`.

For an embedded issue, `at` is the timestamp of its event. A list of things also has `seen`, the timestamp of the event.
"""

Name = tuple[int, int, int, str, str]
"""The name of the issue in its newest document: update time, kind, event's timestamp, key and creation time."""

NAMELESS: Name = (0, 0, 0, "", "")
PARTIAL, HOOK, REST = range(3)

T = TypeVar("T")


def name_of(document: Document, kind: int, at: int) -> Name:
    """Return the name of the issue in a document of a kind; `at` is the timestamp of the event that embedded it."""
    created = times.text_of(times.instant(documents.fields(document).get("created")))
    updated = 0 if kind == PARTIAL else documents.updated(document)
    return (updated, kind, at, documents.key(document) or "", created or "")


def newest(mine: T | None, theirs: T | None, age: Callable[[T], Any]) -> T | None:
    """Return the newer of two; their canonical bytes decide if both have the same age."""
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    ages = age(mine), age(theirs)
    if ages[0] == ages[1]:
        return max(mine, theirs, key=documents.canonical)
    return mine if ages[0] > ages[1] else theirs


def hook_age(known: Register) -> Name:
    """Return the age of a whole issue that an event embedded."""
    return name_of(known["document"], HOOK, known["at"])


def partial_age(known: Register) -> Name:
    """Return the age of a partial issue that an event embedded."""
    return name_of(known["document"], PARTIAL, known["at"])


def newer_list(mine: Register, theirs: Register) -> Register:
    """Return the newer of two lists of things."""
    return newest(mine, theirs, lambda listing: (listing["at"], listing["seen"])) or mine


def newer_thing(mine: Register, theirs: Register) -> Register:
    """Return the newer of two registers of a thing; a deleted thing does not come back."""
    return newest(mine, theirs, lambda register: (register.get("deleted", False), register["at"])) or mine


def newer_things(mine: Mapping[str, Register], theirs: Mapping[str, Register]) -> Mapping[str, Register]:
    """Return the newer register of each thing."""
    return merged(mine, theirs, newer_thing)


def merged(mine: Mapping[str, T], theirs: Mapping[str, T], choose: Callable[[T, T], T]) -> dict[str, T]:
    """Merge two mappings, choosing where both have a key."""
    both = {**mine, **theirs}
    return both | {name: choose(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}


def not_older(known: Mapping[str, Register], fetched: int, listed: int) -> dict[str, Register]:
    """Return deletions, and registers that neither the REST answer nor the list can have included."""
    return {
        name: register
        for name, register in known.items()
        if register.get("deleted") or (register["at"] > fetched and register["at"] >= listed)
    }


_EDITED: frozenset[Kind] = frozenset({"comments", "worklogs"})
"""Things that change. Of the others, all documents are alike, and those in a list have more fields than those in events."""

UNKNOWN_TIME = 2**53 - 1
"""The time of a deletion whose event had none."""


@dataclass(frozen=True, eq=False)
class IssueState:
    """Everything that is known of an issue.

    `deleted`: the time of its deletion, in microseconds since 1970; then only its name (`named`) is kept, and nothing
    brings it back. `is_gone`: the REST API does not know it, until a later answer does. `rest`: the newest REST answer,
    complete with comments, worklogs, histories and `remote_links`. `hook`: the newest whole issue in an event, without its
    lists, if it is newer than `rest`. `partial`: the newest issue in an event with only a few fields, if there is no whole
    one. `lists`: the newest complete lists of things. `registers`: the newest single things. `stored`: the keys in the
    bucket of attachments, by id.
    """

    issue_id: str
    deleted: int | None = None
    named: Name = NAMELESS
    is_gone: bool = False
    rest: Document | None = None
    hook: Register | None = None
    partial: Register | None = None
    lists: Mapping[str, Register] = field(default_factory=dict)
    registers: Mapping[str, Mapping[str, Register]] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IssueState) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    @staticmethod
    def from_json(text: bytes | str) -> "IssueState":
        """Parse a state that `to_json` wrote."""
        parts = orjson.loads(text)
        if "named" in parts:
            parts["named"] = tuple(parts["named"])
        return IssueState(**parts)

    def to_json(self) -> bytes:
        """Write the state as canonical JSON: equal states produce equal bytes."""
        return self._json

    @cached_property
    def _json(self) -> bytes:
        parts = {name: value for name, empty in _EMPTY.items() if (value := getattr(self, name)) != empty}
        return documents.canonical(parts)

    def joined(self, other: "IssueState") -> "IssueState":
        """Return the state with the knowledge of both.

        Raises:
            ValueError: they belong to different issues.
        """
        self._check(other.issue_id)
        deleted = [at for at in (self.deleted, other.deleted) if at is not None]
        if deleted:
            return IssueState(self.issue_id, min(deleted), max(self.newest_name, other.newest_name))
        return IssueState(
            self.issue_id,
            is_gone=self.is_gone or other.is_gone,
            rest=newest(self.rest, other.rest, documents.updated),
            hook=newest(self.hook, other.hook, hook_age),
            partial=newest(self.partial, other.partial, partial_age),
            lists=merged(self.lists, other.lists, newer_list),
            registers=merged(self.registers, other.registers, newer_things),
            stored=merged(self.stored, other.stored, max),
        ).settled()

    def _check(self, issue_id: str | None) -> None:
        if issue_id != self.issue_id:
            raise ValueError(
                f"the state of the issue {issue_id} can't be joined with that of the issue {self.issue_id}"
            )

    def settled(self) -> "IssueState":
        """Return the state without what is obsolete."""
        if self.deleted is not None:
            return IssueState(self.issue_id, self.deleted, self.newest_name)
        fetched = -1 if self.rest is None else documents.updated(self.rest)
        hook = self.hook if self.hook and documents.updated(self.hook["document"]) > fetched else None
        lists = {kind: listing for kind, listing in self.lists.items() if listing["at"] > fetched}
        registers = {
            kind: kept
            for kind, known in self.registers.items()
            if (kept := not_older(known, fetched, lists[kind]["at"] if kind in lists else -1))
        }
        partial = self.partial if hook is None and self.rest is None else None
        return replace(self, hook=hook, partial=partial, lists=lists, registers=registers, named=NAMELESS)

    def fetched(self, document: Document) -> "IssueState":
        """Return the state after a REST answer, which replaces the known one unless that has a later update time.

        Raises:
            ValueError: it belongs to another issue.
        """
        self._check(documents.issue_id(document.get("id")))
        answer = documents.clean(document)
        if self.deleted is not None:
            return replace(self, named=max(self.named, name_of(answer, REST, 0)))
        if self.rest is not None and documents.updated(answer) < documents.updated(self.rest):
            answer = self.rest
        return replace(self, rest=answer, is_gone=False).settled()

    def gone(self) -> "IssueState":
        """Return the state after the REST API did not find the issue: it has no rows until it is found again."""
        return self if self.deleted is not None else replace(self, is_gone=True)

    def with_stored(self, keys: Mapping[str, str]) -> "IssueState":
        """Return the state with the keys of stored attachments, by id."""
        return self if self.deleted is not None else replace(self, stored={**self.stored, **keys})

    @property
    def is_tombstone(self) -> bool:
        """Whether the issue was deleted."""
        return self.deleted is not None

    @property
    def is_empty(self) -> bool:
        """Whether only the id is known, from an event that requires the issue to be fetched."""
        return self.deleted is None and not (
            self.is_gone or self.rest or self.hook or self.partial or self.lists or self.registers or self.stored
        )

    @cached_property
    def document(self) -> Document | None:
        """The issue as a document. Its lists may be outdated: use `things`."""
        if self.hook is None:
            return self.rest if self.partial is None else self.partial["document"]
        hook: Document = self.hook["document"]
        if self.rest is None:
            return hook
        return {**self.rest, **hook, "fields": {**documents.fields(self.rest), **documents.fields(hook)}}

    @cached_property
    def newest_name(self) -> Name:
        """The name of the issue in its newest document."""
        if self.hook is not None:
            return name_of(self.hook["document"], HOOK, self.hook["at"])
        if self.rest is not None:
            return name_of(self.rest, REST, 0)
        if self.partial is not None:
            return name_of(self.partial["document"], PARTIAL, self.partial["at"])
        return self.named

    @property
    def key(self) -> str | None:
        """The newest known key, such as ABC-12."""
        return self.newest_name[3] or None

    @property
    def created(self) -> datetime | None:
        """When the issue was created, in UTC; None if unknown."""
        return datetime.fromisoformat(self.newest_name[4]) if self.newest_name[4] else None

    @property
    def updated(self) -> datetime | None:
        """When the issue was last updated, in UTC; None without a whole document."""
        return times.of_micros(self.newest_name[0]) if self.newest_name[0] else None

    @property
    def deleted_at(self) -> datetime | None:
        """When the issue was deleted, in UTC; None if unknown."""
        return None if self.deleted in (None, UNKNOWN_TIME) else times.of_micros(self.deleted or 0)

    @property
    def month(self) -> str:
        """The month in which the issue was created, in UTC, such as `2024-05`; otherwise `unknown`."""
        return self.newest_name[4][:7] or "unknown"

    @cached_property
    def as_of(self) -> datetime | None:
        """The newest time in the state."""
        known = [self.newest_name[0], *(part["at"] for part in (self.hook, self.partial) if part)]
        known += [listing["at"] for listing in self.lists.values()]
        known += [register["at"] for things in self.registers.values() for register in things.values()]
        if self.deleted is not None and self.deleted != UNKNOWN_TIME:
            known.append(self.deleted)
        last = max(known)
        return times.of_micros(last) if last else None

    def things(self, kind: Kind) -> dict[str, Document]:
        """Return the things of a kind that exist, by id and in the order of ids."""
        known: list[Any] = []
        if kind in self.lists:
            known = self.lists[kind]["things"]
        elif self.rest is not None:
            known = (documents.listed(self.rest, kind) or ([], True))[0]
        alive = dict(documents.things(known))
        for name, register in self.registers.get(kind, {}).items():
            if register.get("deleted"):
                alive.pop(name, None)
            elif name not in alive or (kind in _EDITED and register["at"] > (documents.touched(alive[name]) or 0)):
                alive[name] = register["document"]
        return dict(sorted(alive.items()))


_EMPTY = {part.name: part.default for part in dataclass_fields(IssueState)} | {
    "lists": {},
    "registers": {},
    "stored": {},
}
"""The parts of a state with their defaults, which are not written."""
