"""Issues can be read again, and the source says what its readers may see and which projects it has."""

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import CLOUD_ID, Service
from tests.integration.jira.conftest import Installed, Jira, event, issue, settings_for
from tests.integration.jira.test_jobs import issues, run


def rename(instance: Instance) -> None:
    """Rename a project, which updates none of its issues."""
    for renamed in instance.issues.values():
        renamed.fields["project"] = {**renamed.fields["project"], "name": "Renamed"}


def test_issues_are_read_again_by_their_keys(asking: Jira, service: Service, instance: Instance) -> None:
    first, second, gone = instance.create(), instance.create(), instance.create()
    run(asking)
    rename(instance)
    assert run(asking)["counts"].get("changed") is None
    service.hidden.add(gone.id)
    result = run(asking, "refresh", keys=[first.key.lower(), gone.key, "SUP-99"])
    assert result["counts"] == {"read": 3, "fetched": 1, "missing": 2, "changed": 2}
    assert result["notes"][0] == "Jira has no issue 'SUP-3', or its account may not see it"
    assert issues(asking, "issue_key, project_name") == [(first.key, "Renamed"), (second.key, "Support")]
    (record,) = asking.world.ask("GET", f"/api/sync/status?run={result['run_id']}")["runs"]
    assert (record["job"], record["status"]) == ("refresh", "ok")


def test_all_issues_are_read_again_in_parts(asking: Jira, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        instance.create()
    run(asking)
    cursor = asking.rows("select cursor from _state where table_name = 'raw_issues'")
    rename(instance)
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._BATCH", 3)
    monkeypatch.setattr("analyst.connectors.jira.sync.backfill._seconds", lambda _opened: -1.0)
    ask = asking.world.ask
    result = ask("POST", "/api/admin/jira/refresh", {"all_issues": True})
    assert (result["is_complete"], result["counts"]["fetched"]) == (False, 3)
    result = ask("POST", "/api/admin/jira/refresh", {"all_issues": True, "created_from": result["next_from"]})
    assert issues(asking, "project_name") == [("Renamed",)] * 5
    assert asking.rows("select cursor from _state where table_name = 'raw_issues'") == cursor
    for wrong in ({}, {"keys": ["SUP-1"], "all_issues": True}, {"keys": ["x y"]}):
        assert asking.world.send("POST", "/api/admin/jira/refresh", wrong).status_code == 422


def test_an_expired_token_refreshes_nothing(asking: Jira, service: Service, instance: Instance) -> None:
    key = instance.create().key
    run(asking)
    service.expired = "silent"
    assert "set JIRA_API_TOKEN to" in run(asking, "refresh", status=422, keys=[key])["error"]
    assert "set JIRA_API_TOKEN to" in run(asking, "refresh", status=422, all_issues=True)["error"]
    assert issues(asking) == [(key,)]


def test_the_restriction_options_of_a_source_rebuild_its_tables(jira: Jira) -> None:
    comment = {"id": "77", "author": {"accountId": "x", "emailAddress": "ann@a.example"}, "body": "SECRET internal"}
    internal = {**comment, "jsdPublic": False, "created": "2026-03-01T12:00:00.000+0000"}
    jira.take(event("comment_created", comment=internal, issue=issue(1, security={"name": "Staff"})))
    jira.fold()
    assert (jira.rows("from comments"), jira.rows("select comment_count from issues")) == ([], [(0,)])
    configured: list[tuple[dict[str, str], list[Any], int]] = [
        ({"restricted": "include"}, [(False, "ann@a.example")], 1),
        ({"restricted": "include", "emails": "exclude"}, [(False, "x")], 1),
        ({"restricted": "include", "secured": "exclude"}, [], 0),
        ({}, [], 1),
    ]
    for config, comments, count in configured:
        jira.world.ask("PUT", "/api/admin/sources/jira", {"config": config})
        jira.fold()
        assert jira.rows("select jsd_public, author_email from comments") == comments
        assert jira.rows("select count(*) from issues") == [(count,)]
    refused = jira.world.send("PUT", "/api/admin/sources/jira", {"config": {"restricted": "perhaps"}})
    assert (refused.status_code, "'exclude' or 'include'" in refused.text) == (422, True)


def test_webhooks_of_other_projects_do_not_reach_the_tables(installed: Installed, tmp_path: Path) -> None:
    jira = installed.serve(tmp_path, JIRA_PROJECTS="ABC")
    assert jira.take(event("jira:issue_created", issue=issue(1)))["outcome"] == "kept"
    response = jira.take(event("jira:issue_created", issue=issue(2, key="DEV-2", project={"key": "DEV"})))
    assert (response["outcome"], response["reason"]) == ("ignored", "the project DEV is not in JIRA_PROJECTS")
    jira.take(event("worklog_created", worklog={"id": "5", "issueId": "3"}))
    jira.fold()
    assert jira.rows("select issue_key from issues") == [("ABC-1",)]
    assert jira.rows("select count(*) from worklogs") == [(0,)]
    assert "DEV" not in str(jira.rows("select document from raw_issues"))
    moved = issue(1, key="DEV-9", project={"key": "DEV"}, updated_at=1)
    moved["fields"]["updated"] = "2026-03-02T12:00:00.000+0000"
    jira.take(event("jira:issue_updated", issue=moved))
    jira.fold()
    assert jira.rows("from issues") == []


def test_issues_of_other_projects_are_not_fetched(
    installed: Installed, tmp_path: Path, service: Service, instance: Instance
) -> None:
    jira = installed.serve(tmp_path, **settings_for(service, tmp_path), JIRA_PROJECTS="DEV")
    ours, theirs = instance.create("DEV"), instance.create("SUP")
    for webhook in instance.webhooks:
        jira.take(webhook.event, webhook.identifier)
    jira.take(event("worklog_created", worklog={"id": "5", "issueId": theirs.id}), "work")
    jira.fold()
    assert issues(jira) == [(ours.key,)]
    assert jira.rows("select issue_id from raw_issues") == [(ours.id,)]
    assert service.counts["issue"] == 1


def test_a_token_with_scopes_uses_the_gateway_and_links_lead_to_the_site(
    installed: Installed, tmp_path: Path, service: Service, instance: Instance
) -> None:
    settings = settings_for(service, tmp_path) | {"JIRA_DOMAIN": "acme.example"}
    jira = installed.serve(tmp_path, **settings, JIRA_API_URL=f"{instance.url}/ex/jira/{CLOUD_ID}")
    instance.attach(instance.create().id, "a.txt", b"a")
    run(jira)
    assert issues(jira, "issue_url") == [("https://acme.example/browse/SUP-1",)]
    assert run(jira, "attachments")["counts"]["stored"] == 1
    assert all(path.startswith(f"/ex/jira/{CLOUD_ID}/") for kind, path in service.requests if kind != "media")
