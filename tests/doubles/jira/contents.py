"""What an instance of Jira holds, how the searches and readers of it see that, and the webhooks that it sends."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timezone
from typing import Any

from tests.doubles.jira.issues import PARTIAL, Api, Attachment, Issue, Link, Look, Note, chosen
from tests.doubles.jira.webhooks import Webhook, webhook

START = 1_714_521_600_000
"""The first of May 2024 in epoch ms, when an instance begins."""
CUSTOM: tuple[tuple[str, str, str, str | None], ...] = (
    ("customfield_10004", "Severity", "option", None),
    ("customfield_10010", "Request Type", "sd-customerrequesttype", None),
    ("customfield_10016", "Story point estimate", "number", None),
    ("customfield_10156", "Request participants", "array", "user"),
    ("customfield_10161", "Time to resolution", "sd-servicelevelagreement", None),
    ("customfield_10328", "Time to first response", "sd-servicelevelagreement", None),
    ("customfield_10330", "Context", "string", None),
    ("customfield_10350", "Slack link", "string", None),
    ("customfield_10351", "Slack link", "string", None),
)
"""Id, name, type and type of items of the fields that the instance has added; two of them have the same name."""


def person(number: int, *, has_email: bool = False) -> dict[str, Any]:
    """Describe a user; most show no e-mail address."""
    shown = {"accountId": f"557058:user-{number}", "displayName": f"User {number}", "active": True}
    more = {"timeZone": "Europe/Prague", "accountType": "atlassian"}
    return shown | more | ({"emailAddress": f"user{number}@example.com"} if has_email else {})


@dataclass
class Holding:
    """What there is. Each act takes `tick` ms, and notes the webhooks that it sends in `webhooks`.

    Args:
        url: where it is served.
        media: where files are served, on a host of its own.
        projects: keys and names.
        clock: its time, in epoch ms.
        zone: in which it writes times, and reads those of queries that are not epoch ms.
        is_lagging: whether the search index stays as it is.
        is_quiet: whether it sends no webhooks.
        data_center: whether webhooks of comments tell nothing of their issue.
    """

    url: str = ""
    media: str = ""
    projects: dict[str, str] = field(default_factory=lambda: {"SUP": "Support", "DEV": "Development"})
    clock: int = START
    tick: int = 1000
    zone: timezone = UTC
    is_lagging: bool = False
    data_center: bool = False
    issues: dict[str, Issue] = field(default_factory=dict)
    index: dict[str, Issue] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    webhooks: list[Webhook] = field(default_factory=list)
    listen: Callable[[Webhook], object] = lambda _: None
    """Is told of every webhook when its act is done."""
    turn: threading.RLock = field(default_factory=threading.RLock)
    is_quiet: bool = False
    edition: int = 0
    """Counts up whenever the index changes."""
    _last: dict[str, int] = field(default_factory=dict)

    def look(self, api: Api = "3", *, sees_sla: bool = True, unseen: Any = None) -> Look:
        """Look at issues as somebody does."""
        return Look(self.url, api, self.clock, self.zone, sees_sla, unseen)

    def links_of(self, issue: Issue, look: Look) -> Iterator[dict[str, Any]]:
        """Describe the links of an issue."""
        for link in self.links.values():
            if issue.id in {link.source, link.destination}:
                other = self.issues.get(link.destination if link.source == issue.id else link.source)
                if other is not None:
                    yield look.link(link, issue, other)

    def find(self, key: str) -> Issue | None:
        """Find an issue by its id, its key, or one that it had."""
        return self.issues.get(key) or next((issue for issue in self.issues.values() if _is_called(issue, key)), None)

    def next(self, kind: str, first: int) -> str:
        """Return the next id of a kind."""
        self._last[kind] = self._last.get(kind, first - 1) + 1
        return str(self._last[kind])

    def changed(self, issue: Issue, items: list[dict[str, Any]], kind: str) -> None:
        """Note a change of an issue in its history, and tell it."""
        id_ = self.next("history", 70000)
        issue.histories.append({"id": id_, "author": person(1), "created": self.clock, "items": items})
        more = {"issue_event_type_name": kind, "changelog": {"id": id_, "items": items}}
        self.emit("jira:issue_updated", issue, **more)

    def noted(self, name: str, issue: Issue, note: Note, flow: str = "Primary") -> None:
        """Return what became of a comment or of logged work."""
        look = self.look("2")
        if note.seconds is not None:
            self.send(self.event(name, None, worklog=look.worklog(issue, note)), flow)
            return
        event = self.event(name, None, comment=look.comment(issue, note))
        if not self.data_center:
            shown = chosen(look.fields(issue, ()), PARTIAL)
            event["issue"] = {"id": issue.id, "self": look.at(f"issue/{issue.id}"), "key": issue.key, "fields": shown}
        self.send(event, flow)

    def attached(self, name: str, attachment: Attachment) -> None:
        """Return what became of a file."""
        self.send(self.event(name, None, attachment=self.look("2").attachment(attachment)))

    def linked(self, name: str, link: Link, flow: str = "Primary") -> None:
        """Return what became of a link."""
        kind = {"id": 10000, "name": link.kind, "outwardName": link.kind, "inwardName": f"is {link.kind} by"}
        ends = {"sourceIssueId": int(link.source), "destinationIssueId": int(link.destination)}
        shown = {"id": int(link.id), **ends, "issueLinkType": kind, "systemLink": False}
        self.send(self.event(name, None, issueLink=shown), flow)

    def emit(self, name: str, issue: Issue, **more: Any) -> None:
        """Tell an event of an issue."""
        self.send(self.event(name, issue, **more))

    def event(self, name: str, issue: Issue | None, **more: Any) -> dict[str, Any]:
        """Make an event, with all of an issue if one is given."""
        event: dict[str, Any] = {"timestamp": self.clock, "webhookEvent": name, "user": person(1), **more}
        if issue is not None:
            look = self.look("2")
            fields = look.fields(issue, self.links_of(issue, look))
            event["issue"] = {"id": issue.id, "self": look.at(f"issue/{issue.id}"), "key": issue.key, "fields": fields}
        return event

    def send(self, event: Mapping[str, Any], flow: str = "Primary") -> None:
        """Send an event."""
        if not self.is_quiet:
            self.webhooks.append(webhook(event, len(self.webhooks) + 1, flow))


def item(name: str, before: Any, after: Any) -> dict[str, Any]:
    """Describe the change of one field."""
    texts = {"fromString": _told(before), "toString": _told(after)}
    return {"field": name, "fieldtype": "jira", "fieldId": name, "from": None, "to": None, **texts}


def _told(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("displayName") or value.get("name") or value.get("value")
    return None if value is None else str(value)


def _is_called(issue: Issue, key: str) -> bool:
    return issue.key == key or any(
        item["field"] == "Key" and item["fromString"] == key for history in issue.histories for item in history["items"]
    )
