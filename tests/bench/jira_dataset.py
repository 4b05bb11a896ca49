"""50,000 issues of Jira over 36 months, about 500,000 rows, as the backfill leaves them in a bucket."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.warehouse.publish import Warehouse
from analyst.store.folder.store import FileStore

ISSUES: Final = 50_000
MONTHS: Final = 36
_FIRST_ID: Final = 100_000
_FIRST_DAY: Final = datetime(2023, 3, 1, tzinfo=UTC)
_BATCH: Final = 2_500
_TEXT: Final = (
    "the issue server answer table webhook broken late fold again never always customer request order payment error "
    "timeout page login report"
)
_WORDS: Final = _TEXT.split()
_EMPTY: Final = {f"customfield_{number}": None for number in range(10_000, 10_060)}


def fill(bucket: Path) -> None:
    """Publish all issues, batch by batch."""
    random = Random(1)
    warehouse = Warehouse(
        FileStore(bucket, lambda: b"s" * 32), "jira", TransformOptions.of(), lambda: datetime.now(UTC)
    )
    for first in range(0, ISSUES, _BATCH):
        answers = (answered(number, random) for number in range(first, first + _BATCH))
        warehouse.absorb({answer["id"]: partial(_fetched, answer=answer) for answer in answers})


def _fetched(state: IssueState, *, answer: dict[str, Any]) -> IssueState:
    return state.fetched(answer)


def picked(random: Random) -> int:
    """Pick an issue that something happens to: four of five times one of the last three months."""
    recent = ISSUES * (MONTHS - 3) // MONTHS
    return random.randrange(recent, ISSUES) if random.random() < 0.8 else random.randrange(recent)


def answered(number: int, random: Random) -> dict[str, Any]:
    """Return an issue as REST answers it, with what belongs to it: rows of seven tables, 10 in all."""
    issue, created = whole(number, random), stamp(_created(number))
    id_ = issue["id"]
    comments = [
        {"id": f"{id_}{n}", "author": _user(random), "body": _text(random, 60), "created": created, "updated": created}
        for n in range(3)
    ]
    worklog = {"id": f"{id_}8", "author": _user(random), "timeSpentSeconds": 60, "started": created, "updated": created}
    link = {"id": f"{id_}9", "type": {"name": "Relates"}, "outwardIssue": {"id": id_, "key": issue["key"]}}
    item = {"field": "status", "fieldtype": "jira", "fromString": "Open", "toString": "Done"}
    histories = [{"id": f"{id_}{n}", "author": _user(random), "created": created, "items": [item]} for n in range(4)]
    issue["fields"] |= {
        "comment": {"total": 3, "comments": comments},
        "worklog": {"total": 1, "worklogs": [worklog]},
        "issuelinks": [link],
        "attachment": [],
    }
    remote = {"id": 1, "object": {"url": "https://wiki.example.com", "title": "A page"}}
    return {**issue, "changelog": {"total": 4, "histories": histories}, "remote_links": [remote] if number % 2 else []}


def whole(number: int, random: Random, updated: datetime | None = None) -> dict[str, Any]:
    """Return an issue as events embed it, about 5 kB."""
    fields = {
        "summary": _text(random, 8),
        "description": _text(random, 150),
        "created": stamp(_created(number)),
        "updated": stamp(updated or _created(number) + timedelta(days=1)),
        "status": {"name": random.choice(("Open", "Done", "Waiting")), "statusCategory": {"name": "To Do"}},
        "issuetype": {"name": "Bug"},
        "priority": {"name": "High"},
        "project": {"id": "10000", "key": "ABC", "name": "Alphabet"},
        "labels": ["one", "two"],
        **{person: _user(random) for person in ("creator", "reporter", "assignee")},
        **_EMPTY,
    }
    id_ = str(_FIRST_ID + number)
    return {"id": id_, "key": f"ABC-{id_}", "fields": fields}


def stamp(at: datetime) -> str:
    """Write a time as Jira does."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def _created(number: int) -> datetime:
    return _FIRST_DAY + timedelta(days=MONTHS * 30.4375 * number / ISSUES)


def _text(random: Random, words: int) -> str:
    return " ".join(random.choices(_WORDS, k=words))


def _user(random: Random) -> dict[str, Any]:
    number = random.randrange(300)
    return {
        "accountId": f"{number:024x}",
        "displayName": f"User {number}",
        "emailAddress": f"user{number}@example.com",
        "active": True,
    }
