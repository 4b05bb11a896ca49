"""What Jira shows to some people only is left out of the tables, and what follows from it too, unless it is asked for."""

from typing import Any

import pytest

from analyst.connectors.jira.issue.custom_fields import Privacy, TransformOptions
from analyst.connectors.jira.issue.events import Event, read_event
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.values import Report
from tests.unit.jira.bodies import ISSUE_ID, answer, attachment, comment, history, link, worklog

ALL = Privacy(restricted=True)
ROLE = {"visibility": {"type": "role", "value": "Administrators"}}
INTERNAL = b"""{"timestamp":1772366400000,"webhookEvent":"comment_created","comment":{"id":"77","author":{"accountId":"x",
"displayName":"Ann"},"body":"SECRET internal","created":"2026-03-01T12:00:00.000+0000","updated":
"2026-03-01T12:00:00.000+0000","jsdPublic":false},"issue":{"id":"10000","key":"SUP-1","fields":{"summary":"s"}}}"""


def made(
    state: IssueState, privacy: Privacy | None = None, report: Report | None = None, **options: Any
) -> dict[str, list[dict[str, Any]]]:
    """The rows of an issue as objects."""
    made_with = TransformOptions.of("acme.atlassian.net", privacy=privacy, **options)
    found = rows(state, made_with, report or Report())
    return {
        name: [dict(zip(made_with.tables[name].types, row, strict=True)) for row in some]
        for name, some in found.items()
    }


def known(*parts: Any, **fields: Any) -> IssueState:
    return IssueState(ISSUE_ID).fetched(answer(*parts or (1,), **fields))


@pytest.mark.parametrize(
    ("members", "is_left_out", "columns"),
    [
        ({}, False, (None, None, None)),
        ({"jsdPublic": True}, False, (True, None, None)),
        ({"jsdPublic": False}, True, (False, None, None)),
        ({"jsdPublic": "false"}, True, (False, None, None)),
        ({"jsdPublic": None, "visibility": None}, False, (None, None, None)),
        ({"visibility": {}}, False, (None, None, None)),
        (ROLE, True, (None, "role", "Administrators")),
        ({"visibility": {"type": "group", "value": "staff", "identifier": "9f"}}, True, (None, "group", "staff")),
        ({"visibility": {"type": "group", "identifier": "9f"}}, True, (None, "group", "9f")),
        ({"visibility": "Administrators"}, True, (None, None, None)),
        ({"properties": [{"key": "sd.public.comment", "value": {"internal": True}}]}, True, (False, None, None)),
        ({"properties": [{"key": "sd.public.comment", "value": {"internal": "false"}}]}, False, (True, None, None)),
        ({"properties": [{"key": "other", "value": {"internal": True}}, 7]}, False, (None, None, None)),
    ],
)
def test_a_restricted_comment_is_left_out_or_shown_with_its_restriction(
    members: dict[str, Any], is_left_out: bool, columns: tuple[Any, ...]
) -> None:
    state = known(comments=[comment(1), comment(2) | members])
    found = made(state)
    assert [row["comment_id"] for row in found["comments"]] == (["1"] if is_left_out else ["1", "2"])
    assert found["issues"][0]["comment_count"] == len(found["comments"])
    row = made(state, ALL)["comments"][1]
    assert (row["jsd_public"], row["visibility_type"], row["visibility_value"]) == columns
    assert made(state, ALL)["issues"][0]["comment_count"] == 2


def test_an_internal_comment_of_a_webhook_appears_only_in_server_only_tables() -> None:
    event = read_event(INTERNAL)
    assert isinstance(event, Event)
    (state,) = event.facts
    found = made(state)
    assert "SECRET" in str(found.pop("raw_issues"))
    assert "SECRET" not in str(found)
    assert made(state, ALL)["comments"][0]["body"] == "SECRET internal"


def test_restricted_work_logs_are_left_out_with_the_changes_they_caused() -> None:
    logged = {"field": "WorklogId", "fieldtype": "jira", "from": None, "to": "2", "toString": "2"}
    spent = {"field": "timespent", "fieldtype": "jira", "from": "0", "to": "3600"}
    state = known(
        worklogs=[worklog(1), worklog(2) | ROLE],
        histories=[history(8), {**history(9), "items": [spent, logged]}, {**history(10), "items": [spent]}],
    )
    found = made(state)
    assert [row["worklog_id"] for row in found["worklogs"]] == ["1"]
    assert {row["change_id"] for row in found["changelog"]} == {"8", "10"}
    found = made(state, ALL)
    assert [row["visibility_value"] for row in found["worklogs"]] == [None, "Administrators"]
    assert len(found["changelog"]) == 4


def test_changes_of_comments_show_only_texts_of_comments_that_are_shown() -> None:
    def edited(number: int, before: str | None, after: str | None) -> dict[str, Any]:
        item = {"field": "Comment", "fieldtype": "jira", "fromString": before, "toString": after}
        return {**history(number), "items": [item]}

    state = known(
        comments=[comment(1, "*new*"), comment(2, "SECRET") | ROLE],
        histories=[edited(5, "old", "*new*"), edited(6, "older SECRET", "SECRET"), edited(7, "deleted", None)],
    )
    changes = made(state)["changelog"]
    assert [(row["from_value"], row["to_value"]) for row in changes] == [("old", "*new*"), (None, None), (None, None)]
    assert [row["from_value"] for row in made(state, ALL)["changelog"]] == ["old", "older SECRET", "deleted"]


