"""The body of a webhook: the facts that it states about issues, or the reason why it states none.

Bodies of Jira Cloud and Data Center, old and new, are understood (`tests/unit/jira/test_events.py` has one of each kind).
The issue of a thing is in `issue.id`, `worklog.issueId`, the two ids of an `issueLink`, or the URL of the thing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import KINDS, Document, Kind
from analyst.connectors.jira.issue.state import UNKNOWN_TIME, IssueState, Register

_THINGS: Final[dict[str, Kind]] = {"comment": "comments", "worklog": "worklogs", "attachment": "attachments"}
_NAME = 100
_OWN_URL = re.compile(r"/issue/([0-9]{1,18})(?:/|$)")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened (`name`, such as `comment_created`), when by Jira's clock, and the facts about one or two issues.

    A fact may consist of an id only: then only the REST API knows what happened to the issue. `unread` are members of the
    body with an unknown shape.
    """

    name: str
    at: datetime | None
    facts: tuple[IssueState, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetAside:
    """The reason why a body states nothing about any issue. A body `is_malformed` if it is not a JSON object."""

    reason: str
    name: str = ""
    at: datetime | None = None
    is_malformed: bool = False


def read_event(body: bytes) -> Event | SetAside:
    """Parse the body of a webhook. Any body has a result."""
    try:
        payload = documents.parse(body)
    except ValueError as error:
        return SetAside(f"the body is not JSON: {error}", is_malformed=True)
    if not isinstance(payload, dict):
        return SetAside("the body is not a JSON object", is_malformed=True)
    names = (payload.get(member) for member in ("webhookEvent", "issue_event_type_name"))
    name = next((name for name in names if isinstance(name, str)), "")
    return _Reading(payload, name.removeprefix("jira:")[:_NAME]).answer()


class _Reading:
    def __init__(self, payload: Document, name: str) -> None:
        self._payload = payload
        self._name = name
        self._micros = times.of_event(payload.get("timestamp"))
        self._at = self._micros if self._micros is not None and self._micros > 0 else 0
        self._unread: list[str] = []

    def answer(self) -> Event | SetAside:
        """Join the facts of each issue."""
        moment = times.of_micros(self._micros) if self._micros is not None else None
        facts: dict[str, IssueState] = {}
        for fact in self._facts():
            known = facts.get(fact.issue_id)
            facts[fact.issue_id] = fact.settled() if known is None else known.joined(fact)
        if facts:
            return Event(self._name, moment, tuple(facts.values()), tuple(self._unread))
        return SetAside(self._reason(), self._name, moment)

    def _reason(self) -> str:
        if self._unread:
            return f"its {' and '.join(self._unread)} does not identify an issue"
        return f"{self._name or 'the event'} names no issue"

    def _facts(self) -> Iterator[IssueState]:
        issue = self._member("issue")
        issue_id = documents.issue_id(issue.get("id")) or _owner(issue.get("self")) if issue else None
        if issue and issue_id is None:
            self._unread.append("issue")
        if issue and issue_id is not None:
            yield from self._of_issue(issue, issue_id)
        for member, kind in _THINGS.items():
            if thing := self._member(member):
                yield from self._of_thing(member, kind, thing, issue_id)
        if link := self._member("issueLink"):
            yield from self._of_link(link)

    def _member(self, name: str) -> Document | None:
        found = self._payload.get(name)
        if isinstance(found, dict):
            return found
        if found is not None:
            self._unread.append(name)
        return None

    def _of_issue(self, issue: Document, issue_id: str) -> Iterator[IssueState]:
        yield IssueState(issue_id)
        is_deleted = self._name == "issue_deleted"
        if is_deleted:
            yield IssueState(issue_id, UNKNOWN_TIME if self._micros is None else self._at)
        if documents.is_full(issue):
            yield self._whole(issue, issue_id)
        elif documents.fields(issue) or is_deleted:
            yield IssueState(issue_id, partial={"at": self._at, "document": issue})
        if change := self._member("changelog"):
            yield from self._of_change(change, issue, issue_id)

    def _whole(self, issue: Document, issue_id: str) -> IssueState:
        """Split a whole issue: its lists may be newer or older than what other events state."""
        lists: dict[str, Register] = {}
        registers: dict[str, dict[str, Register]] = {}
        at = documents.updated(issue)
        for kind in KINDS:
            if (listed := documents.listed(issue, kind)) is None:
                continue
            if listed[1]:
                lists[kind] = {"at": at, "seen": self._at, "things": listed[0]}
            else:
                registers[kind] = {name: _register(thing, at) for name, thing in documents.things(listed[0])}
        hook = {"at": self._at, "document": documents.without_lists(issue)}
        return IssueState(issue_id, hook=hook, lists=lists, registers=registers)

    def _of_change(self, change: Document, issue: Document, issue_id: str) -> Iterator[IssueState]:
        """Convert a change to a history as in the REST API: Jira sets both to the time of the issue's update."""
        name = documents.identifier(change.get("id"))
        if name is None or not isinstance(change.get("items"), list):
            self._unread.append("changelog")
            return
        updated = documents.fields(issue).get("updated")
        at = times.micros(updated) or self._at
        created = times.text_of(times.of_micros(at)) if at else None
        history = {"id": name, "author": self._payload.get("user"), "created": created, "items": change["items"]}
        yield IssueState(issue_id, registers={"changelog": {name: {"at": max(at, 0), "document": history}}})

    def _of_thing(self, member: str, kind: Kind, thing: Document, issue_id: str | None) -> Iterator[IssueState]:
        name = documents.identifier(thing.get("id"))
        owner = issue_id or documents.issue_id(thing.get("issueId")) or _owner(thing.get("self"))
        if name is None or owner is None:
            self._unread.append(member)
            return
        is_deleted = f"{member}_deleted" in (
            self._name,
            str(self._payload.get("issue_event_type_name"))[len("issue_") :],
        )
        register = {"at": self._at, "deleted": True} if is_deleted else _register(thing, self._at)
        yield IssueState(owner, registers={kind: {name: register}})

    def _of_link(self, link: Document) -> Iterator[IssueState]:
        name = documents.identifier(link.get("id"))
        ends = {side: documents.issue_id(link.get(f"{side}IssueId")) for side in ("source", "destination")}
        if name is None or None in ends.values():
            self._unread.append("issueLink")
        if name is None:
            return
        for side, other in (("source", "destination"), ("destination", "source")):
            if (owner := ends[side]) is not None:
                seen = {"at": self._at, **_link(link, name, side, ends[other])}
                if self._name == "issuelink_deleted":
                    seen = {"at": self._at, "deleted": True}
                yield IssueState(owner, registers={"links": {name: seen}})


def _register(thing: Document, at: int) -> Register:
    touched = documents.touched(thing)
    return {"at": max(at if touched is None else touched, 0), "document": thing}


def _link(link: Document, name: str, side: str, other: str | None) -> Register:
    """Convert a link to the form in which the issue at one of its sides lists it; the source lists the other issue as outward."""
    kind = link.get("issueLinkType")
    names = kind if isinstance(kind, dict) else {}
    described = {"name": names.get("name"), "inward": names.get("inwardName"), "outward": names.get("outwardName")}
    end = "outwardIssue" if side == "source" else "inwardIssue"
    return {"document": {"id": name, "type": described, end: {"id": other}}}


def _owner(url: Any) -> str | None:
    found = _OWN_URL.search(url) if isinstance(url, str) else None
    return documents.issue_id(found[1]) if found else None
