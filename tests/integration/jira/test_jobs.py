"""The jobs of a Jira source: differences are repaired, SLAs updated and attachments stored, each on a schedule."""

import json
from typing import Any

import pytest

from analyst.connectors.jira.sync.attachments import safe
from tests.doubles.jira.contents import START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.issues import Sla
from tests.doubles.jira.service import DESK_TOKEN, TOKEN, Fault, Service
from tests.integration.jira.conftest import Jira
from tests.integration.world import SERVICE_TOKEN

HOUR = 3_600_000


def run(jira: Jira, job: str = "", *, status: int = 200, **wanted: Any) -> dict[str, Any]:
    body = {"source": "jira", **wanted}
    answer = jira.world.send("POST", f"/extract/jira{job and f'/{job}'}", body, token=SERVICE_TOKEN)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def issues(jira: Jira, columns: str = "issue_key") -> list[Any]:
    return jira.rows(f"select {columns} from issues order by issue_id::int")


def test_missing_stale_and_deleted_issues_are_found_repaired_and_reported(asking: Jira, instance: Instance) -> None:
    same, stale, deleted, moved = (instance.create() for _ in range(4))
    run(asking)
    instance.clock += HOUR
    missing = instance.create("DEV")
    instance.edit(stale.id, summary="other")
    instance.move(moved.id, "DEV")
    instance.delete(deleted.id)
    instance.clock += HOUR
    result = run(asking, "check", repair=False)
    assert (result["level"], result["totals"]) == ("INFO", {"missing": 1, "stale": 2, "deleted": 1})
    found = run(asking, "check")
    assert found["found"] == {"missing": [missing.id], "stale": [stale.id, moved.id], "deleted": [deleted.id]}
    assert (found["level"], found["jira"], found["published"], found["status"]) == ("INFO", 4, 4, "ok")
    assert issues(asking, "issue_key, summary") == [
        (same.key, "It does not work"),
        (stale.key, "other"),
        ("DEV-2", "It does not work"),
        ("DEV-1", "It does not work"),
    ]
    again = run(asking, "check")
    assert (again["totals"], again["status"]) == ({"missing": 0, "stale": 0, "deleted": 0}, "unchanged")
    report = asking.store.read(found["report"])
    assert report is not None
    assert json.loads(report.data)["found"] == found["found"]


def test_an_index_that_lags_makes_nothing_missing_or_deleted(asking: Jira, instance: Instance) -> None:
    known = instance.create()
    run(asking)
    instance.is_lagging = True
    gone = instance.create()
    instance.reindex(gone.id)
    del instance.issues[gone.id]
    instance.index.pop(known.id)
    instance.clock += HOUR
    found = run(asking, "check")
    assert (found["totals"], found["level"]) == ({"missing": 0, "stale": 0, "deleted": 0}, "INFO")
    assert issues(asking) == [("SUP-1",)]


def test_too_many_differences_are_an_error_and_deletions_are_not_believed(
    asking: Jira, service: Service, instance: Instance
) -> None:
    ids = [instance.create().id for _ in range(4)]
    run(asking)
    instance.clock += HOUR
    service.hidden = {*ids[:3]}
    found = run(asking, "check", status=422, limit=2)
    assert (found["level"], found["left"], found["totals"]["deleted"]) == ("ERROR", 3, 0)
    assert "can no longer see all projects" in found["error"]
    assert found["error"].endswith("da admin jira check --deletions 3")
    assert len(issues(asking)) == 4
    service.hidden = set()
    for id_ in ids:
        instance.edit(id_, summary="other")
    instance.clock += HOUR
    found = run(asking, "check", limit=3)
    assert (found["level"], found["totals"]["stale"], found["left"]) == ("ERROR", 3, 1)
    found = run(asking, "check", limit=3)
    assert (found["level"], found["totals"]["stale"], found["left"]) == ("INFO", 1, 0)


