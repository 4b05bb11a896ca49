"""A fold asks Jira for each issue that events are about, and leaves in the inbox what Jira can't be asked about."""

from collections.abc import Mapping
from typing import Any

import pytest

from analyst.connectors.jira.api.http import Patience
from analyst.store import ANY
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import EMAIL, TOKEN, Fault, Service
from tests.integration.jira.conftest import Jira, event
from tests.integration.world import SERVICE_TOKEN


class Delivery:
    """Brings the webhooks of an instance, each once."""

    def __init__(self, jira: Jira, instance: Instance) -> None:
        self.jira = jira
        self.instance = instance
        self.sent = 0

    def __call__(self) -> int:
        new = self.instance.webhooks[self.sent :]
        self.sent += len(new)
        for webhook in new:
            assert self.jira.send(webhook.body, webhook.identifier).status_code == 200
        return len(new)


@pytest.fixture
def deliver(asking: Jira, instance: Instance) -> Delivery:
    return Delivery(asking, instance)


def fold(jira: Jira, status: int) -> Mapping[str, Any]:
    """Fold; the status is the one that is expected."""
    answer = jira.world.send("POST", "/extract/jira/fold", {}, token=SERVICE_TOKEN)
    assert answer.status_code == status, answer.text
    found: Mapping[str, Any] = answer.get_json()
    return found


