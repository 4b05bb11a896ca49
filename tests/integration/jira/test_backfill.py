"""The extract of a Jira source reads every issue once, then updated ones, and resumes where it was interrupted."""

from typing import Any

import pytest

from tests.doubles.jira.contents import CUSTOM, START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.issues import Sla
from tests.doubles.jira.service import DESK_TOKEN, TOKEN, Fault, Service
from tests.integration.jira.conftest import Jira
from tests.integration.world import SERVICE_TOKEN


def extract(jira: Jira, *, status: int = 200, **wanted: Any) -> dict[str, Any]:
    answer = jira.world.send("POST", "/extract/jira", {"source": "jira", **wanted}, token=SERVICE_TOKEN)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def issues(jira: Jira, columns: str = "issue_key") -> list[Any]:
    return jira.rows(f"select {columns} from issues order by issue_id::int")


def test_all_issues_become_rows_of_all_tables(asking: Jira, instance: Instance) -> None:
    first, second = instance.create(customfield_10004={"value": "high"}), instance.create("DEV")
    for n in range(30):
        instance.comment(first.id, f"comment {n}")
        instance.log_work(first.id, 60)
    instance.link(first.id, second.id)
    instance.link_remotely(second.id, "https://wiki.example.com", "a page")
    instance.attach(first.id, "log.txt", b"x")
    answer = extract(asking)
    assert (answer["status"], answer["rebuild"]["snapshot"], answer["is_complete"]) == ("ok", 2, True)
    assert answer["counts"] == {"read": 4, "fetched": 2, "known": 2, "changed": 2}
    assert issues(asking, "issue_key, severity, comment_count") == [("SUP-1", "high", 30), ("DEV-1", None, 0)]
    assert asking.rows("select count(*) from worklogs") == [(30,)]
    assert asking.rows("select title from remote_links") == [("a page",)]
    assert asking.rows("select count(*) from issuelinks") == [(2,)]
    assert asking.rows("select filename from attachments") == [("log.txt",)]


def test_nothing_is_published_when_nothing_has_changed(asking: Jira, service: Service, instance: Instance) -> None:
    instance.create()
    extract(asking)
    before = asking.files()
    service.counts.clear()
    answer = extract(asking)
    assert (answer["counts"], answer["rebuild"]) == ({"read": 1, "known": 1}, None)
    assert asking.files() == before
    assert service.counts == {"search": 1, "field": 1, "myself": 2}


def test_an_increment_reads_updated_issues_and_those_that_were_indexed_late(
    asking: Jira, service: Service, instance: Instance
) -> None:
    first = instance.create()
    extract(asking)
    instance.is_lagging = True
    late = instance.create(summary="late")
    instance.clock += 60_000
    instance.is_lagging = False
    instance.edit(first.id, summary="other")
    extract(asking)
    assert issues(asking) == [("SUP-1",)]
    instance.reindex(late.id)
    service.counts.clear()
    extract(asking)
    assert issues(asking, "summary") == [("other",), ("late",)]
    assert service.counts["remotelink"] == 1


