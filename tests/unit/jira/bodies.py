"""Bodies of webhooks and answers of REST, as Jira writes them."""

import json
from typing import Any

from analyst.connectors.jira.issue.events import Event, read_event
from analyst.connectors.jira.issue.state import IssueState

ISSUE_ID = "10302"
KEY = "ABC-12"
SECOND = 1_000
START = 1_714_557_600_000
"""2024-05-01 10:00 UTC, in milliseconds since 1970."""

LINK = {
    "id": 10656,
    "sourceIssueId": int(ISSUE_ID),
    "destinationIssueId": 10999,
    "issueLinkType": {"id": 1, "name": "Blocks", "outwardName": "blocks", "inwardName": "is blocked by"},
}
"""A link as events have it, from the issue to another."""


def at(seconds: int) -> str:
    """Write a time so many seconds after the start, as a Jira in India does."""
    return f"2024-05-01T15:{30 + seconds // 60:02}:{seconds % 60:02}.000+0530"


def person(name: str = "ann") -> dict[str, Any]:
    return {"accountId": f"5b10:{name}", "displayName": name.title(), "active": True}


def comment(comment_id: int, text: str = "words", updated: int = 0) -> dict[str, Any]:
    return {
        "self": f"https://jira.example/rest/api/2/issue/{ISSUE_ID}/comment/{comment_id}",
        "id": str(comment_id),
        "author": person(),
        "body": text,
        "updateAuthor": person("bob"),
        "created": at(0),
        "updated": at(updated),
    }


def worklog(worklog_id: int, seconds: int = 3600, updated: int = 0) -> dict[str, Any]:
    return {
        "self": f"https://jira.example/rest/api/2/issue/{ISSUE_ID}/worklog/{worklog_id}",
        "id": str(worklog_id),
        "issueId": ISSUE_ID,
        "author": person(),
        "updateAuthor": person(),
        "comment": "hard *work*",
        "created": at(0),
        "updated": at(updated),
        "started": at(0),
        "timeSpent": "1h",
        "timeSpentSeconds": seconds,
    }


def attachment(attachment_id: int, created: int = 0) -> dict[str, Any]:
    return {
        "id": str(attachment_id),
        "filename": "a b.png",
        "author": person(),
        "created": at(created),
        "size": 1234,
        "mimeType": "image/png",
        "content": f"https://jira.example/rest/api/3/attachment/content/{attachment_id}",
    }


def link(link_id: int, other: str = "ABC-99") -> dict[str, Any]:
    return {
        "id": str(link_id),
        "type": {"id": "1", "name": "Blocks", "inward": "is blocked by", "outward": "blocks"},
        "outwardIssue": {
            "id": "10999",
            "key": other,
            "fields": {"summary": "The other", "status": {"name": "Open"}, "priority": {"name": "High"}},
        },
    }


def history(history_id: int, created: int = 0) -> dict[str, Any]:
    item = {"field": "status", "fieldtype": "jira", "from": "1", "fromString": "Open", "to": "3", "toString": "Done"}
    return {"id": str(history_id), "author": person(), "created": at(created), "items": [item]}


def issue(updated: int = 0, *, key: str = KEY, created: int = 0, **fields: Any) -> dict[str, Any]:
    """A whole issue, as events embed it; `fields` are added to those that every issue has."""
    return {
        "id": ISSUE_ID,
        "self": f"https://jira.example/rest/api/2/issue/{ISSUE_ID}",
        "key": key,
        "fields": {
            "summary": f"As of {updated}",
            "issuetype": {"name": "Bug"},
            "status": {"name": "Open", "statusCategory": {"key": "new", "name": "To Do"}},
            "priority": {"name": "High"},
            "project": {"key": key.partition("-")[0], "name": "Alphabet"},
            "creator": person(),
            "reporter": person("bob"),
            "assignee": None,
            "resolution": None,
            "labels": ["a", "b"],
            "created": at(created),
            "updated": at(updated),
            **fields,
        },
    }


def page(member: str, things: list[Any], total: int | None = None) -> dict[str, Any]:
    return {"startAt": 0, "maxResults": 50, "total": len(things) if total is None else total, member: things}


def partial(summary: str = "A few fields", key: str = KEY) -> dict[str, Any]:
    """What events of comments embed: six fields, no times."""
    full = issue(key=key)
    names = ("issuetype", "status", "priority", "project", "assignee")
    return {**full, "fields": {"summary": summary, **{name: full["fields"][name] for name in names}}}


def answer(updated: int = 0, **parts: Any) -> dict[str, Any]:
    """What REST answers, complete."""
    lists = {
        "comment": page("comments", parts.pop("comments", [])),
        "worklog": page("worklogs", parts.pop("worklogs", [])),
        "attachment": parts.pop("attachments", []),
        "issuelinks": parts.pop("links", []),
    }
    histories, remote = parts.pop("histories", []), parts.pop("remote_links", [])
    found = issue(updated, **lists, **parts)
    return found | {"changelog": page("histories", histories), "remote_links": remote}


def body(name: str, seconds: int = 0, **members: Any) -> bytes:
    """The body of a webhook, sent some seconds after the start."""
    return json.dumps({"timestamp": START + seconds * SECOND, "webhookEvent": name, **members}).encode()


def read(content: bytes) -> Event:
    """Read a body that tells something."""
    found = read_event(content)
    assert isinstance(found, Event), found
    return found


def fact(content: bytes) -> IssueState:
    """Read a body that tells of one issue."""
    (found,) = read(content).facts
    return found


def joined(*contents: bytes) -> IssueState:
    """Join what several bodies tell of one issue."""
    state = IssueState(ISSUE_ID)
    for content in contents:
        state = state.joined(fact(content))
    return state
