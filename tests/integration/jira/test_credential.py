"""Issues that Jira does not show count as deleted only while the credential works, and never many at once."""

from typing import Any, Literal

import pytest

from tests.doubles.jira.contents import START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.issues import Sla
from tests.doubles.jira.service import TOKEN, Fault, Service
from tests.integration.jira.conftest import Jira
from tests.integration.jira.test_jobs import HOUR, issues, run

Expired = Literal["told", "silent"]
JOBS = ["", "check", "sla", "attachments"]


def hook(instance: Instance, jira: Jira, id_: str) -> None:
    """Have something happen to an issue, and Jira tell of it."""
    instance.edit(id_, summary=f"other {instance.clock}")
    jira.take(instance.webhooks[-1].event, f"event-{instance.clock}")


def fold(jira: Jira, status: int = 200) -> dict[str, Any]:
    return run(jira, "fold", status=status)


@pytest.mark.parametrize("expired", ["told", "silent"])
def test_an_expired_token_deletes_nothing_and_every_job_explains_what_to_do(
    asking: Jira, service: Service, instance: Instance, expired: Expired
) -> None:
    for _ in range(3):
        instance.attach(instance.create(customfield_10161=Sla("Resolution", START, HOUR)).id, "a.txt", b"a")
    run(asking)
    before = asking.files()
    instance.clock += HOUR
    service.expired = expired
    for job in JOBS:
        result = run(asking, job, status=422)
        assert ("set JIRA_API_TOKEN to" in result["error"], TOKEN in str(result)) == (True, False)
        assert (result["status"], asking.files()) == ("failed", before)


@pytest.mark.parametrize("expired", ["told", "silent"])
def test_events_wait_while_the_token_is_expired(
    asking: Jira, service: Service, instance: Instance, expired: Expired
) -> None:
    ids = [instance.create().id for _ in range(3)]
    run(asking)
    service.expired = expired
    for id_ in ids:
        hook(instance, asking, id_)
    result = fold(asking, 422)
    assert (result["left"], len(issues(asking)), "set JIRA_API_TOKEN to" in result["error"]) == (3, 3, True)
    service.expired = ""
    assert fold(asking)["left"] == 0
    assert all(summary.startswith("other") for (summary,) in issues(asking, "summary"))


@pytest.mark.parametrize("skip", [1, 4])
def test_a_token_that_expires_in_the_middle_of_a_run_deletes_nothing(
    asking: Jira, service: Service, instance: Instance, skip: int
) -> None:
    ids = [instance.create().id for _ in range(8)]
    run(asking)
    for id_ in ids:
        hook(instance, asking, id_)
    begin, left = service.begin, [skip]

    def expiring(kind: str, path: str) -> Fault | None:
        left[0] -= kind == "issue"
        if left[0] < 0:
            service.expired = "silent"
        return begin(kind, path)

    service.begin = expiring  # type: ignore[method-assign]
    assert fold(asking, 422)["left"] == 8
    assert len(issues(asking)) == 8


def test_a_search_cut_short_by_an_expired_token_is_not_taken_for_complete(
    asking: Jira, service: Service, instance: Instance
) -> None:
    service.page = 5
    for _ in range(12):
        instance.create()
    begin = service.begin

    def expiring(kind: str, path: str) -> Fault | None:
        if kind == "search" and service.counts["search"] == 1:
            service.expired = "silent"
        return begin(kind, path)

    service.begin = expiring  # type: ignore[method-assign]
    assert run(asking, status=422)["is_complete"] is False
    service.begin, service.expired = begin, ""  # type: ignore[method-assign]
    run(asking)
    assert len(issues(asking)) == 12


def test_fields_of_an_anonymous_answer_do_not_replace_known_ones(
    asking: Jira, service: Service, instance: Instance
) -> None:
    instance.create(customfield_10004={"value": "high"})
    run(asking)
    service.expired = "silent"
    run(asking, status=422)
    service.expired = ""
    assert run(asking)["counts"].get("changed") is None
    assert issues(asking, "severity") == [("high",)]


