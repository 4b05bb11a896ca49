"""A preview of a Jira source proves the credential, counts the issues, and shows the tables without registering them."""

from typing import Any

from tests.doubles.jira.instance import Instance
from tests.doubles.jira.service import TOKEN, Service
from tests.integration.jira.conftest import Jira
from tests.integration.jira.test_jobs import run


def preview(jira: Jira, **body: Any) -> dict[str, Any]:
    return dict(jira.world.ask("POST", "/api/admin/sources/jira/preview", body))


def test_a_preview_shows_issues_tables_and_custom_fields(asking: Jira, instance: Instance) -> None:
    for _ in range(3):
        instance.create()
    found = preview(asking)
    assert [(check["what"], check["ok"]) for check in found["checks"]] == [
        ("credential", True),
        ("issues", True),
        ("webhooks", True),
    ]
    assert found["checks"][1]["message"] == "about 3 visible"
    columns = {table["name"]: [column["name"] for column in table["columns"]] for table in found["tables"]}
    assert {"issues", "comments", "changelog", "raw_issues"} <= columns.keys()
    assert {"severity", "time_to_resolution_breached"} <= set(columns["issues"])


def test_an_invalid_credential_is_reported_as_the_problem(asking: Jira, service: Service) -> None:
    run(asking)
    service.expired = "silent"
    found = preview(asking)
    assert ("JIRA_API_TOKEN" in found["problem"], TOKEN in str(found), found["no_longer_read"]) == (True, False, [])
    tested = asking.world.ask("POST", "/api/admin/sources/jira/test", {})
    assert (tested["ok"], tested["problem"]) == (False, found["problem"])


def test_without_a_credential_webhooks_are_enough(jira: Jira) -> None:
    found = preview(jira)
    assert [(check["what"], check["ok"]) for check in found["checks"]] == [("credential", True), ("webhooks", True)]
    assert "set JIRA_DOMAIN, JIRA_EMAIL and JIRA_API_TOKEN" in found["checks"][0]["message"]
    assert jira.world.ask("POST", "/api/admin/sources/jira/test", {})["ok"] is True


def test_a_new_source_is_previewed_without_registering_it(asking: Jira) -> None:
    found = asking.world.ask(
        "POST", "/api/admin/sources/other/preview", {"type": "jira", "config": {"jql": "project = X"}}
    )
    assert all(not table["is_registered"] for table in found["tables"])
    assert [source["name"] for source in asking.world.ask("GET", "/api/admin/sources")["sources"]] == ["jira"]


def test_a_removed_source_keeps_its_webhooks(jira: Jira) -> None:
    jira.take({"webhookEvent": "jira:issue_updated", "issue": {"id": "1", "key": "A-1", "fields": {"summary": "x"}}})
    done = jira.world.ask("POST", "/api/admin/sources/jira/remove", {})
    assert "jira.issues" in done["tables"]
    assert done["kept"] == ["stored webhooks and their archive (extracts/jira/events/)"]
    assert len(jira.waiting()) == 1
