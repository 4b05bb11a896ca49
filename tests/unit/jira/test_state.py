"""What is known of an issue after events and answers, in order or not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.extract.jira.events import Event, read_event
from functions.extract.jira.rows import Row, rows
from functions.extract.jira.state import IssueState
from functions.extract.jira.transform.fields import TransformOptions
from functions.extract.jira.transform.report import Report
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, answer, body, comment, fact, issue, partial, told

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


def _changes(names: list[str], **members: Any) -> st.SearchStrategy[bytes]:
    return st.builds(body, st.sampled_from(names), seconds, **members)


_updates = _changes(["jira:issue_updated", "jira:issue_created"], issue=_embedded())
_events = st.one_of(
    _updates,
    _changes(["jira:issue_updated"], issue=_embedded(), changelog=_histories, user=st.just(bodies.person())),
    _changes(["comment_created", "comment_updated", "comment_deleted"], comment=_comments),
    _changes(["comment_created", "comment_deleted"], comment=_comments, issue=st.builds(partial, _texts)),
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
_deletions = _changes(["jira:issue_deleted"], issue=st.one_of(_embedded(), st.builds(partial)))
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
    for one in facts:
        state = state.joined(one)
    return state


def made(state: IssueState) -> dict[str, list[Row]]:
    return rows(state, OPTIONS, Report())


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[IssueState], list[IssueState]]:
    """Facts in order, and the same in another one, some of them more than once."""
    facts = [of_this_issue(content) for content in draw(histories)]
    again = draw(st.lists(st.sampled_from(facts), max_size=3))
    return facts, draw(st.permutations(facts + again))


@settings(max_examples=150)
@given(shuffled())
def test_any_order_and_duplication_of_events_gives_equal_bytes_and_rows(
    two: tuple[list[IssueState], list[IssueState]],
) -> None:
    one, other = joined(two[0]), joined(two[1])
    assert one.to_json() == other.to_json()
    assert made(one) == made(other)


@settings(max_examples=150)
@given(st.lists(histories, min_size=3, max_size=3))
def test_a_join_is_commutative_associative_and_idempotent(parts: list[list[bytes]]) -> None:
    one, two, three = (joined([of_this_issue(content) for content in part]) for part in parts)
    assert one.joined(two).joined(three) == one.joined(two.joined(three))
    assert one.joined(two) == two.joined(one)
    assert one.joined(two).joined(two) == one.joined(two)
    assert one.joined(one) == one


@settings(max_examples=150)
@given(histories, st.lists(_answers, min_size=1, max_size=3), st.data())
def test_when_events_come_between_answers_of_rest_does_not_matter(
    events: list[bytes], answers: list[dict[str, Any]], data: st.DataObject
) -> None:
    facts = [of_this_issue(content) for content in events]
    first = joined(facts)
    for one in answers:
        first = first.fetched(one)
    second, left = IssueState(ISSUE_ID), data.draw(st.permutations(facts + facts[:2]))
    for one in answers:
        now = data.draw(st.integers(0, len(left)))
        second, left = joined(left[:now], second).fetched(one), left[now:]
    second = joined(left, second)
    assert first == second
    assert made(first) == made(second)


@settings(max_examples=100)
@given(histories, st.one_of(st.none(), _answers), st.dictionaries(st.sampled_from("12"), st.sampled_from("ab")))
def test_a_state_comes_back_from_its_bytes(
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


def names(state: IssueState, kind: Any) -> list[str]:
    return list(state.things(kind))


def test_an_issue_is_as_it_was_last_updated_whatever_came_last() -> None:
    late, early = body("jira:issue_updated", 9, issue=issue(9)), body("jira:issue_updated", 5, issue=issue(5))
    state = told(late, early)
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 9"


def test_a_few_fields_do_not_overwrite_a_whole_issue() -> None:
    whole, few = body("jira:issue_updated", 1, issue=issue(1)), body("comment_created", 9, issue=partial())
    for state in (told(whole, few), told(few, whole)):
        assert state.document is not None
        assert state.document["fields"]["summary"] == "As of 1"
        assert state.partial is None


def test_a_few_fields_are_better_than_none() -> None:
    state = told(body("comment_created", 9, issue=partial("Few"), comment=comment(1)))
    assert (state.key, state.created, state.month) == ("ABC-12", None, "unknown")
    assert len(made(state)["issues"]) == 1


def test_fields_of_a_newer_event_are_laid_over_what_rest_answered() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(1, customfield_1="kept"))
    state = state.joined(fact(body("jira:issue_updated", 2, issue=issue(2))))
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 2"
    assert state.document["fields"]["customfield_1"] == "kept"


def test_what_an_answer_knows_already_is_not_kept_twice() -> None:
    events = [
        body("jira:issue_updated", 2, issue=issue(2)),
        body("comment_created", 2, comment=comment(1, updated=2), issue=partial()),
    ]
    fetched = answer(2, comments=[comment(1, updated=2)])
    assert told(*events).fetched(fetched) == IssueState(ISSUE_ID).fetched(fetched)


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(5)).fetched(answer(4))
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 5"


def test_the_later_of_two_answers_of_the_same_time_counts() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(5, sla=2)).fetched(answer(5, sla=1))
    assert state.document is not None
    assert state.document["fields"]["sla"] == 1


def test_a_deleted_comment_does_not_come_back() -> None:
    events = [
        body("comment_deleted", 3, comment=comment(1, updated=1)),
        body("comment_updated", 9, comment=comment(1, updated=8)),
        body("jira:issue_updated", 9, issue=issue(9, comment=bodies.page("comments", [comment(1), comment(2)]))),
    ]
    state = told(*events)
    assert names(state, "comments") == ["2"]
    assert names(state.fetched(answer(20, comments=[comment(1), comment(2)])), "comments") == ["2"]


def test_a_comment_that_a_newer_complete_list_leaves_out_is_dead() -> None:
    created = body("comment_created", 2, comment=comment(1, updated=2))
    all_of_them = issue(5, comment=bodies.page("comments", [comment(2)]))
    some_of_them = issue(5, comment=bodies.page("comments", [comment(2)], total=40))
    assert names(told(created, body("jira:issue_updated", 5, issue=all_of_them)), "comments") == ["2"]
    assert names(told(created, body("jira:issue_updated", 5, issue=some_of_them)), "comments") == ["1", "2"]
    assert names(told(created, body("jira:issue_updated", 5, issue=issue(5))), "comments") == ["1"]


def test_a_comment_is_as_it_was_last_edited() -> None:
    edited = body("comment_updated", 7, comment=comment(1, "new", updated=7))
    listed = answer(6, comments=[comment(1, "old", updated=2)])
    state = told(edited).fetched(listed)
    assert state.things("comments")["1"]["body"] == "new"
    assert state.fetched(answer(8, comments=[comment(1, "newest", updated=8)])).things("comments")["1"]["body"] == (
        "newest"
    )


def test_a_list_tells_more_of_a_link_than_its_event() -> None:
    event = body(
        "issuelink_created", 9, issueLink={"id": 1, "sourceIssueId": int(ISSUE_ID), "destinationIssueId": 10999}
    )
    state = of_this_issue(event).fetched(answer(5, links=[bodies.link(1)]))
    assert state.things("links")["1"]["outwardIssue"]["key"] == "ABC-99"


def test_a_deleted_issue_is_a_tombstone_that_knows_its_name_and_month_and_nothing_brings_it_back() -> None:
    state = told(body("jira:issue_deleted", 3, issue=issue(3)))
    state = state.joined(fact(body("jira:issue_updated", 9, issue=issue(9)))).fetched(answer(10)).gone()
    assert state.is_tombstone
    assert state.document is None
    assert (state.key, state.month) == ("ABC-12", "2024-05")
    assert {name: len(found) for name, found in made(state).items() if found} == {"raw_issues": 1}


def test_the_first_of_two_deletions_counts() -> None:
    first, second = (body("jira:issue_deleted", at, issue=issue(1)) for at in (3, 4))
    assert told(first, second) == told(second, first)
    assert told(first, second).deleted == fact(first).deleted


def test_an_issue_that_rest_does_not_know_has_no_rows_until_it_does() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(1)).gone()
    assert {name: len(found) for name, found in made(state).items() if found} == {"raw_issues": 1}
    assert made(state.joined(fact(body("jira:issue_updated", 2, issue=issue(2)))))["issues"] == []
    assert len(made(state.fetched(answer(1)))["issues"]) == 1


def test_a_moved_issue_has_its_new_key() -> None:
    state = told(
        body("jira:issue_updated", 5, issue=issue(5, key="NEW-1")), body("jira:issue_updated", 1, issue=issue(1))
    )
    assert state.key == "NEW-1"


def test_an_issue_that_only_its_id_is_known_of_is_empty_and_has_no_rows() -> None:
    state = fact(body("issue_property_set", issue={"id": ISSUE_ID}))
    assert state.is_empty
    assert not any(made(state).values())


def test_months_are_those_of_utc() -> None:
    early = issue(1) | {}
    early["fields"]["created"] = "2024-05-01T02:00:00.000+0530"
    assert told(body("jira:issue_updated", issue=early)).month == "2024-04"


def test_two_issues_are_not_joined() -> None:
    with pytest.raises(ValueError, match="not of the issue 1"):
        IssueState("1").joined(IssueState("2"))
    with pytest.raises(ValueError, match="not of the issue 1"):
        IssueState("1").fetched(answer())
