"""If a read fails, the published table stays, the reason is reported, and the next sync resumes."""

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.bigquery.project import Fault, Project, column
from tests.integration.bigquery.conftest import BigQuery, Opened

FIELDS = [column("id", "INTEGER"), column("value")]


def synced(opened: Opened, project: Project) -> BigQuery:
    """Publish two tables once, then change one at its source."""
    table = project.table("d.t", FIELDS, [{"id": number, "value": "old"} for number in range(12)])
    project.table("d.other", FIELDS, [{"id": 1, "value": "old"}])
    bigquery = opened(project, streams=2)
    bigquery.register("d.t")
    bigquery.register("d.other")
    bigquery.sync()
    project.tick()
    project.load(table, [{"id": number, "value": "new"} for number in range(12)])
    project.requests.clear()
    return bigquery


def values(bigquery: BigQuery) -> list[Any]:
    return bigquery.rows("select value, count(*) from bq.t group by 1")


TRANSIENT = {
    "streams break": [Fault("ReadRows", after=1, times=3)],
    "sessions are unavailable": [Fault("CreateReadSession", times=2)],
    "the table can't be looked up": [
        Fault("tables/t", status=500, times=1),
        Fault("tables/t", status=403, reason="rateLimitExceeded"),
        Fault("tables/t", status=429),
    ],
}


def test_a_passing_fault_is_survived(opened: Opened) -> None:
    project = Project()
    bigquery = synced(opened, project)
    project.faults.extend(fault for faults in TRANSIENT.values() for fault in faults)
    assert bigquery.sync()["t"]["status"] == "ok"
    assert values(bigquery) == [("new", 12)]
    assert all(fault.times == 0 for fault in project.faults)
    assert 2 in {offset for _, offset in project.resumed}


LASTING: dict[str, tuple[Fault, str]] = {
    "a stream is gone": (Fault("ReadRows", code="NOT_FOUND", after=1, times=9), "BigQuery has no 'd.t'"),
    "a stream is refused": (
        Fault("ReadRows", code="PERMISSION_DENIED", after=0, times=9),
        "give the account the roles",
    ),
    "the table is rejected": (
        Fault("tables/t", status=400, reason="invalid", message="Odd name", times=9),
        "BigQuery rejects projects/shop-123456/datasets/d/tables/t (400): Odd name",
    ),
    "the table is refused": (
        Fault("tables/t", status=403, reason="accessDenied", message="No", times=9),
        "BigQuery Data Viewer",
    ),
    "the credentials are refused": (Fault("tables/t", status=401, times=9), "GOOGLE_APPLICATION_CREDENTIALS"),
}


def test_after_a_lasting_fault_the_published_table_stays(opened: Opened) -> None:
    project = Project()
    bigquery = synced(opened, project)
    for what, (fault, reason) in LASTING.items():
        project.faults[:] = [fault]
        answer = bigquery.send()
        result = answer.get_json()
        assert reason in f"{result['error']} {[table['error'] for table in result['tables']]}", what
        assert values(bigquery) == [("old", 12)], what
    project.faults.clear()
    assert bigquery.sync()["t"]["status"] == "ok"
    assert values(bigquery) == [("new", 12)]


def test_a_missing_table_does_not_stop_the_others(opened: Opened) -> None:
    project = Project()
    bigquery = synced(opened, project)
    del project.tables["d.other"]
    answer = bigquery.send()
    assert answer.status_code == 207
    found = {table["table"]: table for table in answer.get_json()["tables"]}
    assert (found["t"]["status"], found["other"]["status"]) == ("ok", "failed")
    assert "BigQuery has no table 'd.other' in the project 'shop-123456'" in found["other"]["error"]
    assert len(bigquery.rows("from bq.other")) == 1


def test_without_credentials_no_request_is_sent_to_google(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bigquery = opened(Project())
    bigquery.world.ask("PUT", "/api/admin/sources/bq", {"config": {}})
    bigquery.register("d.t")
    key = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    answer = bigquery.send()
    assert answer.status_code == 422
    assert "Google's default credentials can't be used" in answer.get_json()["error"]
    key.write_text("{}")
    assert "can't be used" in bigquery.send().get_json()["error"]
    bigquery.world.ask("PUT", "/api/admin/sources/bq", {"config": {"key_env": "BIGQUERY_CRM_KEY_FILE"}})
    assert "BIGQUERY_CRM_KEY_FILE is not the path of a key file" in bigquery.send().get_json()["error"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"project_id": "No Project"}, "is not the id of a project"),
        ({"api_endpoint": "https://evil.example.com"}, "is not an address of BigQuery"),
        ({"api_endpoint": "https://googleapis.com.example.com"}, "is not an address of BigQuery"),
        ({"storage_endpoint": "ftp://x"}, "is not an address of BigQuery"),
        ({"key_env": "PATH"}, "is not a variable for a key file"),
        ({"dataset": "x"}, "did you mean 'datasets'"),
        ({"streams": 0}, "streams"),
    ],
)
def test_a_config_that_cannot_be_used_is_explained(opened: Opened, config: dict[str, Any], reason: str) -> None:
    bigquery = opened(Project())
    answer = bigquery.world.send("POST", "/api/admin/sources/new/preview", {"type": "bigquery", "config": config})
    assert answer.status_code == 422
    assert reason in answer.text
