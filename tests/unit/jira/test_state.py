"""The state of an issue after webhooks and REST answers, in order or not."""

from typing import Any

import pytest

from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.rows import rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import Row
from analyst.connectors.jira.issue.values import Report
from tests.unit.jira import bodies
from tests.unit.jira.bodies import ISSUE_ID, answer, body, comment, fact, issue, joined, partial, read


def made(state: IssueState) -> dict[str, list[Row]]:
    return rows(state, TransformOptions.of("jira.example"), Report())


def names(state: IssueState, kind: Any) -> list[str]:
    return list(state.things(kind))


def test_an_issue_has_the_values_of_its_latest_update_whatever_arrived_last() -> None:
    late, early = body("jira:issue_updated", 9, issue=issue(9)), body("jira:issue_updated", 5, issue=issue(5))
    state = joined(late, early)
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 9"


def test_a_few_fields_do_not_overwrite_a_whole_issue() -> None:
    whole, few = body("jira:issue_updated", 1, issue=issue(1)), body("comment_created", 9, issue=partial())
    for state in (joined(whole, few), joined(few, whole)):
        assert state.document is not None
        assert state.document["fields"]["summary"] == "As of 1"
        assert state.partial is None


def test_a_partial_issue_is_used_if_there_is_no_whole_one() -> None:
    state = joined(body("comment_created", 9, issue=partial("Few"), comment=comment(1)))
    assert (state.key, state.created, state.month) == ("ABC-12", None, "unknown")
    assert len(made(state)["issues"]) == 1


def test_fields_of_a_newer_event_override_the_rest_answer() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(1, customfield_1="kept"))
    state = state.joined(fact(body("jira:issue_updated", 2, issue=issue(2))))
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 2"
    assert state.document["fields"]["customfield_1"] == "kept"


def test_facts_of_an_answer_are_not_stored_twice() -> None:
    events = [
        body("jira:issue_updated", 2, issue=issue(2, attachment=[])),
        body("comment_created", 2, comment=comment(1, updated=2), issue=partial()),
    ]
    fetched = answer(2, comments=[comment(1, updated=2)])
    assert joined(*events).fetched(fetched) == IssueState(ISSUE_ID).fetched(fetched)


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(5)).fetched(answer(4))
    assert state.document is not None
    assert state.document["fields"]["summary"] == "As of 5"


def test_the_later_of_two_answers_of_the_same_time_wins() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(5, sla=2)).fetched(answer(5, sla=1))
    assert state.document is not None
    assert state.document["fields"]["sla"] == 1


def test_a_deleted_comment_does_not_come_back() -> None:
    events = [
        body("comment_deleted", 3, comment=comment(1, updated=1)),
        body("comment_updated", 9, comment=comment(1, updated=8)),
        body("jira:issue_updated", 9, issue=issue(9, comment=bodies.page("comments", [comment(1), comment(2)]))),
    ]
    state = joined(*events)
    assert names(state, "comments") == ["2"]
    assert names(state.fetched(answer(20, comments=[comment(1), comment(2)])), "comments") == ["2"]


def test_a_comment_missing_from_a_newer_complete_list_is_deleted() -> None:
    created = body("comment_created", 2, comment=comment(1, updated=2))
    all_of_them = issue(5, comment=bodies.page("comments", [comment(2)]))
    some_of_them = issue(5, comment=bodies.page("comments", [comment(2)], total=40))
    assert names(joined(created, body("jira:issue_updated", 5, issue=all_of_them)), "comments") == ["2"]
    assert names(joined(created, body("jira:issue_updated", 5, issue=some_of_them)), "comments") == ["1", "2"]
    assert names(joined(created, body("jira:issue_updated", 5, issue=issue(5))), "comments") == ["1"]


def test_a_comment_as_old_as_a_list_stays_even_if_the_list_lacks_it() -> None:
    created = body("comment_created", 5, comment=comment(1, updated=5))
    empty = body("jira:issue_updated", 5, issue=issue(5, comment=bodies.page("comments", [])))
    assert names(joined(created, empty), "comments") == ["1"]


