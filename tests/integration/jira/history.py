"""Histories of issues, as the sequence of webhooks that Jira sends of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.integration.jira.conftest import NOON, event, issue, stamp

Event = dict[str, Any]


@dataclass
class Told:
    """An issue, as it is while its history is told."""

    number: int
    created: datetime
    updated: datetime
    summary: str = "New"
    key: str = ""
    comments: list[int] = field(default_factory=list)
    is_deleted: bool = False

    def whole(self) -> dict[str, Any]:
        return issue(self.number, key=self.key, created=self.created, updated=self.updated, summary=self.summary)

    def partial(self) -> dict[str, Any]:
        """Return the issue as events of comments embed it."""
        return {
            "id": str(self.number),
            "key": self.key,
            "fields": {"summary": self.summary, "status": {"name": "Open"}},
        }


class History:
    """What happens to a few issues, made up with a source of randomness."""

    def __init__(self, random: Random, issues: int = 3) -> None:
        self.random = random
        self.now = NOON
        self.ids = 100
        self.events: list[Event] = []
        self.issues: list[Told] = []
        for number in range(1, issues + 1):
            self._pass_time()
            created = self.now - timedelta(days=self.random.choice((0, 0, 40)))
            told = Told(number * 100, created, self.now, key=f"ABC-{number}")
            self.issues.append(told)
            self._tell("jira:issue_created", issue=told.whole())

    def go_on(self, steps: int) -> list[Event]:
        """Let things happen, and give all events so far."""
        kinds: tuple[Callable[[Told], None], ...] = (
            self._edit, self._edit, self._move, self._comment, self._edit_comment, self._delete_comment,
            self._log_work, self._link, self._attach, self._delete,
        )  # fmt: skip
        for _ in range(steps):
            self._pass_time()
            alive = [told for told in self.issues if not told.is_deleted]
            if alive:
                self.random.choice(kinds)(self.random.choice(alive))
        return self.events

    def _pass_time(self) -> None:
        self.now += timedelta(seconds=self.random.randint(1, 40 * 60))

    def _tell(self, name: str, **members: Any) -> None:
        self.events.append(event(name, self.now, **members))

    def _next_id(self) -> int:
        self.ids += 1
        return self.ids

    def _update(self, told: Told, field_name: str, before: str, after: str) -> None:
        told.updated = self.now
        item = {"field": field_name, "fieldtype": "jira", "fromString": before, "toString": after}
        change = {"id": str(self._next_id()), "items": [item]}
        self._tell("jira:issue_updated", issue=told.whole(), changelog=change, user={"accountId": "ann"})

    def _edit(self, told: Told) -> None:
        before, told.summary = told.summary, f"Summary {self.now:%H:%M:%S}"
        self._update(told, "summary", before, told.summary)

    def _move(self, told: Told) -> None:
        before, told.key = told.key, f"{self.random.choice(('ABC', 'XYZ'))}-{self._next_id()}"
        self._update(told, "Key", before, told.key)

    def _said(self, comment: int) -> dict[str, Any]:
        at = stamp(self.now)
        return {"id": str(comment), "body": f"Said {at}", "created": stamp(NOON), "updated": at}

    def _comment(self, told: Told) -> None:
        told.comments.append(self._next_id())
        self._tell("comment_created", issue=told.partial(), comment=self._said(told.comments[-1]))

    def _edit_comment(self, told: Told) -> None:
        if told.comments:
            comment = self._said(self.random.choice(told.comments))
            self._tell("comment_updated", issue=told.partial(), comment=comment)

    def _delete_comment(self, told: Told) -> None:
        if told.comments:
            comment = told.comments.pop(self.random.randrange(len(told.comments)))
            self._tell("comment_deleted", issue=told.partial(), comment=self._said(comment))

    def _log_work(self, told: Told) -> None:
        worklog = {"id": str(self._next_id()), "issueId": str(told.number), "timeSpentSeconds": 60}
        self._tell("worklog_created", worklog={**worklog, "updated": stamp(self.now)})

    def _link(self, told: Told) -> None:
        other = self.random.choice(self.issues)
        ends = {"sourceIssueId": told.number, "destinationIssueId": other.number}
        self._tell("issuelink_created", issueLink={"id": self._next_id(), **ends, "issueLinkType": {"name": "Blocks"}})

    def _attach(self, told: Told) -> None:
        attachment = {"id": str(self._next_id()), "filename": "a.txt", "size": 1, "created": stamp(self.now)}
        self._tell("attachment_created", issue=told.partial(), attachment=attachment)

    def _delete(self, told: Told) -> None:
        if self.random.random() < 0.3:
            told.is_deleted = True
            self._tell("jira:issue_deleted", issue=told.whole())
