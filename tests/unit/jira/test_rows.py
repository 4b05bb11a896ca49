"""The rows that an issue has in every table."""

import json
from typing import Any

import pytest

from analyst import duckdb_files
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import TABLES
from analyst.connectors.jira.issue.values import Report
from analyst.names import quote
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, answer, body, comment, issue, joined

ADF = {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": "hello"}]}]}
REMOTE = {
    "id": 10000,
    "application": {"type": "com.acme.tracker", "name": "Acme"},
    "object": {"url": "https://acme.example/1", "title": "Ticket 1"},
}
WHOLE = answer(
    5,
    description=ADF,
    duedate="2024-06-01",
    resolution={"name": "Done"},
    resolutiondate=bodies.at(4),
    assignee={"emailAddress": "bob@a.example", "accountId": "5b10:bob", "displayName": "Bob"},
    comments=[comment(2, "*two*"), comment(1, "one", updated=3)],
    worklogs=[bodies.worklog(1)],
    attachments=[bodies.attachment(7)],
    links=[bodies.link(3)],
    histories=[bodies.history(8, created=2)],
    remote_links=[REMOTE],
)


def made(state: IssueState, options: TransformOptions | None = None, report: Report | None = None) -> dict[str, Any]:
    """The rows of an issue as objects."""
    options = options or TransformOptions.of("acme.atlassian.net")
    found = rows(state, options, report or Report())
    columns = {name: table.types for name, table in options.tables.items()}
    return {name: [dict(zip(columns[name], row, strict=True)) for row in some] for name, some in found.items()}


def custom(value: Any, *fields: dict[str, str], report: Report | None = None) -> dict[str, Any]:
    """The row of an issue whose field `customfield_1` has a value."""
    options = TransformOptions.of("acme.atlassian.net", fields)
    (row,) = made(IssueState(ISSUE_ID).fetched(answer(1, customfield_1=value)), options, report)["issues"]
    return dict(row)


def test_an_issue_is_one_row_with_the_values_of_its_fields() -> None:
    report = Report()
    (row,) = made(IssueState(ISSUE_ID).fetched(WHOLE), report=report)["issues"]
    assert {name: value for name, value in row.items() if value is not None} == {
        "issue_key": "ABC-12",
        "issue_id": ISSUE_ID,
        "issue_url": "https://acme.atlassian.net/browse/ABC-12",
        "summary": "As of 5",
        "description": "hello",
        "issue_type": "Bug",
        "status": "Open",
        "status_category": "To Do",
        "priority": "High",
        "resolution": "Done",
        "project_key": "ABC",
        "project_name": "Alphabet",
        "creator_email": "5b10:ann",
        "creator_name": "Ann",
        "reporter_email": "5b10:bob",
        "reporter_name": "Bob",
        "assignee_email": "bob@a.example",
        "assignee_name": "Bob",
        "created_at": "2024-05-01 10:00:00+00:00",
        "updated_at": "2024-05-01 10:00:05+00:00",
        "resolved_at": "2024-05-01 10:00:04+00:00",
        "due_date": "2024-06-01",
        "labels": '["a","b"]',
        "attachment_count": 1,
        "comment_count": 2,
        "issuelink_count": 1,
        "_synced_at": "2024-05-01 10:00:05+00:00",
        "_raw_file": f"raw_issues/{ISSUE_ID}",
        "description_raw": json.dumps(ADF, separators=(",", ":"), sort_keys=True),
    }
    assert report.misshapen == {}


def test_parts_of_an_issue_are_rows_of_their_own_tables() -> None:
    found = made(IssueState(ISSUE_ID).fetched(WHOLE).with_stored({"7": "attachments/7"}))
    assert [(row["comment_id"], row["body"], row["body_raw"]) for row in found["comments"]] == [
        ("1", "one", "one"),
        ("2", "two", "*two*"),
    ]
    assert found["comments"][0] | {"issue_key": "ABC-12", "author_email": "5b10:ann"} == found["comments"][0]
    (worklog,) = found["worklogs"]
    assert (worklog["comment"], worklog["time_spent"], worklog["time_spent_seconds"]) == ("hard work", "1h", 3600)
    (attachment,) = found["attachments"]
    assert (attachment["filename"], attachment["local_path"]) == ("a b.png", "attachments/7")
    assert (attachment["hierarchical_path"], attachment["size_bytes"]) == ("0/12/7_a b.png", 1234)
    (link,) = found["issuelinks"]
    assert (link["direction"], link["linked_issue_key"], link["linked_issue_status"]) == ("outward", "ABC-99", "Open")
    (change,) = found["changelog"]
    assert (change["change_id"], change["field_name"], change["from_value"], change["to_value"]) == (
        *("8", "status"),
        *("Open", "Done"),
    )
    (remote,) = found["remote_links"]
    assert (remote["remote_link_id"], remote["url"], remote["application_name"]) == (
        "10000",
        "https://acme.example/1",
        "Acme",
    )
    assert {row["issue_id"] for some in found.values() for row in some} == {ISSUE_ID}


def test_the_whole_state_is_a_row_of_its_own() -> None:
    state = IssueState(ISSUE_ID).fetched(WHOLE)
    (raw,) = made(state)["raw_issues"]
    assert IssueState.from_json(raw["document"]) == state
    assert (raw["issue_number"], raw["issue_key"], raw["deleted_at"]) == (int(ISSUE_ID), "ABC-12", None)
    gone = joined(body("jira:issue_deleted", 3, issue=issue()))
    assert made(gone)["raw_issues"][0]["deleted_at"] == "2024-05-01 10:00:03+00:00"


def test_duckdb_accepts_all_rows_with_their_types() -> None:
    options = TransformOptions.of("j", [{"field": "customfield_1", "column": "points", "type": "number"}])
    found = rows(IssueState(ISSUE_ID).fetched(WHOLE | {"x": "\x00"}), options, Report())
    with duckdb_files.connect() as con:
        for name, table in options.tables.items():
            con.execute(f"create table {name} ({', '.join(f'{c} {kind}' for c, kind in table.types.items())})")
            duckdb_files.insert(con, name, table.types, found[name])
            assert con.execute(f"select count(*) from {name}").fetchone() == (len(found[name]),)
        read_back = con.execute(
            "select issues.created_at::varchar, due_date::varchar, document from issues, raw_issues"
        ).fetchall()
    assert read_back == [("2024-05-01 10:00:00+00", "2024-06-01", found["raw_issues"][0][-1])]


def test_every_table_is_sorted_by_columns_that_it_has_beginning_with_the_issue() -> None:
    for table in TABLES.values():
        assert set(table.key) <= table.types.keys()
        assert table.key[0] in ("issue_id", "issue_number")
        assert table.types["issue_id"] == "VARCHAR"
    assert [name for name, table in TABLES.items() if table.server_only] == ["raw_issues"]


def test_without_a_configured_address_that_of_the_document_is_used() -> None:
    document = answer(1) | {"self": f"https://jira.example/jira/rest/api/2/issue/{ISSUE_ID}"}
    (row,) = made(IssueState(ISSUE_ID).fetched(document), TransformOptions.of())["issues"]
    assert row["issue_url"] == "https://jira.example/jira/browse/ABC-12"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", "as *it* is", "as *it* is"),
        ("text", ADF, "hello"),
        ("option", {"value": "High"}, "High"),
        ("options", [{"value": "a"}, {"value": "b"}], '["a","b"]'),
        ("user", {"accountId": "5b"}, "5b"),
        ("users", [{"accountId": "5b"}], '["5b"]'),
        ("number", 1.5, 1.5),
        ("integer", 3, 3),
        ("date", "2024-05-01", "2024-05-01"),
        ("instant", "2024-05-01T15:30:00.000+0530", "2024-05-01 10:00:00+00:00"),
        ("json", {"b": [1], "a": None}, '{"a":null,"b":[1]}'),
    ],
)
def test_a_custom_field_is_a_column_of_its_type(kind: str, value: Any, expected: Any) -> None:
    report = Report()
    assert custom(value, {"field": "customfield_1", "column": "mine", "type": kind}, report=report)["mine"] == expected
    assert custom(None, {"field": "customfield_1", "column": "mine", "type": kind}, report=report)["mine"] is None
    assert report.misshapen == {}