def test_confirmed_deletions_raise_the_limit_of_a_check(asking: Jira, service: Service, instance: Instance) -> None:
    ids = [instance.create().id for _ in range(4)]
    run(asking)
    instance.clock += HOUR
    service.hidden = {*ids[:3]}
    assert run(asking, "check", limit=2, deletions=3)["totals"]["deleted"] == 3
    assert len(issues(asking)) == 1


def test_issues_that_a_search_does_not_find_are_deleted_only_if_jira_has_them_no_more(
    asking: Jira, instance: Instance
) -> None:
    archived = [instance.create().id for _ in range(12)]
    gone, *_ = (instance.create() for _ in range(3))
    run(asking)
    instance.is_lagging = True
    for id_ in archived:
        del instance.index[id_]
    instance.reindex(instance.create().id)
    instance.delete(gone.id)
    instance.reindex(gone.id)
    instance.clock += HOUR
    found = run(asking, "check", limit=3)
    assert (found["error"], found["found"]["deleted"], found["left"]) == (None, [gone.id], 11)
    assert found["notes"] == [
        "issues that a search does not find although Jira has them: 1; they were archived, or moved to another project"
    ]
    assert len(issues(asking)) == 15


def test_only_issues_created_within_the_window_are_compared_on_both_sides(asking: Jira, instance: Instance) -> None:
    old = instance.create()
    run(asking)
    instance.clock += 40 * 24 * HOUR
    instance.create()
    instance.edit(old.id, summary="other")
    instance.clock += HOUR
    found = run(asking, "check", max_age_days=30)
    assert (found["totals"], found["jira"], found["published"]) == ({"missing": 1, "stale": 0, "deleted": 0}, 1, 0)
    run(asking, "check")
    assert issues(asking, "summary") == [("other",), ("It does not work",)]


def test_issues_that_are_known_but_hidden_are_neither_missing_nor_read_again(
    asking: Jira, service: Service, instance: Instance
) -> None:
    """They would use up the limit of every check, and real differences would stay."""
    secret = instance.create(security={"id": "1", "name": "Staff"})
    shown = instance.create()
    asking.world.ask("PUT", "/api/admin/sources/jira", {"config": {"secured": "exclude"}})
    run(asking)
    instance.clock += HOUR
    instance.edit(shown.id, summary="other")
    instance.clock += HOUR
    service.counts.clear()
    found = run(asking, "check", limit=1)
    assert (found["totals"], found["left"]) == ({"missing": 0, "stale": 1, "deleted": 0}, 0)
    assert (found["jira"], found["published"], service.counts["remotelink"]) == (2, 2, 1)
    assert issues(asking, "summary") == [("other",)]
    instance.edit(secret.id, security=None)
    instance.clock += HOUR
    assert run(asking, "check")["totals"]["stale"] == 1
    assert issues(asking) == [(secret.key,), (shown.key,)]


def test_issues_that_a_query_no_longer_finds_are_compared_as_well(asking: Jira, instance: Instance) -> None:
    done, deleted, same = (instance.create() for _ in range(3))
    asking.world.ask("PUT", "/api/admin/sources/jira", {"config": {"jql": "status != Done"}})
    run(asking)
    instance.transition(done.id, "Done")
    instance.delete(deleted.id)
    instance.clock += HOUR
    run(asking)
    found = run(asking, "check")
    assert found["found"] == {"missing": [], "stale": [done.id], "deleted": [deleted.id]}
    assert issues(asking, "issue_key, status") == [(done.key, "Done"), (same.key, "To Do")]
    assert run(asking, "check")["status"] == "unchanged"


def test_before_the_first_complete_read_no_issue_is_reported_as_missing(asking: Jira, instance: Instance) -> None:
    instance.create()
    instance.clock += HOUR
    found = run(asking, "check")
    assert (found["totals"]["missing"], found["notes"][0].startswith("the backfill has not finished")) == (0, True)