@pytest.mark.parametrize("body", ["see !plan.png|thumbnail!", "see [^plan.png]", "ADF"])
def test_files_that_only_restricted_comments_show_are_left_out(body: str) -> None:
    media = {"type": "mediaSingle", "content": [{"type": "media", "attrs": {"type": "file", "alt": "plan.png"}}]}
    shown = {"type": "doc", "version": 1, "content": [media]} if body == "ADF" else body
    files = [attachment(7) | {"filename": "plan.png"}, attachment(8) | {"filename": "other.png"}]
    item = {"field": "Attachment", "fieldtype": "jira", "from": None, "to": "7", "toString": "plan.png"}
    hidden = comment(1) | {"body": shown, "jsdPublic": False}
    state = known(attachments=files, comments=[hidden], histories=[{**history(9), "items": [item]}])
    found = made(state)
    assert [row["attachment_id"] for row in found["attachments"]] == ["8"]
    assert (found["issues"][0]["attachment_count"], found["changelog"]) == (1, [])
    assert len(made(state, ALL)["attachments"]) == 2
    public = comment(2) | {"body": "look at !plan.png!"}
    assert len(made(known(attachments=files, comments=[hidden, public]))["attachments"]) == 2


def test_issues_with_a_security_level_are_marked_and_can_be_left_out() -> None:
    secured = known(security={"id": "10", "name": "Staff only"}, comments=[comment(1)], links=[link(3)])
    assert made(secured)["issues"][0]["security_level"] == "Staff only"
    left_out = Privacy(secured=False)
    assert {name for name, some in made(secured, left_out).items() if some} == {"raw_issues"}
    for shown in (known(links=[link(3)]), known(security=None, links=[link(3)])):
        found = made(shown, left_out)
        assert (len(found["issues"]), found["issuelinks"][0]["linked_issue_summary"]) == (1, None)
    partial = IssueState(ISSUE_ID, partial={"at": 1, "document": {"id": ISSUE_ID, "fields": {"summary": "x"}}})
    assert (len(made(partial)["issues"]), made(partial, left_out)["issues"]) == (1, [])


def test_people_can_be_shown_without_their_addresses() -> None:
    ann = {"accountId": "5b:ann", "emailAddress": "ann@a.example", "displayName": "ann@a.example"}
    server = {"name": "bob@a.example", "key": "JIRAUSER1", "emailAddress": "bob@a.example", "displayName": "Bob"}
    named = {"emailAddress": "eve@a.example", "displayName": "Eve"}
    assigned = {"field": "assignee", "fieldtype": "jira", "from": "5b:ann", "fromString": "ann@a.example"}
    custom = [
        {"field": "customfield_1", "column": "approver", "type": "user"},
        {"field": "customfield_2", "column": "approvers", "type": "users"},
    ]
    state = known(
        creator=ann,
        reporter=server,
        assignee=named,
        customfield_1=ann,
        customfield_2=[ann, named],
        comments=[comment(1) | {"author": ann, "updateAuthor": server}],
        worklogs=[worklog(1) | {"author": ann}],
        attachments=[attachment(1) | {"author": ann}],
        histories=[{**history(1), "author": ann, "items": [assigned]}],
    )
    report = Report()
    found = made(state, Privacy(emails=False), report, custom_fields=custom)
    del found["raw_issues"]
    assert ("@a.example" in str(found), report.misshapen) == (False, {})
    (row,) = found["issues"]
    assert [row[f"{who}_email"] for who in ("creator", "reporter", "assignee")] == ["5b:ann", "JIRAUSER1", None]
    assert (row["approver"], row["approvers"], row["reporter_name"]) == ("5b:ann", '["5b:ann"]', "Bob")
    assert made(state)["issues"][0]["creator_email"] == "ann@a.example"


@pytest.mark.parametrize(
    ("fields", "key", "is_in"),
    [
        ({"project": {"key": "ABC"}}, "ABC-12", True),
        ({"project": {"key": "DEV"}}, "DEV-12", False),
        ({"project": None}, "ABC-12", True),
        ({"project": None}, "DEV-12", False),
        ({"project": {"key": "DEV"}}, "ABC-12", False),
    ],
)
def test_issues_of_other_projects_have_no_rows(fields: dict[str, Any], key: str, is_in: bool) -> None:
    state = IssueState(ISSUE_ID).fetched(answer(1, **fields) | {"key": key})
    found = made(state, projects=["ABC"])
    assert (len(found["issues"]), len(found["raw_issues"])) == (int(is_in), 1)


def test_each_option_rebuilds_the_tables() -> None:
    options = [
        TransformOptions.of(),
        *(TransformOptions.of(privacy=one) for one in (ALL, Privacy(secured=False), Privacy(emails=False))),
        TransformOptions.of(projects=["ABC"]),
        TransformOptions.of(catalog=[{"id": "customfield_7", "kind": "com.pyxis.greenhopper.jira:gh-sprint"}]),
    ]
    assert len({one.fingerprint for one in options}) == len(options)