def test_agreements_and_request_types_fill_several_columns() -> None:
    cycle = {"ongoingCycle": {"breached": True, "goalDuration": {"millis": 9}, "elapsedTime": {"millis": 5}}}
    row = custom(cycle, {"field": "customfield_1", "column": "first_response", "type": "sla"})
    assert [row[f"first_response_{part}"] for part in ("breached", "goal_millis", "elapsed_millis")] == ["true", 9, 5]
    kind = {"requestType": {"name": "Help"}, "currentStatus": {"status": "Waiting"}}
    row = custom(kind, {"field": "customfield_1", "column": "request_type", "type": "request_type"})
    assert (row["request_type"], row["request_status"]) == ("Help", "Waiting")


def test_a_custom_field_of_another_shape_is_null_and_counted_under_its_column() -> None:
    report = Report()
    assert (
        custom({"value": []}, {"field": "customfield_1", "column": "severity", "type": "option"}, report=report)[
            "severity"
        ]
        is None
    )
    assert report.misshapen == {"severity": 1}


def test_a_system_field_can_be_a_column_too() -> None:
    options = TransformOptions.of("", [{"field": "components", "column": "components", "type": "options"}])
    (row,) = made(IssueState(ISSUE_ID).fetched(answer(1, components=[{"name": "web"}])), options)["issues"]
    assert row["components"] == '["web"]'


