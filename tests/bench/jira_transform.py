"""Issues of Jira to rows: what REST answered, read, known, written as a state, and made rows of."""

import time
from typing import Any

import orjson

from analyst.connectors.jira.issue import documents
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.values import Report
from tests.bench.measurement import Row, at_least

ISSUES = 500
TIMES = 8
_FIELDS = [
    {"field": "customfield_10004", "column": "severity", "type": "option"},
    {"field": "customfield_10161", "column": "time_to_resolution", "type": "sla"},
    {"field": "customfield_10002", "column": "organizations", "type": "options"},
]
_EMPTY = {f"customfield_{number}": None for number in range(11_000, 11_060)}


def measure() -> list[Row]:
    """Take issues of 10 rows each, whose texts are ADF as in REST v3, and wiki markup as in REST v2 and events."""
    return [_measured("ADF", _adf), _measured("wiki markup", _wiki)]


def _measured(kind: str, rich: Any) -> Row:
    answers = [orjson.dumps(_answer(number, rich)) for number in range(ISSUES)]
    options = TransformOptions.of("jira.example", _FIELDS)
    seconds, made = min(_taken(answers, options) for _ in range(TIMES))
    what = f"issues of {made / ISSUES:.0f} rows and {len(answers[0]) / 1000:.0f} kB, {kind}, to states and rows"
    return at_least(what, ISSUES / seconds, "/s", 3_000, "a second of processor time")


def _taken(answers: list[bytes], options: TransformOptions) -> tuple[float, int]:
    began, made = time.process_time(), 0
    for answer in answers:
        document = documents.parse(answer)
        state = IssueState(document["id"]).fetched(document)
        made += sum(len(found) for found in rows(state, options, Report()).values())
    return time.process_time() - began, made


def _adf(paragraphs: int) -> dict[str, Any]:
    words = [
        {"type": "text", "text": "Some words about the thing. ", "marks": [{"type": "strong"}]},
        {"type": "hardBreak"},
        {"type": "text", "text": "And more of them, which say the same."},
    ]
    return {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": words}] * paragraphs}


def _wiki(paragraphs: int) -> str:
    return "\n".join(["* Some *words* about the _thing_, [here|https://a.example/b], and {{more}}."] * paragraphs)


def _person(name: str) -> dict[str, Any]:
    avatars = {size: f"https://avatar.example/{name}?size={size}&" + "d" * 80 for size in ("16x16", "24x24", "48x48")}
    return {
        "self": f"https://jira.example/rest/api/3/user?accountId=5b10:{name}",
        "accountId": f"5b10:{name}",
        "emailAddress": f"{name}@jira.example",
        "avatarUrls": avatars,
        "displayName": name.title(),
        "active": True,
    }


def _named(name: str, **more: Any) -> dict[str, Any]:
    return {"self": f"https://jira.example/rest/api/3/named/{name}", "id": "1", "name": name, **more}


def _time(number: int) -> str:
    return f"2024-05-{1 + number % 28:02}T15:{number % 60:02}:{number % 59:02}.{number % 997:03}+0530"


def _answer(number: int, rich: Any) -> dict[str, Any]:
    """What REST answers of an issue: with itself 10 rows in the tables."""
    ann, bob = _person("ann"), _person("bob")
    stamps = {"author": ann, "updateAuthor": bob, "created": _time(number * 5), "updated": _time(number * 6)}
    item = {"field": "status", "fieldtype": "jira", "from": "1", "fromString": "Open", "to": "3", "toString": "Done"}
    comments = [{"id": str(number * 10 + one), "body": rich(3), **stamps} for one in range(2)]
    worklog = {
        "id": str(number),
        "comment": rich(1),
        "started": _time(number * 4),
        "timeSpent": "1h",
        "timeSpentSeconds": 3600,
    }
    attachment = {"id": str(number), "filename": "a.png", "author": ann, "created": _time(number * 3), "size": 12_345}
    other = {"id": "1", "key": "ABC-1", "fields": {"summary": "Other", "status": _named("Open")}}
    link = {"id": str(number), "type": _named("Blocks"), "outwardIssue": other}
    histories = [
        {"id": str(number * 10 + one), "author": bob, "created": _time(number * 8 + one), "items": [item]}
        for one in range(3)
    ]
    fields = {
        **_EMPTY,
        "summary": f"Issue {number}",
        "description": rich(6),
        "issuetype": _named("Bug"),
        "status": _named("Open", statusCategory=_named("To Do")),
        "priority": _named("High"),
        "project": {"key": "ABC", **_named("Alphabet")},
        "creator": ann,
        "reporter": ann,
        "assignee": bob,
        "created": _time(number),
        "updated": _time(number * 7),
        "duedate": "2024-06-01",
        "labels": ["a", "b"],
        "customfield_10004": {"value": "High"},
        "customfield_10161": {"ongoingCycle": {"breached": False, "goalDuration": {"millis": 1}}},
        "comment": {"comments": comments, "total": 2},
        "worklog": {"worklogs": [worklog | stamps], "total": 1},
        "attachment": [attachment],
        "issuelinks": [link],
    }
    changelog = {"histories": histories, "total": 3}
    return {"id": str(10_000 + number), "key": f"ABC-{number}", "fields": fields, "changelog": changelog}
