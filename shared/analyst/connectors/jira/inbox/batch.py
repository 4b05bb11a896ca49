"""What a batch of events tells: facts about issues, and which events tell nothing."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from analyst import logs
from analyst.connectors.jira.api.issues import Fetched, known
from analyst.connectors.jira.inbox.archive import Archived
from analyst.connectors.jira.inbox.inbox import EVENT_BYTES, Received
from analyst.connectors.jira.issue.events import Event, SetAside, read_event
from analyst.connectors.jira.issue.rows import is_foreign
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.warehouse.publish import Change

_LOG = logging.getLogger(f"{logs.ROOT}.jira")


@dataclass(frozen=True, slots=True)
class Facts:
    """What events tell, joined by issue. `told` has the events with the issues that each is about.

    `unread` has, by names of such events, the members of their bodies that can't be read.
    """

    by_issue: dict[str, IssueState] = field(default_factory=dict)
    told: list[tuple[Received, frozenset[str]]] = field(default_factory=list)
    set_aside: list[Archived] = field(default_factory=list)
    unread: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Received]) -> Self:
        """Read events."""
        facts = cls()
        for event in events:
            found = _read(event)
            if isinstance(found, SetAside):
                facts.set_aside.append(Archived(event, found.reason))
                continue
            facts.told.append((event, frozenset(fact.issue_id for fact in found.facts)))
            if found.unread:
                facts.unread[event.name] = found.unread
            for fact in found.facts:
                known = facts.by_issue.get(fact.issue_id)
                facts.by_issue[fact.issue_id] = fact if known is None else known.joined(fact)
        return facts

    def to_fetch(self, projects: Collection[str] = ()) -> list[str]:
        """Tell the issues that Jira may know more of: not those that were deleted, or are in other projects."""
        return [
            issue_id
            for issue_id, fact in self.by_issue.items()
            if not fact.is_tombstone and not is_foreign(fact, projects)
        ]

    def changes(self, fetched: Fetched | None = None) -> dict[str, Change]:
        """Give the changes that follow, without those of issues that could not be fetched."""
        answers = fetched or Fetched()
        return {
            issue_id: partial(_changed, fact=fact, fetched=answers)
            for issue_id, fact in self.by_issue.items()
            if issue_id not in answers.failed
        }

    def about(self, issue_ids: Collection[str]) -> list[Received]:
        """Give the events that are about one of these issues at least."""
        return [event for event, about in self.told if not about.isdisjoint(issue_ids)]


def _read(event: Received) -> Event | SetAside:
    if len(event.body) > EVENT_BYTES:
        return SetAside(f"it is larger than {EVENT_BYTES} bytes")
    try:
        return read_event(event.body)
    except Exception:  # noqa: BLE001 - whatever it is, the other events go on
        _LOG.exception("an event can't be read", extra={"fields": {"event": event.name}})
        return SetAside("an unexpected error, which the log tells; replay the archive when it is mended")


def _changed(before: IssueState, *, fact: IssueState, fetched: Fetched) -> IssueState:
    after = before.joined(fact)
    if fact.issue_id in fetched.gone:
        return after.gone()
    answer = fetched.documents.get(fact.issue_id)
    return after if answer is None else known(after, answer)