def test_each_issue_is_fetched_once_and_completely(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    first, second = instance.create(summary="One"), instance.create()
    for number in range(60):
        instance.edit(first.id, summary=f"Edit {number}")
    instance.comment(second.id, "Said")
    instance.link(first.id, second.id)
    sent = deliver()
    assert fold(asking, 200)["counts"]["events"] == sent
    assert sum("expand=changelog" in path for _, path in service.requests) == 2
    assert asking.rows("select summary from issues order by issue_id") == [("Edit 59",), ("It does not work",)]
    assert asking.rows("select count(*) from changelog where field_name = 'summary'") == [(60,)]
    assert asking.rows("select count(*) from comments") == [(1,)]
    assert asking.rows("select count(*) from issuelinks") == [(2,)]


def test_events_stay_in_the_inbox_from_the_expiry_of_a_token_until_there_is_another(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    for _ in range(3):
        instance.create()
    deliver()
    service.faults = [Fault("issue", status=401, skip=1, times=10**6)]
    result = fold(asking, 207)
    assert (result["status"], result["counts"]["events"], result["left"]) == ("partial", 1, 2)
    assert "2 events are waiting: Jira rejects the credential" in result["error"]
    assert TOKEN not in str(result)
    assert len(asking.waiting()) == 2
    result = fold(asking, 422)
    assert (result["status"], result["left"]) == ("failed", 2)
    (run,) = asking.world.ask("GET", f"/api/sync/status?run={result['run_id']}", token=SERVICE_TOKEN)["runs"]
    assert (run["status"], run["error"]) == ("failed", result["error"])
    service.faults = []
    assert service.accounts[TOKEN] == EMAIL
    assert fold(asking, 200)["left"] == 0
    assert asking.rows("select count(*) from issues") == [(3,)]
    assert asking.waiting() == []


def test_one_issue_that_cannot_be_fetched_blocks_no_other(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    first, second = instance.create(), instance.create()
    instance.link(first.id, second.id)
    deliver()
    service.faults = [Fault("issue", status=403, about=f"/{first.id}", times=10**6)]
    assert fold(asking, 207)["left"] == 2  # what is about both waits as well
    assert asking.rows("select issue_id from issues") == [(second.id,)]
    assert asking.rows("select issue_id from issuelinks") == [(second.id,)]
    service.faults = []
    fold(asking, 200)
    assert asking.rows("select count(*) from issues") == [(2,)]


def test_unreadable_parts_of_an_event_are_reported_by_its_fold(
    asking: Jira, service: Service, instance: Instance
) -> None:
    created = instance.create()
    asking.take(event("jira:issue_updated", issue={"id": created.id}, comment=["no comment"]), "broken")
    service.faults = [Fault("issue", status=403, about=f"/{created.id}", times=10**6)]
    assert "unread" not in fold(asking, 422)["counts"]
    service.faults = []
    result = fold(asking, 200)
    assert (result["counts"]["unread"], result["notes"]) == (
        1,
        ["2026-03-01T12-00/broken.json was read without its comment, which has an unknown format"],
    )


def test_no_further_requests_are_sent_while_jira_is_down(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyst.connectors.jira.api.issues.Patience", lambda: Patience(0.0))
    for _ in range(20):
        instance.create()
    deliver()
    service.down_until = float("inf")
    result = fold(asking, 422)
    assert (result["left"], result["counts"]) == (20, {"events": 0})
    assert service.counts["issue"] <= 8
    service.down_until = 0.0
    assert fold(asking, 200)["counts"] == {"events": 20, "issues": 20}


def test_while_jira_is_down_no_more_than_a_batch_is_read(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyst.connectors.jira.api.issues.Patience", lambda: Patience(0.0))
    monkeypatch.setattr("analyst.connectors.jira.sync.fold._MOST_EVENTS", 2)
    for _ in range(6):
        instance.create()
    deliver()
    service.down_until = float("inf")
    result = fold(asking, 422)
    assert result["left"] == 2
    assert "2 events and all later ones are waiting" in result["error"]
    assert len(asking.waiting()) == 6
    service.down_until = 0.0
    assert fold(asking, 200)["counts"] == {"events": 6, "issues": 6}


def test_many_issues_that_cannot_be_fetched_do_not_delay_the_others(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    for _ in range(7):
        instance.create()
    deliver()
    service.faults = [Fault("issue", status=403, times=6)]
    result = fold(asking, 207)
    assert (result["left"], result["counts"]["events"]) == (6, 1)
    assert fold(asking, 200)["counts"]["events"] == 6


def test_an_issue_unknown_to_jira_has_no_rows_until_jira_knows_it(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    issue = instance.create()
    deliver()
    fold(asking, 200)
    service.hidden.add(issue.id)
    instance.edit(issue.id, summary="Hidden")
    deliver()
    fold(asking, 200)
    assert asking.rows("select issue_id from issues") == []
    assert asking.rows("select issue_id from raw_issues") == [(issue.id,)]
    service.hidden.clear()
    instance.edit(issue.id, summary="Shown")
    deliver()
    fold(asking, 200)
    assert asking.rows("select summary from issues") == [("Shown",)]


def test_nothing_brings_a_deleted_issue_back_for_a_month(
    asking: Jira, service: Service, instance: Instance, deliver: Delivery
) -> None:
    issue = instance.create()
    late = instance.webhooks[0].event
    deliver()
    fold(asking, 200)
    instance.delete(issue.id)
    deliver()
    service.counts.clear()
    fold(asking, 200)
    assert asking.rows("select issue_id from issues") == []
    asking.take({**late, "webhookEvent": "jira:issue_updated"}, "late")
    fold(asking, 200)
    assert asking.rows("select issue_id from issues") == []
    assert asking.rows("select deleted_at is not null from raw_issues") == [(True,)]


def test_deletions_of_a_month_ago_are_forgotten(jira: Jira) -> None:
    for number, name in enumerate(("jira:issue_deleted", "jira:issue_created")):
        jira.take(event(name, issue={"id": str(number), "key": f"A-{number}", "fields": {"summary": "x"}}))
    jira.fold()
    assert jira.rows("select count(*) from raw_issues") == [(2,)]
    answer = jira.world.ask("POST", "/extract/jira/tidy", {}, token=SERVICE_TOKEN)
    assert (answer["forgotten"], answer["rebuild"]["status"]) == (1, "published")
    assert jira.rows("select issue_id from raw_issues") == [("1",)]
    assert jira.world.ask("POST", "/extract/jira/tidy", {}, token=SERVICE_TOKEN)["forgotten"] == 0


def test_the_archive_of_a_past_hour_becomes_one_object(jira: Jira) -> None:
    for number in range(3):
        jira.take(event("project_created", number=number))
        jira.fold()
    before = [entry.key for entry in jira.store.list("extracts/jira/events/archive/")]
    assert len(before) == 3
    assert jira.world.ask("POST", "/extract/jira/tidy", {}, token=SERVICE_TOKEN)["gathered"] == 3
    (after,) = (entry.key for entry in jira.store.list("extracts/jira/events/archive/"))
    assert after.rpartition("/")[2].startswith("2026-03-01T12-")
    assert jira.world.ask("POST", "/extract/jira/replay", {}, token=SERVICE_TOKEN)["events"] == 3


def test_a_replay_skips_and_reports_damaged_events(jira: Jira) -> None:
    for number in range(2):
        jira.take(event("jira:issue_created", issue={"id": str(number), "key": f"A-{number}", "fields": {}}))
        jira.fold()
    damaged, _ = (entry.key for entry in jira.store.list("extracts/jira/events/archive/"))
    jira.store.put(damaged, b"", if_version=ANY)
    answer = jira.world.send("POST", "/extract/jira/replay", {}, token=SERVICE_TOKEN)
    result = answer.get_json()
    assert (answer.status_code, result["events"], result["issues"]) == (422, 1, 0)
    assert result["error"] == f"the archive '{damaged}' is damaged; restore it from a backup, or delete it"
    (run,) = jira.world.ask("GET", f"/api/sync/status?run={result['run_id']}", token=SERVICE_TOKEN)["runs"]
    assert (run["job"], run["status"], run["counts"]) == ("replay", "failed", {"events": 1})


def expect(jira: Jira, table: str, severity: str, **expectation: Any) -> None:
    jira.world.ask("POST", "/rebuild", {})
    body = {"expectations": [{"severity": severity, **expectation}]}
    jira.world.ask("PUT", f"/api/admin/tables/jira.{table}/expectations", body)


def test_expectations_hold_back_a_fold_and_its_events_wait(asking: Jira, instance: Instance, deliver: Delivery) -> None:
    instance.create(summary="One")
    deliver()
    fold(asking, 200)
    expect(asking, "issues", "block", kind="set", columns=["summary"], values=["One", "Three"])
    two = instance.create(summary="Two")
    waiting = deliver()
    failed = fold(asking, 422)
    assert "expectations are not met: set summary: 1 of 2 rows fail; the last version stays" in failed["error"]
    assert asking.rows("select summary from issues") == asking.rows("select 'One'")
    assert asking.rows("select count(*) from raw_issues") == [(1,)]
    assert len(asking.waiting()) == waiting
    (newest, *_) = asking.world.ask("GET", "/api/tables/jira.issues/expectations")["checks"]
    assert (newest["published"], newest["rows"]) == (False, 2)
    instance.edit(two.id, summary="Three")
    deliver()
    fold(asking, 200)
    assert asking.rows("select summary from issues order by 1") == [("One",), ("Three",)]
    assert asking.waiting() == []


def test_expectations_that_warn_are_shown_with_the_tables_of_a_fold(
    asking: Jira, instance: Instance, deliver: Delivery
) -> None:
    instance.create(summary="One")
    deliver()
    fold(asking, 200)
    expect(asking, "issues", "warn", kind="row_count", max=1)
    instance.create(summary="Two")
    deliver()
    fold(asking, 200)
    asking.world.ask("POST", "/rebuild", {})
    notice = asking.world.ask("GET", "/api/sync/manifest")["tables"]["jira.issues"]["notice"]
    assert notice == "expectations are not met: row_count: there are 2 rows, and at most 1 are expected"
