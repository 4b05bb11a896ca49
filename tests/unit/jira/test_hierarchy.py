"""Parent, epic, sub-tasks and sprints are columns of `issues` that need no configuration."""

from typing import Any

import pytest

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.values import Report
from tests.unit.jira.bodies import ISSUE_ID, answer

CATALOGUE = [
    {"id": "customfield_20", "name": "Epic Link", "kind": "com.pyxis.greenhopper.jira:gh-epic-link"},
    {"id": "customfield_21", "name": "Sprint", "kind": "com.pyxis.greenhopper.jira:gh-sprint"},
    {"id": "customfield_22", "name": "Parent Link", "kind": "com.atlassian.jpo:jpo-custom-field-parent"},
]
EPIC = {
    "id": "9",
    "key": "ABC-9",
    "fields": {"summary": "Epic", "issuetype": {"name": "Initiative", "hierarchyLevel": 1}},
}
STORY = {"id": "8", "key": "ABC-8", "fields": {"issuetype": {"name": "Story", "hierarchyLevel": 0}}}
JAVA = "com.atlassian.greenhopper.service.sprint.Sprint@1f2e[id={},rapidViewId=5,state={},name={},{}]"
DATES = "startDate=2019-02-01T10:00:00.000Z,endDate=2019-02-15T10:00:00.000Z,completeDate=<null>,sequence=7"
NO_DATES = "startDate=<null>,endDate=<null>,completeDate=<null>,activatedDate=<null>,sequence=7,goal=<null>"


def row(catalogue: list[Any] | None = None, report: Report | None = None, **fields: Any) -> dict[str, Any]:
    options = TransformOptions.of("", (), catalogue or [])
    (found,) = rows(IssueState(ISSUE_ID).fetched(answer(1, **fields)), options, report or Report())["issues"]
    return dict(zip(options.tables["issues"].types, found, strict=True))


@pytest.mark.parametrize(
    ("fields", "parent", "epic"),
    [
        ({}, None, None),
        ({"parent": None, "customfield_10014": None}, None, None),
        ({"parent": EPIC}, "ABC-9", "ABC-9"),
        ({"parent": STORY}, "ABC-8", None),
        ({"parent": {"key": "ABC-7", "fields": {"issuetype": {"name": "Epic"}}}}, "ABC-7", "ABC-7"),
        ({"parent": {"key": "ABC-7"}}, "ABC-7", None),
        ({"parent": STORY, "epic": {"id": 9, "key": "ABC-9", "name": "x"}}, "ABC-8", "ABC-9"),
        ({"customfield_10014": "ABC-9"}, None, "ABC-9"),
        ({"customfield_10014": "any text"}, None, None),
    ],
)
def test_parents_and_epics_are_read_from_all_their_fields(
    fields: dict[str, Any], parent: str | None, epic: str | None
) -> None:
    report = Report()
    found = row(report=report, **fields)
    assert (found["parent_key"], found["epic_key"], report.misshapen) == (parent, epic, {})


def test_the_fields_of_jira_software_are_found_by_their_schema() -> None:
    fields: dict[str, Any] = {
        "customfield_20": "ABC-9",
        "customfield_10014": "ABC-1",
        "customfield_21": [{"id": 3, "name": "S3"}],
        "customfield_22": {"hasEpicLinkFieldDependency": False, "data": {"id": 4, "key": "ABC-4"}},
    }
    found = row(CATALOGUE, **fields)
    assert [found[name] for name in ("epic_key", "sprint", "parent_key")] == ["ABC-9", "S3", "ABC-4"]


def test_subtasks_are_a_list_of_keys() -> None:
    assert row(subtasks=[{"id": "1", "key": "ABC-1"}, {"key": "ABC-2"}])["subtasks"] == '["ABC-1","ABC-2"]'
    assert (row(subtasks=[])["subtasks"], row()["subtasks"]) == ("[]", None)


@pytest.mark.parametrize(
    ("name", "dates"),
    [
        ("Sprint 1", DATES),
        ("Sprint 1, the [big] one", DATES),
        ("a=b,state=x [id=9]", NO_DATES),
        ("]", "goal=win, or not,startDate=2019-02-01T10:00:00.000Z,endDate=<null>,sequence=1"),
        ("Ends with, goal", "startDate=<null>,endDate=<null>,sequence=1,goal=a,startDate=b"),
        ("No dates", "sequence=4"),
        ("", DATES),
    ],
)
def test_sprints_of_data_center_are_read_whatever_they_are_called(name: str, dates: str) -> None:
    report = Report()
    found = row(report=report, customfield_10004=[JAVA.format(42, "ACTIVE", name, dates)])
    assert (found["sprint"], found["sprint_id"], found["sprint_state"]) == (name, 42, "active")
    assert report.misshapen == {}


def cloud(id_: int, state: str) -> dict[str, Any]:
    return {"id": id_, "name": f"S{id_}", "state": state, "boardId": 1, "goal": ""}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (None, None, None, None)),
        ({"customfield_1": [cloud(1, "closed"), cloud(2, "active")]}, ("S2", 2, "active", '["S1","S2"]')),
        ({"customfield_1": [cloud(3, "active"), cloud(9, "closed")]}, ("S3", 3, "active", '["S3","S9"]')),
        ({"customfield_1": [cloud(5, "closed"), cloud(4, "closed")]}, ("S5", 5, "closed", '["S4","S5"]')),
        ({"customfield_1": [cloud(5, "closed"), cloud(4, "future")]}, ("S4", 4, "future", '["S4","S5"]')),
        ({"sprint": cloud(2, "active"), "closedSprints": [cloud(1, "closed")]}, ("S2", 2, "active", '["S1","S2"]')),
        (
            {"customfield_1": [JAVA.format(1, "CLOSED", "A, [b]", DATES), JAVA.format(2, "FUTURE", "C", NO_DATES)]},
            ("C", 2, "future", '["A, [b]","C"]'),
        ),
        ({"customfield_1": [{"id": "1", "value": "an option"}]}, (None, None, None, None)),
        ({"customfield_1": ["com.example"]}, (None, None, None, None)),
        ({"customfield_1": []}, (None, None, None, None)),
    ],
)
def test_the_sprint_is_the_active_or_next_or_last_one(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = row(**fields)
    assert tuple(found[name] for name in ("sprint", "sprint_id", "sprint_state", "sprints")) == expected


def test_a_custom_field_replaces_a_column_of_the_same_name() -> None:
    configured = [{"field": "customfield_5", "column": "epic_key", "type": "number"}]
    options = TransformOptions.of("", configured)
    assert options.tables["issues"].types["epic_key"] == "DOUBLE"
    (found,) = rows(IssueState(ISSUE_ID).fetched(answer(1, customfield_5=7)), options, Report())["issues"]
    row = dict(zip(options.tables["issues"].types, found, strict=True))
    assert (row["epic_key"], row["parent_key"]) == (7, None)


def test_invalid_sprints_are_counted() -> None:
    report = Report()
    assert row(CATALOGUE, report, customfield_21=[7, {"x": 1}])["sprint"] is None
    assert report.misshapen == {"sprint": 2}
