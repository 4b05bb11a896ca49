"""Remote tables stay in BigQuery: a snapshot has views of them, which readers attach by DuckDB's extension."""

from datetime import time
from pathlib import Path
from typing import Any

import duckdb

from tests.bucket_contents import data, pointer
from tests.doubles.bigquery.project import Project, column
from tests.integration.bigquery.conftest import Opened

FIELDS = [
    column("id", "INTEGER"),
    column("hour", "TIME", description="When it opens"),
    column("tags", "STRING", "REPEATED"),
]


def attached(con: Any) -> None:
    """Stand in for the extension: attach a database with the tables of the project, which is called as readers attach it."""
    con.execute("attach ':memory:' as bq_bigquery; create schema bq_bigquery.d")
    con.execute("create table bq_bigquery.d.Visits as select 1::bigint as id, time '08:00' as hour, ['a'] as tags")


def test_a_remote_table_becomes_a_view_and_an_attachment_for_readers(opened: Opened, tmp_path: Path) -> None:
    project = Project()
    table = project.table("d.Visits", FIELDS, [{"id": 1, "hour": time(8), "tags": ["a"]}], description="Who came")
    bigquery = opened(project, billing_project="other-project")
    bigquery.register("d.Visits", query_mode="remote")
    result = bigquery.sync()["visits"]
    assert (result["status"], result["rows"], result["note"]) == ("ok", 0, None)
    assert project.sessions == []
    assert bigquery.extract("select query_mode, rows, description from _meta") == [("remote", 0, "Who came")]
    assert bigquery.extract("from _remote_attach") == [
        ("bq_bigquery", "bigquery", "project=shop-123456 billing_project=other-project", "")
    ]
    catalog = bigquery.world.ask("GET", "/api/catalog/tables/bq.visits")
    assert catalog["query_mode"] == "remote"
    assert {one["name"]: one["type"] for one in catalog["columns"]} == {
        "id": "BIGINT",
        "hour": "TIME",
        "tags": "VARCHAR[]",
    }
    (tmp_path / "analytics.duckdb").write_bytes(data(bigquery.store, pointer(bigquery.store).duckdb))
    with duckdb.connect(tmp_path / "analytics.duckdb") as con:
        attached(con)
        assert con.execute("from bq.visits").fetchall() == [(1, time(8), ["a"])]
    project.tick()
    project.load(table, [])
    assert bigquery.sync()["visits"]["status"] == "unchanged"
    table.fields.append(column("more", "INTEGER"))
    project.tick()
    assert bigquery.sync()["visits"]["status"] == "ok"


def test_a_remote_view_whose_rows_depend_on_the_time_stays_published(opened: Opened) -> None:
    project = Project()
    project.table("d.t", FIELDS, [{"id": 1, "hour": time(8), "tags": []}])
    project.view("d.recent", f"SELECT * FROM `{project.id}.d.t` WHERE TIMESTAMP '2026-01-01' < CURRENT_TIMESTAMP")
    bigquery = opened(project)
    bigquery.register("d.recent", query_mode="remote")
    assert bigquery.sync()["recent"]["status"] == "ok"
    project.tick()
    assert bigquery.sync()["recent"]["status"] == "unchanged"


def test_a_remote_table_has_only_the_columns_that_its_options_name(opened: Opened, tmp_path: Path) -> None:
    project = Project()
    fields = [*FIELDS, column("The Pay", "STRING")]
    project.table("d.Visits", fields, [{"id": 1, "hour": time(8), "tags": ["a"], "The Pay": "4711"}])
    bigquery = opened(project)
    bigquery.register("d.Visits", query_mode="remote", options={"columns": ["id", "tags"]})
    assert bigquery.sync()["visits"]["status"] == "ok"
    catalog = bigquery.world.ask("GET", "/api/catalog/tables/bq.visits")
    assert [one["name"] for one in catalog["columns"]] == ["id", "tags"]
    (tmp_path / "analytics.duckdb").write_bytes(data(bigquery.store, pointer(bigquery.store).duckdb))
    with duckdb.connect(tmp_path / "analytics.duckdb") as con:
        attached(con)  # it has a column that is not published
        assert con.execute("from bq.visits").fetchall() == [(1, ["a"])]
    world, asked = bigquery.world, {"sql": "select * from bq.visits"}
    try:
        assert world.ask("POST", "/api/query", asked)["rows"] == [[1, ["a"]]]
        for sql in ('select "The Pay" from bq.visits', "select hour from visits"):
            assert world.send("POST", "/api/query", {"sql": sql}).status_code == 422
        bigquery.change(
            "visits", options={"columns": ["id", "the_pay"]}
        )  # by the name that it would have as a local one
        bigquery.sync()
        assert world.ask("POST", "/api/query", asked)["rows"] == [[1, "4711"]]
    finally:
        world.process.close()
    bigquery.change("visits", options={"columns": ["nope"]})
    assert "has no column 'nope'" in bigquery.send().text


def test_a_table_may_become_remote_and_local_again(opened: Opened) -> None:
    project = Project()
    project.table("d.Visits", FIELDS, [{"id": 1, "hour": time(8), "tags": ["a"]}])
    bigquery = opened(project)
    bigquery.register("d.Visits")
    assert bigquery.sync()["visits"]["rows"] == 1
    bigquery.change("visits", query_mode="remote")
    assert bigquery.sync()["visits"]["rows"] == 0
    assert bigquery.extract("select query_mode from _meta") == [("remote",)]
    assert bigquery.extract("select count(*) from _files") == [(0,)]
    bigquery.change("visits", query_mode="local")
    assert bigquery.sync()["visits"]["rows"] == 1
    assert bigquery.rows("from bq.visits") == [(1, "08:00:00", ["a"])]
