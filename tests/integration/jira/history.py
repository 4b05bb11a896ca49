"""Histories of issues, as the sequence of webhooks that Jira sends of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.integration.jira.conftest import NOON, event, issue, stamp

Event = dict[str, Any]


@dataclass
class Issue:
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
        self.issues: list[Issue] = []
        for number in range(1, issues + 1):
            self._pass_time()
            created = self.now - timedelta(days=self.random.choice((0, 0, 40)))
            issue = Issue(number * 100, created, self.now, key=f"ABC-{number}")
            self.issues.append(issue)
            self._tell("jira:issue_created", issue=issue.whole())

    def go_on(self, steps: int) -> list[Event]:
        """Let things happen, and give all events so far."""
        kinds: tuple[Callable[[Issue], None], ...] = (
            self._edit, self._edit, self._move, self._comment, self._edit_comment, self._delete_comment,
            self._log_work, self._link, self._attach, self._delete,
        )  # fmt: skip
        for _ in range(steps):
            self._pass_time()
            alive = [issue for issue in self.issues if not issue.is_deleted]
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

    def _update(self, issue: Issue, field_name: str, before: str, after: str) -> None:
        issue.updated = self.now
        item = {"field": field_name, "fieldtype": "jira", "fromString": before, "toString": after}
        change = {"id": str(self._next_id()), "items": [item]}
        self._tell("jira:issue_updated", issue=issue.whole(), changelog=change, user={"accountId": "ann"})

    def _edit(self, issue: Issue) -> None:
        before, issue.summary = issue.summary, f"Summary {self.now:%H:%M:%S}"
        self._update(issue, "summary", before, issue.summary)

    def _move(self, issue: Issue) -> None:
        before, issue.key = issue.key, f"{self.random.choice(('ABC', 'XYZ'))}-{self._next_id()}"
        self._update(issue, "Key", before, issue.key)

    def _comment_document(self, comment: int) -> dict[str, Any]:
        at = stamp(self.now)
        return {"id": str(comment), "body": f"Said {at}", "created": stamp(NOON), "updated": at}

    def _comment(self, issue: Issue) -> None:
        issue.comments.append(self._next_id())
        self._tell("comment_created", issue=issue.partial(), comment=self._comment_document(issue.comments[-1]))

    def _edit_comment(self, issue: Issue) -> None:
        if issue.comments:
            comment = self._comment_document(self.random.choice(issue.comments))
            self._tell("comment_updated", issue=issue.partial(), comment=comment)

    def _delete_comment(self, issue: Issue) -> None:
        if issue.comments:
            comment = issue.comments.pop(self.random.randrange(len(issue.comments)))
            self._tell("comment_deleted", issue=issue.partial(), comment=self._comment_document(comment))

    def _log_work(self, issue: Issue) -> None:
        worklog = {"id": str(self._next_id()), "issueId": str(issue.number), "timeSpentSeconds": 60}
        self._tell("worklog_created", worklog={**worklog, "updated": stamp(self.now)})

    def _link(self, issue: Issue) -> None:
        other = self.random.choice(self.issues)
        ends = {"sourceIssueId": issue.number, "destinationIssueId": other.number}
        self._tell("issuelink_created", issueLink={"id": self._next_id(), **ends, "issueLinkType": {"name": "Blocks"}})

    def _attach(self, issue: Issue) -> None:
        attachment = {"id": str(self._next_id()), "filename": "a.txt", "size": 1, "created": stamp(self.now)}
        self._tell("attachment_created", issue=issue.partial(), attachment=attachment)

    def _delete(self, issue: Issue) -> None:
        if self.random.random() < 0.3:
            issue.is_deleted = True
            self._tell("jira:issue_deleted", issue=issue.whole())