def test_fields_of_another_shape_are_null_and_counted_by_their_names() -> None:
    report = Report()
    spoiled = {"summary": {}, "status": "Open", "labels": {}, "duedate": 7, "creator": "ann", "resolutiondate": "later"}
    state = IssueState(ISSUE_ID).fetched(answer(1, **spoiled, comments=[comment(1) | {"body": [], "created": {}}]))
    found = made(state, report=report)
    assert {name: found["issues"][0][name] for name in ("summary", "status", "due_date", "creator_email")} == {
        **dict.fromkeys(("summary", "status", "due_date", "creator_email"))
    }
    assert report.misshapen == {
        **dict.fromkeys(spoiled, 1),
        "comment.body": 1,
        "comment.created": 1,
    }


def test_rows_of_any_size_are_inserted_in_the_same_way() -> None:
    columns = {"id": "BIGINT", "text": "VARCHAR", "at": "TIMESTAMP WITH TIME ZONE", "is": "BOOLEAN", "told": "JSON"}
    small = (1, "x", "2026-03-01 12:00:00+00:00", True, {"a": [1]})
    large = (2, "y" * 300_000, None, False, "z" * 300_000)
    with duckdb_files.connect(memory_limit="300MB") as con:
        for names in (list(columns), list(columns)[:-1]):
            con.execute(f"create or replace table t ({', '.join(f'{quote(name)} {columns[name]}' for name in names)})")
            wanted = {name: columns[name] for name in names}
            duckdb_files.insert(con, "t", wanted, [one[: len(names)] for one in (small, large, small)])
            found = con.execute("select id, length(text), t.at::varchar, t.is from t order by id, text").fetchall()
            assert found == [(1, 1, "2026-03-01 12:00:00+00", True)] * 2 + [(2, 300_000, None, False)]
            duckdb_files.insert(
                con, "t", wanted, [(3, "w" * 24_000_000, None, None, None)[: len(names)]][: len(names) < 5]
            )
        assert con.execute("select max(length(text)) from t").fetchone() == (24_000_000,)
