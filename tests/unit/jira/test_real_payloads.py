"""What Jira really sent, Cloud and Data Center, old and new: read or set aside with a reason, and made rows of."""

import json
import os
from pathlib import Path

import pytest

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.events import Event, SetAside, read_event
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.values import Report
from tests.processes import ROOT

DATA = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared/data")).resolve() / "jira"
WEBHOOKS = sorted((DATA / "webhooks").glob("*.json"))

pytestmark = pytest.mark.skipif(not WEBHOOKS, reason=f"Jira's payloads are not in {DATA}; set SHARED_DATA")


def read(path: Path) -> Event:
    found = read_event(path.read_bytes())
    assert isinstance(found, Event), found
    return found


def rows_of(state: IssueState, report: Report | None = None) -> dict[str, int]:
    made = rows(state, TransformOptions.of("jira.example"), report or Report())
    return {name: len(found) for name, found in made.items() if found}


@pytest.mark.parametrize("path", WEBHOOKS, ids=lambda path: path.stem)
def test_every_body_is_read_or_set_aside_with_a_reason(path: Path) -> None:
    found = read_event(path.read_bytes())
    assert found.at is not None
    if isinstance(found, SetAside):
        assert (path.name, found.reason) == ("project-created.json", "project_created names no issue")
        return
    assert found.unread == ()
    for state in found.facts:
        report = Report()
        assert IssueState.from_json(state.to_json()) == state
        assert rows_of(state, report)["raw_issues"] == 1
        assert report.misshapen.keys() <= {"changelog.items"}  # one relay put its name between the items


def test_events_of_comments_keep_the_whole_issue_and_touch_their_comment() -> None:
    whole = read(DATA / "webhooks/issue-updated-commented.json").facts[0]
    created = read(DATA / "webhooks/comment-created.json").facts[0]
    both = whole.joined(created)
    assert both == created.joined(whole)
    assert both.key == "BBCOM-956"
    assert rows_of(both)["comments"] == rows_of(whole)["comments"] + 1


def test_all_bodies_in_any_order_give_the_same_states() -> None:
    states: list[dict[str, IssueState]] = [{}, {}]
    for known, paths in zip(states, (WEBHOOKS, [*reversed(WEBHOOKS), *WEBHOOKS]), strict=True):
        for path in paths:
            event = read_event(path.read_bytes())
            for fact in event.facts if isinstance(event, Event) else ():
                known[fact.issue_id] = known[fact.issue_id].joined(fact) if fact.issue_id in known else fact
    assert states[0] == states[1]
    assert states[0]["10040"].updated is not None
    assert states[0]["10040"].updated.isoformat() == "2019-02-16T21:12:10.037000+00:00"
    assert states[0]["10303"].is_tombstone


@pytest.mark.parametrize("name", ["rest-issue.json", "rest-issue-rendered.json"])
def test_rest_answers_are_accepted(name: str) -> None:
    document = json.loads((DATA / name).read_bytes())
    report = Report()
    made = rows_of(IssueState(str(document["id"])).fetched(document), report)
    assert made["issues"] == 1
    assert made.get("comments", 0) == len(document["fields"]["comment"]["comments"])
    assert made.get("issuelinks", 0) == len(document["fields"]["issuelinks"])
    assert report.misshapen == {}
