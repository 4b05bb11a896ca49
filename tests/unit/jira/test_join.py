"""The laws that the join of what is known of an issue keeps, whatever its history."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.events import Event, read_event
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import Row
from analyst.connectors.jira.issue.values import Report
from tests.examples import examples
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, answer, body, comment, issue, partial

OPTIONS = TransformOptions.of("jira.example")

ids, seconds = st.integers(1, 3), st.integers(0, 5)
_texts = st.sampled_from(["x", "*y*"])
_comments = st.builds(comment, ids, _texts, seconds)
_worklogs = st.builds(bodies.worklog, ids, st.sampled_from([60, 120]), seconds)
_attachments = st.builds(bodies.attachment, ids, seconds)
_links = st.builds(bodies.link, ids, st.sampled_from(["ABC-98", "ABC-99"]))
_histories = st.builds(bodies.history, ids, seconds)


@st.composite
def _embedded(draw: st.DrawFn) -> dict[str, Any]:
    """A whole issue that lists some things or none, all of them or not."""
    parts: dict[str, Any] = {}
    for field, things in (("comment", _comments), ("worklog", _worklogs)):
        if draw(st.booleans()):
            listed = draw(st.lists(things, max_size=2))
            parts[field] = bodies.page(f"{field}s", listed, draw(st.sampled_from([len(listed), 9])))
    for field, others in (("attachment", _attachments), ("issuelinks", _links)):
        if draw(st.booleans()):
            parts[field] = draw(st.lists(others, max_size=2))
    key = draw(st.sampled_from(["ABC-12", "XYZ-1"]))
    return issue(draw(seconds), key=key, created=draw(st.integers(0, 1)), **parts)


@st.composite
def _few_fields(draw: st.DrawFn) -> dict[str, Any]:
    """A few fields of an issue, perhaps with one of its times."""
    found = partial(draw(_texts), draw(st.sampled_from(["ABC-12", "XYZ-1"])))
    for name in draw(st.sampled_from([[], ["created"], ["updated"]])):
        found["fields"][name] = bodies.at(draw(seconds))
    return found


def _changes(names: list[str], **members: Any) -> st.SearchStrategy[bytes]:
    return st.builds(body, st.sampled_from(names), seconds, **members)


_updates = _changes(["jira:issue_updated", "jira:issue_created"], issue=_embedded())
_events = st.one_of(
    _updates,
    _changes(["jira:issue_updated"], issue=_embedded(), changelog=_histories, user=st.just(bodies.person())),
    _changes(["comment_created", "comment_updated", "comment_deleted"], comment=_comments),
    _changes(["comment_created", "comment_deleted"], comment=_comments, issue=_few_fields()),
    _changes(["worklog_created", "worklog_updated", "worklog_deleted"], worklog=_worklogs),
    _changes(["attachment_created", "attachment_deleted"], attachment=_attachments, issue=st.builds(partial)),
    _changes(
        ["issuelink_created", "issuelink_deleted"],
        issueLink=st.builds(
            lambda name: {"id": name, "sourceIssueId": int(ISSUE_ID), "destinationIssueId": 10999}, ids
        ),
    ),
    _changes(["issue_property_set"], issue=st.just({"id": ISSUE_ID})),
)
_deletions = _changes(["jira:issue_deleted"], issue=st.one_of(_embedded(), _few_fields()))
_answers = st.builds(
    answer,
    seconds,
    comments=st.lists(_comments, max_size=2),
    worklogs=st.lists(_worklogs, max_size=2),
    attachments=st.lists(_attachments, max_size=2),
    links=st.lists(_links, max_size=2),
    histories=st.lists(_histories, max_size=2),
)
histories = st.lists(st.one_of(_events, _events, _events, _deletions), min_size=1, max_size=7)


def of_this_issue(content: bytes) -> IssueState:
    event = read_event(content)
    assert isinstance(event, Event), event
    return next(state for state in event.facts if state.issue_id == ISSUE_ID)


def joined(facts: list[IssueState], start: IssueState | None = None) -> IssueState:
    state = start or IssueState(ISSUE_ID)
    for fact in facts:
        state = state.joined(fact)
    return state


def made(state: IssueState) -> dict[str, list[Row]]:
    return rows(state, OPTIONS, Report())


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[IssueState], list[IssueState]]:
    """Facts in order, and the same in another one, some of them more than once."""
    facts = [of_this_issue(content) for content in draw(histories)]
    again = draw(st.lists(st.sampled_from(facts), max_size=3))
    return facts, draw(st.permutations(facts + again))


@settings(max_examples=examples(50))
@given(shuffled())
def test_any_order_and_duplication_of_events_yields_equal_bytes_and_rows(
    two: tuple[list[IssueState], list[IssueState]],
) -> None:
    one, other = joined(two[0]), joined(two[1])
    assert one.to_json() == other.to_json()
    assert made(one) == made(other)


@settings(max_examples=examples(50))
@given(st.lists(histories, min_size=3, max_size=3))
def test_a_join_is_commutative_associative_and_idempotent(parts: list[list[bytes]]) -> None:
    one, two, three = (joined([of_this_issue(content) for content in part]) for part in parts)
    assert one.joined(two).joined(three) == one.joined(two.joined(three))
    assert one.joined(two) == two.joined(one)
    assert one.joined(two).joined(two) == one.joined(two)
    assert one.joined(one) == one


@settings(max_examples=examples(50))
@given(histories, st.lists(_answers, min_size=1, max_size=3), st.data())
def test_the_order_of_events_and_rest_answers_does_not_matter(
    events: list[bytes], answers: list[dict[str, Any]], data: st.DataObject
) -> None:
    facts = [of_this_issue(content) for content in events]
    first = joined(facts)
    for document in answers:
        first = first.fetched(document)
    second, left = IssueState(ISSUE_ID), data.draw(st.permutations(facts + facts[:2]))
    for document in answers:
        now = data.draw(st.integers(0, len(left)))
        second, left = joined(left[:now], second).fetched(document), left[now:]
    second = joined(left, second)
    assert first == second
    assert made(first) == made(second)


@settings(max_examples=examples(40))
@given(histories, st.one_of(st.none(), _answers), st.dictionaries(st.sampled_from("12"), st.sampled_from("ab")))
def test_a_state_survives_serialization(
    events: list[bytes], fetched: dict[str, Any] | None, stored: dict[str, str]
) -> None:
    state = joined([of_this_issue(content) for content in events]).with_stored(stored)
    if fetched is not None:
        state = state.fetched(fetched)
    again = IssueState.from_json(state.to_json())
    assert again.to_json() == state.to_json()
    assert made(again) == made(state)
    assert (again.key, again.created, again.updated, again.month) == (
        state.key,
        state.created,
        state.updated,
        state.month,
    )
