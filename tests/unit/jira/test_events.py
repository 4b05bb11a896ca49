"""The events in bodies of webhooks: of Cloud and Data Center, old and new, and of unknown shapes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.events import SetAside, read_event
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import UNKNOWN_TIME, IssueState
from analyst.connectors.jira.issue.tables import TABLES
from analyst.connectors.jira.issue.values import Report
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, LINK, body, comment, fact, issue, partial, person, read

SERVER_USER = {"name": "ann", "key": "JIRAUSER10100", "emailAddress": "ann@jira.example", "displayName": "Ann"}
SERVER_COMMENT = comment(5) | {"author": SERVER_USER, "self": f"http://j:8080/rest/api/2/issue/{ISSUE_ID}/comment/5"}
CHANGE = {"id": "10230", "items": bodies.history(1)["items"]}

SPRINT = {"id": 7, "self": "https://jira.example/rest/agile/1.0/sprint/7", "state": "active", "name": "Sprint 7"}
VERSION = {"id": "3", "self": "https://jira.example/rest/api/2/version/3", "name": "1.0", "projectId": 10000}
PROJECT = {"id": 10000, "key": "ABC", "name": "Alphabet"}


def count(state: IssueState) -> dict[str, int]:
    """How many rows an issue has in the tables, without those of which there are none."""
    made = rows(state, TransformOptions(), Report())
    return {name: len(found) for name, found in made.items() if found and name != "raw_issues"}


@pytest.mark.parametrize(
    ("name", "members", "expected"),
    [
        ("jira:issue_created", {"issue": issue(), "user": person()}, {"issues": 1}),
        ("jira:issue_updated", {"issue": issue(), "changelog": CHANGE}, {"issues": 1, "changelog": 1}),
        ("issue_updated", {"issue": issue(), "changelog": CHANGE}, {"issues": 1, "changelog": 1}),
        ("jira:issue_updated", {"issue": issue(), "comment": comment(1)}, {"issues": 1, "comments": 1}),
        ("jira:issue_deleted", {"issue": issue()}, {}),
        ("jira:issue_deleted", {"issue": {"id": ISSUE_ID, "key": "ABC-12"}}, {}),
        ("comment_created", {"comment": comment(1), "issue": partial()}, {"issues": 1, "comments": 1}),
        ("comment_created", {"comment": SERVER_COMMENT}, {"comments": 1}),
        ("comment_updated", {"comment": comment(1), "issue": partial()}, {"issues": 1, "comments": 1}),
        ("comment_deleted", {"comment": comment(1), "issue": partial()}, {"issues": 1}),
        ("comment_deleted", {"comment": SERVER_COMMENT}, {}),
        ("worklog_created", {"worklog": bodies.worklog(1)}, {"worklogs": 1}),
        ("worklog_updated", {"worklog": bodies.worklog(1)}, {"worklogs": 1}),
        ("worklog_deleted", {"worklog": bodies.worklog(1)}, {}),
        ("jira:worklog_updated", {"issue": issue()}, {"issues": 1}),
        (
            "attachment_created",
            {"attachment": bodies.attachment(1), "issue": partial()},
            {"issues": 1, "attachments": 1},
        ),
        ("attachment_deleted", {"attachment": bodies.attachment(1), "issue": partial()}, {"issues": 1}),
        ("issue_property_set", {"issue": {"id": ISSUE_ID}, "property": {"key": "k", "value": 1}}, {}),
    ],
)
def test_an_event_describes_its_issue(name: str, members: dict[str, Any], expected: dict[str, int]) -> None:
    event = read(body(name, **members))
    (state,) = event.facts
    assert state.issue_id == ISSUE_ID
    assert count(state) == expected
    assert event.unread == ()
    assert event.name == name.removeprefix("jira:")
    assert event.at == datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "member"), [("issue_comment_deleted", "comment"), ("issue_worklog_deleted", "worklog")]
)
def test_data_center_reports_deletions_in_updates_of_the_issue(kind: str, member: str) -> None:
    members: dict[str, Any] = {member: {"comment": comment(1), "worklog": bodies.worklog(1)}[member]}
    state = fact(body("jira:issue_updated", issue=issue(), issue_event_type_name=kind, **members))
    assert count(state) == {"issues": 1}


def test_a_link_belongs_to_both_issues() -> None:
    made = {
        state.issue_id: rows(state, TransformOptions(), Report())["issuelinks"]
        for state in read(body("issuelink_created", issueLink=LINK)).facts
    }
    columns = list(TABLES["issuelinks"].types)
    links = {name: dict(zip(columns, row, strict=True)) for name, (row,) in made.items()}
    assert {name: (row["direction"], row["linked_issue_id"], row["link_type"]) for name, row in links.items()} == {
        ISSUE_ID: ("outward", "10999", "Blocks"),
        "10999": ("inward", ISSUE_ID, "Blocks"),
    }


def test_a_deleted_link_is_removed_from_both_issues() -> None:
    created, deleted = (read(body(name, issueLink=LINK)) for name in ("issuelink_created", "issuelink_deleted"))
    for one, other in zip(created.facts, deleted.facts, strict=True):
        assert count(one) == {"issuelinks": 1}
        assert count(one.joined(other)) == {}


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("sprint_started", {"sprint": SPRINT}),
        ("sprint_closed", {"sprint": SPRINT}),
        ("board_created", {"board": {"id": 1, "name": "b", "type": "scrum"}}),
        ("user_created", {"user": person()}),
        ("user_deleted", {"user": SERVER_USER}),
        ("jira:version_released", {"version": VERSION}),
        ("jira:version_deleted", {"version": VERSION, "mergedTo": VERSION}),
        ("project_created", {"project": PROJECT}),
        ("project_soft_deleted", {"project": PROJECT}),
        ("issuetype_created", {"issuetype": {"id": 1, "name": "Bug"}}),
        ("filter_updated", {"filter": {"id": 1}}),
        ("option_voting_changed", {"property": {"key": "jira.option.voting", "value": True}}),
        ("jira_expression_evaluation_failed", {"expression": "x"}),
        ("attachment_created", {"attachment": bodies.attachment(1)}),
        ("issue_property_set", {"property": {"key": "k"}}),
    ],
)
def test_an_event_without_an_issue_is_set_aside_with_the_reason(name: str, members: dict[str, Any]) -> None:
    found = read_event(body(name, **members))
    assert isinstance(found, SetAside)
    assert found.name == name.removeprefix("jira:")
    assert "issue" in found.reason
    assert found.at == datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        b'{"issue": ' * 900 + b"1" + b"}" * 900,
        b'{"issue": null, "comment": []}',
        b'{"issue": {"id": "ABC"}}',
        b'{"issue": {"id": true}}',
        b'{"issue": {"id": "-1"}}',
        b'{"issue": {"id": 12345678901234567890}}',
        b'{"issue": {"id": 1.5, "fields": {}}}',
        b'{"comment": {"id": "1", "self": "https://jira.example/issue/ABC-1/comment/1"}}',
        b'{"comment": {"self": "https://jira.example/issue/7/comment/1"}}',
        b'{"worklog": {"id": "1", "issueId": {}}}',
        b'{"issueLink": {"id": 1}}',
        b'{"issueLink": {"sourceIssueId": 1, "destinationIssueId": 2}}',
    ],
)
def test_a_body_of_another_shape_is_set_aside(content: bytes) -> None:
    found = read_event(content)
    assert isinstance(found, SetAside)
    assert found.reason


def test_unreadable_members_are_reported_beside_readable_ones() -> None:
    event = read(body("jira:issue_updated", issue=issue(), comment=["no comment"], changelog={"items": 1}))
    assert set(event.unread) == {"comment", "changelog"}
    assert count(event.facts[0]) == {"issues": 1}


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1550286678321, "2019-02-16T03:11:18.321+00:00"),
        ("2018-12-20 15:45:59,695", "2018-12-20T15:45:59.695+00:00"),
        ("2019-1-30 19:48:08,900", "2019-01-30T19:48:08.900+00:00"),
        ("6/13/2019, 12:51:58 PM,687", "2019-06-13T12:51:58.687+00:00"),
        ("2019-02-15T19:11:18.321-0800", "2019-02-16T03:11:18.321+00:00"),
        ("soon", None),
        (None, None),
        ({}, None),
        (True, None),
        (10**18, None),
    ],
)
def test_the_time_of_an_event_may_have_the_format_of_a_relay(timestamp: Any, expected: str | None) -> None:
    found = read_event(json.dumps({"timestamp": timestamp, "webhookEvent": "comment_deleted"}).encode())
    assert found.at == (None if expected is None else datetime.fromisoformat(expected))


def test_a_deletion_without_a_time_counts() -> None:
    content = json.dumps({"webhookEvent": "jira:issue_deleted", "issue": issue()}).encode()
    state = fact(content)
    assert state.is_tombstone
    assert state.deleted == UNKNOWN_TIME
    later = state.joined(fact(body("jira:issue_deleted", issue=issue())))
    assert later.deleted == bodies.START * 1000
    raw = dict(zip(TABLES["raw_issues"].types, rows(state, TransformOptions(), Report())["raw_issues"][0], strict=True))
    assert raw["deleted_at"] is None


def test_a_body_without_an_event_name_is_an_update() -> None:
    state = fact(json.dumps({"issue": issue()}).encode())
    assert count(state) == {"issues": 1}


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    content = body("jira:issue_updated", issue=issue(summary="cut \ud83d")).replace(b"\xed\xa0\xbd", b"\\ud83d")
    state = fact(content)
    assert state.document is not None
    assert state.document["fields"]["summary"] == "cut \ufffd"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 400, str(2**64), str(-(2**63) - 1)])
def test_numbers_outside_the_range_of_json_do_no_harm(number: str) -> None:
    content = body("jira:issue_updated", issue=issue(customfield_1="here")).replace(b'"here"', number.encode())
    state = fact(content)
    assert IssueState.from_json(state.to_json()) == state
    assert count(state) == {"issues": 1}


def test_deep_nesting_is_cut_off() -> None:
    deep: Any = "deep"
    for _ in range(300):
        deep = [deep]
    state = fact(body("jira:issue_updated", issue=issue(customfield_1=deep)))
    assert IssueState.from_json(state.to_json()) == state
    assert count(state) == {"issues": 1}


def test_an_issue_without_an_id_is_identified_by_its_url() -> None:
    found = issue(1)
    del found["id"]
    event = read(body("jira:issue_updated", 1, issue=found))
    assert ([fact.issue_id for fact in event.facts], event.unread) == ([ISSUE_ID], ())


def test_a_time_in_milliseconds_may_be_written_as_text() -> None:
    text = b'{"timestamp": "1772366400000", "webhookEvent": "issue_property_set", "issue": {"id": "1"}}'
    at = read(text).at
    assert at is not None
    assert at.isoformat() == "2026-03-01T12:00:00+00:00"