def test_an_interrupted_run_resumes_where_it_stopped(
    asking: Jira, service: Service, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._BATCH", 10)
    for _ in range(35):
        instance.create()
    service.faults.append(Fault("remotelink", 401, skip=25))
    answer = extract(asking, status=207)
    assert (answer["status"], answer["is_complete"]) == ("partial", False)
    assert "set JIRA_API_TOKEN to" in answer["error"]
    assert TOKEN not in str(answer)
    assert len(issues(asking)) == 20
    service.counts.clear()
    assert extract(asking)["status"] == "ok"
    assert [key for (key,) in issues(asking)] == [f"SUP-{n}" for n in range(1, 36)]
    assert service.counts["remotelink"] == 15


def test_a_run_out_of_time_leaves_the_rest_for_the_next(
    asking: Jira, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._BATCH", 10)
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._seconds", lambda _opened: -1.0)
    for _ in range(15):
        instance.create()
    answer = extract(asking)
    assert (answer["status"], answer["is_complete"], len(issues(asking))) == ("ok", False, 10)
    extract(asking)
    assert len(issues(asking)) == 15


def test_an_issue_that_cannot_be_fetched_blocks_no_other_and_is_retried(
    asking: Jira, service: Service, instance: Instance
) -> None:
    for _ in range(3):
        instance.create()
    service.faults.append(Fault("remotelink", 400, times=2, about="/10001/"))
    answer = extract(asking)
    assert (answer["counts"]["failed"], len(issues(asking))) == (2, 2)
    assert "rejects" in answer["notes"][0]
    assert extract(asking)["counts"]["fetched"] == 1
    assert len(issues(asking)) == 3


def test_an_issue_that_is_deleted_while_it_is_read_has_no_rows(
    asking: Jira, service: Service, instance: Instance
) -> None:
    kept, gone = instance.create(), instance.create()
    begin = service.begin

    def meanwhile(kind: str, path: str) -> Fault | None:
        if kind == "remotelink" and gone.id in instance.issues and f"/{gone.id}/" in path:
            instance.delete(gone.id)
        return begin(kind, path)

    service.begin = meanwhile  # type: ignore[method-assign]
    service.faults.append(Fault("remotelink", 404, about=f"/{kept.id}/"))
    assert extract(asking)["counts"]["gone"] == 1
    assert issues(asking) == [(kept.key,)]


def test_a_query_or_a_time_selects_issues_to_read_again(asking: Jira, instance: Instance) -> None:
    first, second = instance.create(), instance.create("DEV")
    before = asking.files()
    counted = extract(asking, jql="project = DEV", dry_run=True)
    assert (counted["found"], counted["jql"]) == (1, "(project = DEV) AND updated >= 0 ORDER BY updated ASC")
    assert asking.files() == before
    extract(asking, jql="project = DEV")
    assert issues(asking) == [("DEV-1",)]
    extract(asking, since="2024-05-01T00:00:01Z")
    assert issues(asking) == [("SUP-1",), ("DEV-1",)]
    extract(asking)
    instance.edit(first.id, summary="other")
    assert extract(asking)["counts"]["fetched"] == 1
    refused = asking.world.send(
        "POST", "/extract/jira", {"source": "jira", "jql": "project = SUP order by key"}, token=SERVICE_TOKEN
    )
    assert (refused.status_code, "ORDER BY" in refused.get_json()["error"]) == (422, True)
    assert second.updated < START + 10_000


def test_a_source_may_be_limited_to_a_query_and_some_projects(asking: Jira, instance: Instance) -> None:
    instance.create()
    instance.create("DEV")
    refused = asking.world.send("PUT", "/api/admin/sources/jira", {"config": {"jql": "project = DEV order by key"}})
    assert (refused.status_code, "remove ORDER BY" in refused.text) == (422, True)
    asking.world.ask("PUT", "/api/admin/sources/jira", {"config": {"jql": "project = DEV"}})
    extract(asking)
    assert issues(asking) == [("DEV-1",)]


def test_issues_that_come_into_scope_are_read_however_long_ago_they_were_updated(
    asking: Jira, service: Service, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        instance.create("SUP")
        instance.clock += 3_600_000
        instance.create("DEV")
    asking.world.ask("PUT", "/api/admin/sources/jira", {"config": {"jql": "project = DEV"}})
    extract(asking)
    asking.world.ask("PUT", "/api/admin/sources/jira", {"config": {"jql": "project in (DEV, SUP)"}})
    assert extract(asking, dry_run=True)["found"] == 6
    with monkeypatch.context() as hurried:
        hurried.setattr("analyst.connectors.jira.sync.backfill._BATCH", 2)
        hurried.setattr("analyst.connectors.jira.sync.backfill._seconds", lambda _opened: -1.0)
        counts = [extract(asking)["counts"] for _ in range(3)]
        assert counts == [{"read": 2, "known": 1, "fetched": 1, "changed": 1}] * 2 + [{"read": 2, "known": 2}]
    assert extract(asking)["is_complete"]
    assert len(issues(asking)) == 6
    service.counts.clear()
    assert extract(asking)["counts"] == {"read": 1, "known": 1}


def test_a_renamed_or_hidden_field_still_fills_its_column(
    asking: Jira, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.create(customfield_10004={"value": "high"})
    extract(asking)
    before = asking.files()
    renamed = [(id_, name.replace("Severity", "Impact"), *kind) for id_, name, *kind in CUSTOM]
    for fields in (renamed, renamed[1:]):
        monkeypatch.setattr("tests.doubles.jira.service.CUSTOM", fields)
        (note,) = extract(asking)["notes"]
        assert note.startswith("Jira has no field named 'Severity' any more; its column still has the values of")
        assert asking.files() == before
    instance.create(customfield_10004={"value": "low"})
    extract(asking)
    assert issues(asking, "severity") == [("high",), ("low",)]


def test_the_first_read_can_be_counted(asking: Jira, instance: Instance) -> None:
    instance.create()
    counted = extract(asking, dry_run=True)
    assert (counted["found"], counted["jql"]) == (1, "created >= 0 ORDER BY created ASC")
    extract(asking)
    assert extract(asking, dry_run=True)["jql"] == f"updated >= {instance.clock - 900_000} ORDER BY updated ASC"


def test_sla_fields_come_from_the_account_of_the_service_desk(
    asking: Jira, service: Service, instance: Instance
) -> None:
    service.sla_is_hidden = True
    instance.create(customfield_10161=Sla("Time to resolution", START, 5_000))
    instance.clock += 60_000
    extract(asking)
    assert issues(asking, "time_to_resolution_breached, time_to_resolution_goal_millis") == [("true", 5_000)]
    instance.edit("10000", summary="other")
    service.accounts.pop(DESK_TOKEN)
    extract(asking)
    assert issues(asking, "summary, time_to_resolution_goal_millis") == [("other", 5_000)]


def test_without_a_credential_jira_is_not_queried_and_the_run_succeeds(jira: Jira) -> None:
    answer = extract(jira)
    assert answer["status"] == "unchanged"
    assert answer["notes"] == ["nothing was requested from Jira: JIRA_API_TOKEN is not set"]
    assert "set JIRA_DOMAIN" in extract(jira, status=422, jql="project = SUP")["error"]
