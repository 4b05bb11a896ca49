"""What the double of Jira holds of an issue, and the documents that it makes of it for REST v2, v3 and webhooks."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone
from typing import Any, Literal

Api = Literal["2", "3"]
STATUSES = {"To Do": ("10000", 2, "new"), "In Progress": ("3", 4, "indeterminate"), "Done": ("10001", 3, "done")}
PARTIAL = ("assignee", "issuetype", "priority", "project", "status", "summary")
"""The fields that a comment's event tells of its issue."""
CATEGORIES = {"new": "To Do", "indeterminate": "In Progress", "done": "Done"}
_RICH = frozenset({"description", "environment"})


@dataclass(frozen=True, slots=True)
class Sla:
    """A goal in ms that runs from one time, in epoch ms, until another if it has been met."""

    name: str
    start: int
    goal: int
    stop: int | None = None

    def document(self, id_: str, now: int) -> dict[str, Any]:
        """Return how it stands at a time."""
        elapsed = (now if self.stop is None else self.stop) - self.start
        cycle = {
            "startTime": {"epochMillis": self.start},
            "breached": elapsed > self.goal,
            "goalDuration": {"millis": self.goal, "friendly": f"{self.goal // 3_600_000}h"},
            "elapsedTime": {"millis": elapsed, "friendly": f"{elapsed // 60_000}m"},
            "remainingTime": {"millis": self.goal - elapsed, "friendly": f"{(self.goal - elapsed) // 60_000}m"},
        }
        if self.stop is not None:
            return {"id": id_, "name": self.name, "completedCycles": [cycle | {"stopTime": {"epochMillis": self.stop}}]}
        return {"id": id_, "name": self.name, "completedCycles": [], "ongoingCycle": cycle | {"paused": False}}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file. Times are in epoch ms."""

    id: str
    filename: str
    data: bytes
    mime_type: str
    author: Mapping[str, Any]
    created: int


@dataclass(slots=True)
class Note:
    """A comment, or what was logged as work when it has `seconds`."""

    id: str
    text: str
    author: Mapping[str, Any]
    created: int
    updated: int
    seconds: int | None = None


@dataclass(slots=True)
class Link:
    """A link from one issue to another, by their ids."""

    id: str
    kind: str
    source: str
    destination: str


@dataclass(slots=True)
class Issue:
    """An issue. `fields` hold what is no other attribute, as REST v2 tells it; `Sla` for an SLA."""

    id: str
    key: str
    created: int
    updated: int
    fields: dict[str, Any]
    comments: dict[str, Note] = field(default_factory=dict)
    worklogs: dict[str, Note] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    remote_links: list[dict[str, Any]] = field(default_factory=list)
    histories: list[dict[str, Any]] = field(default_factory=list)

    @property
    def project(self) -> str:
        """The key of its project."""
        return self.key.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks at issues: by which version of REST, when, and whether SLAs are theirs to see."""

    url: str
    api: Api
    now: int
    zone: timezone = UTC
    sees_sla: bool = True
    unseen: Any = None
    """What it is shown instead of an SLA that it does not see."""

    def time(self, ms: int) -> str:
        """Write a time as Jira does."""
        return datetime.fromtimestamp(ms / 1000, self.zone).strftime(f"%Y-%m-%dT%H:%M:%S.{ms % 1000:03}%z")

    def text(self, text: str | None) -> Any:
        """Return a text as it is, or as a document of v3."""
        return text if text is None or self.api == "2" else adf(text)

    def at(self, path: str) -> str:
        """Return the address of a resource."""
        return f"{self.url}/rest/api/{self.api}/{path}"

    def comment(self, issue: Issue, note: Note) -> dict[str, Any]:
        """Describe a comment."""
        return {
            "self": self.at(f"issue/{issue.id}/comment/{note.id}"),
            "jsdPublic": True,
            "body": self.text(note.text),
        } | (self._noted(note))

    def worklog(self, issue: Issue, note: Note) -> dict[str, Any]:
        """Describe logged work."""
        return {
            "self": self.at(f"issue/{issue.id}/worklog/{note.id}"),
            "issueId": issue.id,
            "comment": self.text(note.text),
            "started": self.time(note.created),
            "timeSpent": f"{(note.seconds or 0) // 60}m",
            "timeSpentSeconds": note.seconds,
        } | self._noted(note)

    def _noted(self, note: Note) -> dict[str, Any]:
        return {
            "id": note.id,
            "author": note.author,
            "updateAuthor": note.author,
            "created": self.time(note.created),
            "updated": self.time(note.updated),
        }

    def attachment(self, attachment: Attachment) -> dict[str, Any]:
        """Describe a file."""
        return {
            "self": self.at(f"attachment/{attachment.id}"),
            "id": attachment.id,
            "filename": attachment.filename,
            "author": attachment.author,
            "created": self.time(attachment.created),
            "size": len(attachment.data),
            "mimeType": attachment.mime_type,
            "content": self.at(f"attachment/content/{attachment.id}"),
        }

    def status(self, name: str) -> dict[str, Any]:
        """Describe a status and its category."""
        id_, category, key = STATUSES[name]
        return {"id": id_, "name": name, "statusCategory": {"id": category, "key": key, "name": CATEGORIES[key]}}

    def history(self, history: Mapping[str, Any]) -> dict[str, Any]:
        """Describe a change."""
        return {**history, "created": self.time(history["created"])}

    def brief(self, issue: Issue) -> dict[str, Any]:
        """Describe an issue as its links and subtasks do."""
        shown = {name: issue.fields.get(name) for name in ("summary", "priority", "issuetype")}
        fields = {**shown, "status": self.status(issue.fields["status"])}
        return {"id": issue.id, "key": issue.key, "self": self.at(f"issue/{issue.id}"), "fields": fields}

    def link(self, link: Link, issue: Issue, other: Issue) -> dict[str, Any]:
        """Describe a link as one of its issues has it."""
        side = "outwardIssue" if link.source == issue.id else "inwardIssue"
        kind = {"id": "10000", "name": link.kind, "inward": f"is {link.kind} by", "outward": link.kind}
        return {"id": link.id, "self": self.at(f"issueLink/{link.id}"), "type": kind, side: self.brief(other)}

    def fields(self, issue: Issue, links: Iterable[dict[str, Any]], *, most: int | None = None) -> dict[str, Any]:
        """Return all fields; `most` comments are in them, and twenty worklogs."""
        found = {name: self._value(name, value) for name, value in issue.fields.items()}
        comments = [self.comment(issue, note) for note in issue.comments.values()]
        worklogs = [self.worklog(issue, note) for note in issue.worklogs.values()]
        return found | {
            "created": self.time(issue.created),
            "updated": self.time(issue.updated),
            "status": self.status(issue.fields["status"]),
            "issuelinks": list(links),
            "attachment": [self.attachment(one) for one in issue.attachments.values()],
            "comment": _page("comments", comments, 0, most or max(len(comments), 1)),
            "worklog": _page("worklogs", worklogs, 0, 20),
        }

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, Sla):
            return value.document(name.rpartition("_")[2], self.now) if self.sees_sla else self.unseen
        if name == "resolutiondate":
            return None if value is None else self.time(value)
        return self.text(value) if name in _RICH else value


def _page(name: str, values: list[Any], start: int, most: int) -> dict[str, Any]:
    return {"startAt": start, "maxResults": most, "total": len(values), name: values[start : start + most]}


def chosen(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Leave the fields that were asked for."""
    if "*all" in names or "*navigable" in names:
        return {name: value for name, value in fields.items() if f"-{name}" not in names}
    return {name: value for name, value in fields.items() if name in names}


def adf(text: str) -> dict[str, Any]:
    """Make a document of a text, a paragraph of each line."""
    return {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
            for line in text.split("\n")
        ],
    }