def test_a_lost_permission_deletes_no_project(asking: Jira, service: Service, instance: Instance) -> None:
    lost = [instance.create().id for _ in range(6)]
    for _ in range(6):
        instance.create("DEV")
    run(asking)
    instance.clock += HOUR
    service.hidden = set(lost)
    for job in ("check", "check"):
        result = run(asking, job, status=422)
        assert "Jira no longer finds 6 of 12 published issues; a check deletes at most 2" in result["error"]
    for id_ in lost:
        hook(instance, asking, id_)
    result = fold(asking, 422)
    assert (result["left"], "no longer shows 6 of 12 issues; at most 2" in result["error"]) == (6, True)
    assert len(issues(asking)) == 12
    result = run(asking, "check", deletions=6)
    assert (result["totals"]["deleted"], len(issues(asking))) == (6, 6)
    assert fold(asking)["left"] == 0


def test_unannounced_deletions_are_counted_for_a_day(asking: Jira, service: Service, instance: Instance) -> None:
    ids = [instance.create().id for _ in range(12)]
    run(asking)
    for taken, id_ in enumerate(ids[:3]):
        service.hidden.add(id_)
        hook(instance, asking, id_)
        result = fold(asking, 422 if taken == 2 else 200)
    assert "no longer shows 1 of 10 issues, after 2 others within a day; at most 2" in result["error"]
    assert len(issues(asking)) == 10
    service.hidden.clear()
    assert fold(asking)["left"] == 0
    assert len(issues(asking)) == 10


def test_confirmed_deletions_do_not_make_later_ones_doubtful(
    asking: Jira, service: Service, instance: Instance
) -> None:
    ids = [instance.create().id for _ in range(12)]
    run(asking)
    instance.clock += HOUR
    service.hidden = {*ids[:6]}
    assert run(asking, "check", deletions=6)["totals"]["deleted"] == 6
    service.hidden.add(ids[6])
    hook(instance, asking, ids[6])
    assert fold(asking)["left"] == 0
    assert len(issues(asking)) == 5


def test_deletions_that_jira_reports_are_believed_however_many(asking: Jira, instance: Instance) -> None:
    ids = [instance.create().id for _ in range(9)]
    run(asking)
    for id_ in ids:
        instance.delete(id_)
        asking.take(instance.webhooks[-1].event, id_)
    fold(asking)
    assert issues(asking) == []


def test_an_issue_that_vanishes_during_a_refresh_is_retried(asking: Jira, service: Service, instance: Instance) -> None:
    ids = [instance.create().id for _ in range(4)]
    run(asking)
    for id_ in ids:
        instance.edit(id_, summary="other")
    service.faults = [Fault("remotelink", 404, times=4), Fault("issue", 404, times=4)]
    result = run(asking, status=422)
    assert ("no longer shows 4 of 4 issues" in result["error"], result["counts"]["withheld"]) == (True, 4)
    run(asking)
    assert issues(asking, "summary") == [("other",)] * 4


PAGE = "<!DOCTYPE html><html><title>Log in</title></html>"


def test_a_login_page_is_not_stored_as_an_attachment(asking: Jira, service: Service, instance: Instance) -> None:
    instance.attach(instance.create().id, "a.txt", b"data")
    run(asking)
    service.faults = [Fault("content", 302, {"Location": f"{instance.url}/login.jsp?os_destination=x"}, times=9)]
    assert "login page" in run(asking, "attachments", status=422)["error"]
    service.faults = [Fault("media", 200, body=PAGE)]
    result = run(asking, "attachments")
    assert (result["counts"], f"{len(PAGE)} bytes were received" in result["notes"][0]) == ({"failed": 1}, True)
    assert run(asking, "attachments")["counts"]["stored"] == 1


def test_known_remote_links_are_kept_while_jira_shows_none(asking: Jira, service: Service, instance: Instance) -> None:
    issue = instance.create()
    instance.link_remotely(issue.id, "https://wiki.example.com", "a page")
    run(asking)
    instance.edit(issue.id, summary="other")
    service.faults = [Fault("remotelink", 403)]
    run(asking)
    assert (issues(asking, "summary"), asking.rows("select title from remote_links")) == (
        [("other",)],
        [("a page",)],
    )