def test_a_check_that_cannot_query_jira_is_reported_as_an_error(asking: Jira, service: Service) -> None:
    service.accounts.pop(TOKEN)
    found = run(asking, "check", status=422)
    assert (found["level"], "set JIRA_API_TOKEN to" in found["error"]) == ("ERROR", True)
    assert asking.store.read(found["report"]) is not None


def test_a_token_that_expires_stops_a_repair(asking: Jira, service: Service, instance: Instance) -> None:
    run(asking)
    ids = [instance.create().id for _ in range(30)]
    instance.clock += HOUR
    service.faults.append(Fault("remotelink", 401, about=f"/{ids[2]}/"))
    found = run(asking, "check", status=207)
    assert (found["level"], len(found["failed"]), "set JIRA_API_TOKEN to" in found["error"]) == ("ERROR", 1, True)
    assert service.counts["remotelink"] < 20
    assert run(asking, "check")["totals"]["missing"] == 28


def test_a_poll_updates_slas_of_open_issues_and_issues_with_missed_updates(
    asking: Jira, service: Service, instance: Instance
) -> None:
    service.sla_is_hidden = True
    sla = Sla("Time to resolution", START, HOUR)
    first, second, third = (instance.create(customfield_10161=sla) for _ in range(3))
    instance.create("DEV")
    instance.transition(third.id, "Done")
    run(asking)
    instance.clock += 2 * HOUR
    instance.transition(second.id, "Done")
    service.counts.clear()
    answer = run(asking, "sla")
    assert answer["counts"] == {"polled": 2, "healed": 1, "changed": 2}
    columns = "issue_key, status, time_to_resolution_breached, time_to_resolution_elapsed_millis > 7200000"
    assert issues(asking, columns)[:3] == [
        (first.key, "To Do", "true", True),
        (second.key, "Done", "true", True),
        (third.key, "Done", "false", False),
    ]
    assert run(asking, "sla")["counts"] == {"polled": 1}


def test_a_poll_whose_token_has_expired_is_reported_and_changes_nothing(
    asking: Jira, service: Service, instance: Instance
) -> None:
    instance.create(customfield_10161=Sla("Time to resolution", START, HOUR))
    run(asking)
    before = issues(asking, "time_to_resolution_goal_millis")
    service.accounts.pop(DESK_TOKEN)
    answer = run(asking, "sla", status=422)
    assert "set JIRA_SLA_API_TOKEN to" in answer["error"]
    assert issues(asking, "time_to_resolution_goal_millis") == before == [(HOUR,)]


@pytest.mark.parametrize("unseen", [None, {"errorMessage": "You are not an agent"}])
def test_an_account_that_is_no_longer_an_agent_does_not_end_slas(
    asking: Jira, service: Service, instance: Instance, unseen: object
) -> None:
    """Jira shows it issues without their SLAs, and its credential still works."""
    service.sla_is_hidden, service.unseen_sla = True, unseen
    for _ in range(3):
        instance.create(customfield_10161=Sla("Time to resolution", START, HOUR))
    run(asking)
    before = issues(asking, "time_to_resolution_goal_millis")
    service.desk_is_agent = False
    answer = run(asking, "sla", status=422)
    assert "no longer shows the SLAs of 3 of 3 open issues, so they stay as they were" in answer["error"]
    assert issues(asking, "time_to_resolution_goal_millis") == before == [(HOUR,)] * 3
    service.desk_is_agent = True
    assert run(asking, "sla")["counts"]["polled"] == 3


