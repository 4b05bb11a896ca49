"""Bodies of webhooks and REST answers with any value in any place."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.events import Event, read_event
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.values import Report
from tests.examples import examples
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, LINK, body, comment, issue, partial, person

CHANGE = {"id": "10230", "items": bodies.history(1)["items"]}
WHOLE = issue(
    9,
    comment=bodies.page("comments", [comment(1), comment(2)]),
    worklog=bodies.page("worklogs", [bodies.worklog(1)], total=7),
    attachment=[bodies.attachment(1)],
    issuelinks=[bodies.link(1)],
    description={"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "x"}]}]},
    customfield_1={"value": "a", "child": {"value": "b"}},
    customfield_2={"ongoingCycle": {"breached": True, "goalDuration": {"millis": 1}, "elapsedTime": {"millis": 2}}},
    duedate="2024-05-02",
)
SAMPLES: list[dict[str, Any]] = [
    json.loads(body("jira:issue_updated", 9, issue=WHOLE, changelog=CHANGE, comment=comment(3), user=person())),
    json.loads(body("comment_created", 9, issue=partial(), comment=comment(1))),
    json.loads(body("worklog_updated", 9, worklog=bodies.worklog(1))),
    json.loads(body("attachment_created", 9, issue=partial(), attachment=bodies.attachment(1))),
    json.loads(body("issuelink_created", 9, issueLink=LINK)),
    json.loads(body("jira:issue_deleted", 9, issue=WHOLE)),
]
CUSTOM = [
    {"field": "customfield_1", "column": f"c_{kind}", "type": kind}
    for kind in ("text", "option", "options", "user", "users", "number", "integer", "date", "instant", "json")
] + [
    {"field": "customfield_2", "column": "first_response", "type": "sla"},
    {"field": "customfield_2", "column": "request_type", "type": "request_type"},
]

anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(
            ["9999-12-31T23:59:59-0900", "0000-01-01", "10000-01-01T00:00:00Z", "2024-05-01", "1e400", "7"]
        ),
    ),
    lambda some: st.one_of(
        st.lists(some, max_size=3),
        st.dictionaries(
            st.sampled_from(["id", "name", "value", "type", "content", "text", "attrs", "fields", "total", "items"]),
            some,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """The body of a webhook in which something, somewhere, is replaced by anything."""
    payload = json.loads(json.dumps(draw(st.sampled_from(SAMPLES))))
    for _ in range(draw(st.integers(1, 4))):
        where: Any = payload
        while True:
            steps = sorted(where) if isinstance(where, dict) else range(len(where))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            if isinstance(where[step], dict | list) and draw(st.integers(0, 4)):
                where = where[step]
                continue
            where[step] = draw(anything)
            break
    return payload


def fits(value: Any, kind: str) -> object:
    if value is None:
        return True
    match kind:
        case "VARCHAR":
            return isinstance(value, str)
        case "BIGINT":
            return type(value) is int and -(2**63) <= value < 2**63
        case "DOUBLE":
            return type(value) in (int, float) and math.isfinite(value)
        case "DATE":
            return str(datetime.fromisoformat(value).date()) == value
        case _:
            return datetime.fromisoformat(value).utcoffset() == datetime.now(UTC).utcoffset()


def assert_rows_fit(state: IssueState, options: TransformOptions) -> None:
    for name, made in rows(state, options, Report()).items():
        columns = options.tables[name].types
        for row in made:
            for (column, kind), value in zip(columns.items(), row, strict=True):
                assert fits(value, kind), (name, column, value)


@settings(max_examples=examples(100))
@given(spoiled())
def test_values_of_any_shape_in_a_body_raise_no_error_and_rows_fit_their_types(payload: Any) -> None:
    options = TransformOptions.of("jira.example", CUSTOM)
    found = read_event(json.dumps(payload).encode())
    for state in found.facts if isinstance(found, Event) else ():
        assert_rows_fit(state, options)
        assert IssueState.from_json(state.to_json()) == state
        assert state.joined(state) == state


@settings(max_examples=examples(60))
@given(spoiled())
def test_values_of_any_shape_in_a_rest_answer_raise_no_error(payload: Any) -> None:
    document = payload.get("issue") if isinstance(payload, dict) else None
    if isinstance(document, dict):
        document |= {"id": ISSUE_ID, "changelog": payload.get("changelog"), "remote_links": payload.get("comment")}
        assert_rows_fit(IssueState(ISSUE_ID).fetched(document), TransformOptions.of("jira.example", CUSTOM))
