"""The published tables: only months that changed have other files, and options that change make all of them again."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyst.connectors.jira.warehouse.parts import BLOCK
from analyst.sweep.compaction_rule import Rule
from tests.clouds import Cloud
from tests.integration.jira.conftest import NOON, Jira, event, issue, serve
from tests.integration.world import SERVICE_TOKEN

DAY = timedelta(days=1)
MONTH = 31 * DAY


def tell(jira: Jira, *issues: dict[str, Any]) -> None:
    """Tell of issues, and fold."""
    for document in issues:
        jira.take(event("jira:issue_updated", issue=document))
    assert jira.fold()["left"] == 0


def manifest(jira: Jira) -> dict[str, dict[str | None, str]]:
    """Return the hashes of the files that laptops have, by table and month."""
    tables = jira.world.ask("GET", "/api/sync/manifest")["tables"]
    return {id_: {file["partition"]: file["sha256"] for file in table["files"]} for id_, table in tables.items()}


def test_a_changed_issue_changes_only_the_files_of_its_month(jira: Jira) -> None:
    tell(jira, *(issue(number, created=NOON - number * MONTH) for number in range(1, 4)))
    before = manifest(jira)
    assert sorted(before["jira.issues"], key=str) == ["2025-11", "2025-12", "2026-01", None]
    tell(jira, issue(2, created=NOON - 2 * MONTH, updated=NOON + DAY, summary="Other"))
    after = manifest(jira)
    changed = {
        (table, part) for table in after for part in after[table] if after[table][part] != before[table].get(part)
    }
    assert changed == {("jira.issues", "2025-12"), *(each for each in changed if each[0] == "jira.raw_issues")}
    assert after.keys() == before.keys()


def test_an_issue_whose_creation_month_turns_out_different_leaves_the_old_month(jira: Jira) -> None:
    tell(jira, issue(1, created=NOON), issue(2, created=NOON))
    tell(jira, issue(1, created=NOON - MONTH, updated=NOON + DAY))
    found = jira.rows(
        "select partition, rows from _files where table_name = 'issues' and partition is not null order by 1"
    )
    assert found == [("2026-01", 1), ("2026-03", 1)]
    tell(jira, issue(2, created=NOON - MONTH, updated=NOON + DAY))
    found = jira.rows("select partition, rows from _files where table_name = 'issues' and partition is not null")
    assert found == [("2026-01", 2)]


def test_an_issue_that_moved_to_another_project_has_its_new_key_everywhere(jira: Jira) -> None:
    comment = {"id": "7", "body": "Said", "created": "2026-03-01T12:00:00.000+0000"}
    jira.take(event("jira:issue_created", issue=issue(1, key="ABC-1")))
    jira.take(event("comment_created", issue={"id": "1", "key": "ABC-1", "fields": {}}, comment=comment))
    jira.fold()
    tell(jira, issue(1, key="XYZ-9", updated=NOON + DAY))
    assert jira.rows("select issue_key from issues union all select issue_key from comments") == [
        ("XYZ-9",),
        ("XYZ-9",),
    ]


def test_changed_options_rebuild_all_tables_from_stored_issues(jira: Jira, tmp_path: Path) -> None:
    issues = [
        issue(number, created=NOON - number % 3 * MONTH, customfield_10004={"value": "high"}) for number in range(1, 9)
    ]
    tell(jira, *issues)
    assert jira.rows("select count(severity) from issues") == [(0,)]
    fields = [{"field": "customfield_10004", "column": "severity", "type": "option"}]
    fields += [{"field": "customfield_10005", "column": "team", "type": "text"}]
    (tmp_path / "instance.yaml").write_text(yaml.safe_dump({"jira": {"custom_fields": fields}}))
    other = serve(jira.cloud, tmp_path, jira.world.admin, CONFIG_FILE=str(tmp_path / "instance.yaml"))
    answer = other.fold()
    assert (answer["status"], answer["rebuild"]["status"]) == ("ok", "published")
    assert other.rows("select count(severity), count(team), count(*) from issues") == [(8, 0, 8)]
    tell(other, issue(1, created=NOON - MONTH, updated=NOON + DAY, customfield_10005="Core"))
    assert other.rows("select count(severity), count(team), count(*) from issues") == [(7, 1, 8)]


def test_a_deregistered_table_is_not_written_until_it_is_added_again(jira: Jira) -> None:
    tell(jira, issue(1))
    jira.world.ask("DELETE", "/api/admin/tables/jira.issues")
    tell(jira, issue(2))
    assert jira.rows("select table_name from _meta where table_name in ('issues', 'raw_issues')") == [("raw_issues",)]
    jira.world.ask("POST", "/api/admin/tables/jira.issues", {})
    assert jira.fold()["status"] == "ok"
    assert jira.rows("select issue_id from issues order by 1") == [("1",), ("2",)]


def test_without_the_documents_everything_is_read_again(jira: Jira) -> None:
    tell(jira, issue(1))
    jira.world.ask("DELETE", "/api/admin/tables/jira.raw_issues")
    tell(jira, issue(2))
    assert jira.rows("select issue_id from issues") == [("2",)]
    jira.world.ask("POST", "/extract/jira/replay", {}, token=SERVICE_TOKEN)
    assert jira.rows("select issue_id from issues order by 1") == [("1",), ("2",)]


def test_the_documents_are_server_only_whatever_the_settings(cloud: Cloud, tmp_path: Path) -> None:
    jira = serve(cloud, tmp_path, TABLES_PUBLIC="true")
    jira.world.ask("POST", "/api/admin/sources/jira", {"type": "jira"})
    jira.fold()
    tables = {table["name"]: table for table in jira.world.ask("GET", "/api/admin/tables?source=jira")["tables"]}
    assert (tables["raw_issues"]["server_only"], tables["raw_issues"]["is_public"]) == (True, False)
    assert (tables["issues"]["server_only"], tables["issues"]["is_public"]) == (False, True)


def test_files_of_months_and_blocks_are_not_compacted_by_the_sweep(jira: Jira) -> None:
    tell(jira, *(issue(number * BLOCK, created=NOON - number * MONTH) for number in range(40)))
    before = jira.files()
    assert len([part for table, part in before if table == "raw_issues"]) == 41
    swept = jira.world.ask("POST", "/sweep", {}, token=SERVICE_TOKEN)
    assert (swept["compacted"], swept["problems"]) == ([], [])
    assert jira.files() == before
    assert Rule().fewest < 40


@pytest.mark.parametrize("config", [{"jql": 1}, {"project": "ABC"}])
def test_an_invalid_config_is_refused(jira: Jira, config: dict[str, Any]) -> None:
    answer = jira.world.send("PUT", "/api/admin/sources/jira", {"config": config})
    assert answer.status_code == 422


def test_an_issue_without_valid_rows_blocks_no_other_and_is_kept(jira: Jira, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("analyst.connectors.jira.issue.rows.hierarchy.standing", _fail_for("Broken"))
        for document in (issue(1, summary="Broken"), issue(2)):
            jira.take(event("jira:issue_updated", issue=document))
        assert jira.fold()["counts"] == {"events": 2, "issues": 2, "misshapen issue": 1}
    assert jira.rows("select issue_id from issues") == [("2",)]
    assert jira.rows("select issue_id from raw_issues order by 1") == [("1",), ("2",)]
    assert jira.waiting() == []
    tell(jira, issue(1, summary="Mended", updated=NOON + DAY))
    assert jira.rows("select summary from issues order by issue_id") == [("Mended",), ("Issue 2",)]


def _fail_for(summary: str) -> Any:
    from analyst.connectors.jira.issue import hierarchy

    right = hierarchy.standing

    def failing(fields: Any, *rest: Any) -> Any:
        if fields.get("summary") == summary:
            raise KeyError(summary)
        return right(fields, *rest)

    return failing