@pytest.mark.parametrize("has_desk", [True, False])
@pytest.mark.parametrize("unseen", [None, {"errorMessage": "You are not an agent"}])
def test_neither_events_nor_a_backfill_end_slas_hidden_from_the_account(
    asking: Jira, service: Service, instance: Instance, unseen: object, *, has_desk: bool
) -> None:
    service.sla_is_hidden, service.unseen_sla = has_desk, unseen
    ids = [instance.create(customfield_10161=Sla("Time to resolution", START, HOUR)).id for _ in range(3)]
    run(asking)
    service.sla_is_hidden, service.desk_is_agent = True, False
    for id_ in ids:
        instance.clock += HOUR
        instance.edit(id_, summary="edited")
        asking.take(instance.webhooks[-1].event, f"event-{id_}")
    run(asking, "fold")
    assert issues(asking, "summary, time_to_resolution_goal_millis") == [("edited", HOUR)] * 3
    instance.clock += HOUR
    instance.edit(ids[0], summary="again")
    run(asking)
    assert issues(asking, "time_to_resolution_goal_millis") == [(HOUR,)] * 3


def test_an_sla_ends_when_its_issue_moved_to_another_project(
    asking: Jira, service: Service, instance: Instance
) -> None:
    issue = instance.create(customfield_10161=Sla("Time to resolution", START, HOUR))
    run(asking)
    service.sla_is_hidden, service.desk_is_agent = True, False
    instance.clock += HOUR
    instance.move(issue.id, "DEV")
    run(asking)
    assert issues(asking, "project_key, time_to_resolution_goal_millis") == [("DEV", None)]


def test_attachments_are_stored_once_and_the_table_has_their_paths(
    asking: Jira, service: Service, instance: Instance
) -> None:
    issue = instance.create()
    small = instance.attach(issue.id, "Übersicht (1).PNG", b"pixels")
    instance.attach(issue.id, "large.bin", b"x" * 2000)
    gone = instance.attach(issue.id, "gone.txt", b"y")
    run(asking)
    del instance.issues[issue.id].attachments[gone]
    answer = run(asking, "attachments")
    assert answer["counts"] == {"stored": 1, "bytes": 6, "too_large": 1, "missing": 1, "changed": 1}
    key = f"extracts/jira/attachments/{issue.id}/{small}_bersicht_1_.PNG"
    assert asking.rows(f"select local_path from attachments where attachment_id = '{small}'") == [(key,)]
    stored = asking.store.read(key)
    assert stored is not None
    assert (stored.data, set(service.credentials)) == (b"pixels", {None})
    service.counts.clear()
    run(asking, "attachments")
    assert service.counts["media"] == 0
    instance.edit(issue.id, summary="other")
    run(asking)
    assert asking.rows(f"select local_path from attachments where attachment_id = '{small}'") == [(key,)]


def test_an_attachment_that_cannot_be_fetched_blocks_no_other(
    asking: Jira, service: Service, instance: Instance
) -> None:
    issue = instance.create()
    bad, _ = instance.attach(issue.id, "a.txt", b"a"), instance.attach(issue.id, "b.txt", b"b")
    run(asking)
    service.faults.append(Fault("content", 403, about=bad))
    answer = run(asking, "attachments")
    assert (answer["counts"]["stored"], answer["counts"]["failed"], TOKEN in str(answer)) == (1, 1, False)
    assert run(asking, "attachments")["counts"]["stored"] == 1


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "etc_passwd"),
        ("", "file"),
        ("отчёт.pdf", "pdf"),
        ("x" * 300 + ".jpeg", "x" * 95 + ".jpeg"),
        (".hidden", "hidden"),
        ("a/b\\c\x00d", "a_b_c_d"),
    ],
)
def test_names_of_files_are_safe(name: str, written: str) -> None:
    assert safe(name) == written


def test_the_jobs_are_scheduled(asking: Jira) -> None:
    schedule = asking.world.ask("GET", "/api/admin/schedule")
    assert {job["job"] for job in schedule["jobs"]} >= {"sla", "check", "attachments"}


@pytest.mark.parametrize("job", ["sla", "check", "attachments"])
def test_without_a_credential_no_request_is_sent_and_jobs_succeed(jira: Jira, job: str) -> None:
    answer = run(jira, job)
    assert (answer["status"], answer["notes"]) == (
        "unchanged",
        ["nothing was requested from Jira: JIRA_API_TOKEN is not set"],
    )