def test_of_two_lists_of_the_same_time_that_of_the_later_event_wins() -> None:
    one, other = (
        body("jira:issue_updated", sent, issue=issue(5, attachment=[bodies.attachment(number)]))
        for sent, number in ((6, 1), (7, 2))
    )
    assert names(joined(one, other), "attachments") == names(joined(other, one), "attachments") == ["2"]
    one, other = (
        body("jira:issue_updated", sent, issue=issue(5, attachment=[bodies.attachment(number)]))
        for sent, number in ((6, 2), (7, 1))
    )
    assert names(joined(one, other), "attachments") == ["1"]


def test_a_page_of_size_zero_deletes_no_comments() -> None:
    created = body("comment_created", 2, comment=comment(1, updated=2))
    for page, left in (({"maxResults": 0}, ["1"]), ({"maxResults": 20}, [])):
        empty = issue(5, comment={"comments": [], "total": 0, "startAt": 0, **page})
        assert names(joined(created, body("jira:issue_updated", 5, issue=empty)), "comments") == left


def test_a_comment_has_the_text_of_its_latest_edit() -> None:
    edited = body("comment_updated", 7, comment=comment(1, "new", updated=7))
    listed = answer(6, comments=[comment(1, "old", updated=2)])
    state = joined(edited).fetched(listed)
    assert state.things("comments")["1"]["body"] == "new"
    assert state.fetched(answer(8, comments=[comment(1, "newest", updated=8)])).things("comments")["1"]["body"] == (
        "newest"
    )


def test_a_link_in_a_list_overrides_that_of_its_event() -> None:
    event = body(
        "issuelink_created", 9, issueLink={"id": 1, "sourceIssueId": int(ISSUE_ID), "destinationIssueId": 10999}
    )
    state = next(known for known in read(event).facts if known.issue_id == ISSUE_ID).fetched(
        answer(5, links=[bodies.link(1)])
    )
    assert state.things("links")["1"]["outwardIssue"]["key"] == "ABC-99"


def test_a_deleted_issue_stays_deleted_and_keeps_its_key_and_month() -> None:
    state = joined(body("jira:issue_deleted", 3, issue=issue(3)))
    state = state.joined(fact(body("jira:issue_updated", 9, issue=issue(9)))).fetched(answer(10)).gone()
    assert state.is_tombstone
    assert state.document is None
    assert (state.key, state.month) == ("ABC-12", "2024-05")
    assert {name: len(found) for name, found in made(state).items() if found} == {"raw_issues": 1}


def test_a_deletion_that_has_only_a_key_keeps_the_key() -> None:
    state = fact(body("jira:issue_deleted", 3, issue={"id": ISSUE_ID, "key": "ABC-12"}))
    assert (state.key, state.month) == ("ABC-12", "unknown")
    assert state.joined(fact(body("jira:issue_updated", 1, issue=issue(1)))).month == "2024-05"


def test_the_first_of_two_deletions_wins() -> None:
    first, second = (body("jira:issue_deleted", at, issue=issue(1)) for at in (3, 4))
    assert joined(first, second) == joined(second, first)
    assert joined(first, second).deleted == fact(first).deleted


def test_an_issue_that_rest_does_not_know_has_no_rows_until_it_does() -> None:
    state = IssueState(ISSUE_ID).fetched(answer(1)).gone()
    assert {name: len(found) for name, found in made(state).items() if found} == {"raw_issues": 1}
    assert made(state.joined(fact(body("jira:issue_updated", 2, issue=issue(2)))))["issues"] == []
    assert len(made(state.fetched(answer(1)))["issues"]) == 1


def test_a_moved_issue_has_its_new_key() -> None:
    state = joined(
        body("jira:issue_updated", 5, issue=issue(5, key="NEW-1")), body("jira:issue_updated", 1, issue=issue(1))
    )
    assert state.key == "NEW-1"


def test_an_issue_known_only_by_its_id_is_empty_and_has_no_rows() -> None:
    state = fact(body("issue_property_set", issue={"id": ISSUE_ID}))
    assert state.is_empty
    assert not any(made(state).values())


def test_months_are_in_utc() -> None:
    early = issue(1) | {}
    early["fields"]["created"] = "2024-05-01T02:00:00.000+0530"
    assert joined(body("jira:issue_updated", issue=early)).month == "2024-04"


def test_states_of_different_issues_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="can't be joined with"):
        IssueState("1").joined(IssueState("2"))
    with pytest.raises(ValueError, match="can't be joined with"):
        IssueState("1").fetched(answer())
