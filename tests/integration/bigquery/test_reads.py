"""Which rows of BigQuery are read, and how: streams, snapshots, increments, partitions, views and queries."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.doubles.bigquery.project import Fault, Project, column
from tests.integration.bigquery.conftest import BigQuery, Opened

FIELDS = [column("id", "INTEGER"), column("value"), column("at", "TIMESTAMP"), column("day", "DATE")]


def row(number: int, value: str = "a", day: int = 1) -> dict[str, Any]:
    at = datetime(2026, 2, day, tzinfo=UTC) + timedelta(minutes=number)
    return {"id": number, "value": value, "at": at, "day": date(2026, 2, day)}


def content(bigquery: BigQuery, table: str = "t") -> list[Any]:
    return bigquery.rows(f"select id, value from bq.{table} order by id")


def test_all_streams_are_read_at_one_moment(opened: Opened) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(number) for number in range(20)])
    project.tick()
    bigquery = opened(project, streams=4)
    bigquery.register("d.t")

    def change() -> None:
        project.tick()
        project.load(table, [])

    project.faults.append(Fault("CreateReadSession", times=1, then=change, code="UNAVAILABLE", message="retry"))
    assert bigquery.sync()["t"]["rows"] == 20
    (session,) = project.sessions
    assert (session.max_streams, len(session.streams)) == (4, 4)
    assert session.snapshot == datetime(2026, 3, 1, 13, tzinfo=UTC)
    result = bigquery.sync(status=422)["t"]
    assert result["status"] == "failed"
    assert "allow_fewer" in result["error"]


@pytest.mark.parametrize(("shown", "is_believed"), [(100, True), (98, True), (60, False), (0, False)])
def test_rows_that_bigquery_still_counts_but_hides_are_kept(opened: Opened, shown: int, *, is_believed: bool) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(number) for number in range(100)])
    bigquery = opened(project)
    bigquery.register("d.t")
    bigquery.sync()
    project.tick()
    project.load(table, [row(number) for number in range(100)])
    table.policy = f"id < {shown}"
    result = bigquery.sync(status=200 if is_believed else 422)["t"]
    assert len(content(bigquery)) == (shown if is_believed else 100)
    if not is_believed:
        assert "a lost permission hides rows: the source counts 100" in result["error"]


def test_columns_and_a_filter_are_pushed_down(opened: Opened) -> None:
    project = Project()
    project.table("d.t", FIELDS, [row(number, "ab"[number % 2]) for number in range(6)])
    bigquery = opened(project)
    bigquery.register(
        "d.t", options={"columns": ["id", "value"], "row_filter": "value = 'b' AND `day` < DATE '2027-01-01'"}
    )
    assert bigquery.sync()["t"]["rows"] == 3
    assert project.sessions[0].selected == ("id", "value")
    assert project.sessions[0].restriction == "(value = 'b' AND `day` < DATE '2027-01-01')"
    assert content(bigquery) == [(1, "b"), (3, "b"), (5, "b")]


def test_a_filter_that_bigquery_rejects_fails_the_table(opened: Opened) -> None:
    project = Project()
    project.table("d.t", FIELDS, [row(1)])
    bigquery = opened(project)
    bigquery.register("d.t", options={"row_filter": "nothing = 1"})
    error = bigquery.send().get_json()["tables"][0]["error"]
    assert error.startswith("BigQuery rejects 'd.t' (400): request failed")


@pytest.mark.parametrize(
    ("cursor", "lag", "bound"),
    [
        ("at", "2m", "TIMESTAMP '2026-02-01 00:01:00+00:00'"),
        ("id", "1", "2"),
        ("day", None, "DATE '2026-02-01'"),
        ("value", None, "'a'"),
    ],
)
def test_an_increment_reads_from_the_cursor_on(opened: Opened, cursor: str, lag: str | None, bound: str) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(number) for number in range(4)])
    project.tick()
    bigquery = opened(project)
    options = {"cursor_lag": lag} if lag else {}
    bigquery.register("d.t", sync_strategy="incremental", primary_key=["id"], cursor_column=cursor, options=options)
    assert bigquery.sync()["t"]["rows"] == 4
    project.load(table, [row(0), row(1), row(2, "b"), row(3, "c"), row(4, "d")])
    assert bigquery.sync()["t"]["rows"] == 5
    first, second = project.sessions
    assert first.restriction == ""
    assert second.restriction == f"(`{cursor}` >= {bound} OR `{cursor}` IS NULL)"
    assert content(bigquery)[3:] == [(3, "c"), (4, "d")]


def test_an_incremental_table_whose_columns_change_is_read_again(opened: Opened) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(1), row(2)])
    project.tick()
    bigquery = opened(project)
    bigquery.register("d.t", sync_strategy="incremental", primary_key=["id"], cursor_column="at")
    bigquery.sync()
    table.fields += [column("more")]
    table.fields[0] = column("id", "NUMERIC")
    project.load(table, [{**row(n), "id": Decimal(n), "more": "x"} for n in (1, 2, 3)])
    result = bigquery.sync()["t"]
    assert (result["rows"], result["notes"]) == (3, ["all rows were read: the columns of the table changed"])
    assert project.sessions[-1].restriction == ""
    assert bigquery.rows("select distinct more from bq.t") == [("x",)]


def test_rows_of_another_filter_or_project_are_not_merged_with_published_ones(opened: Opened) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(1, "a"), row(2, "b")])
    project.tick()
    bigquery = opened(project)
    options = {"row_filter": "value = 'a'"}
    bigquery.register("d.t", sync_strategy="incremental", primary_key=["id"], cursor_column="at", options=options)
    bigquery.sync()
    assert content(bigquery) == [(1, "a")]
    bigquery.change("t", options={"row_filter": "value = 'b'"})
    project.load(table, [row(1, "a"), row(2, "b"), row(3, "b")])
    result = bigquery.sync()["t"]
    note = "all rows were read: the source reads another project or table, or other rows of it"
    assert (result["rows"], result["notes"]) == (2, [note])
    assert content(bigquery) == [(2, "b"), (3, "b")]
    project.load(table, [row(2, "b"), row(4, "b")])
    assert bigquery.sync()["t"].get("notes", []) == []
    assert content(bigquery) == [(2, "b"), (3, "b"), (4, "b")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cursor_column": "tags"}, "the cursor column 'tags' of 'd.t' has the type STRING"),
        ({"cursor_column": "nothing"}, "has no column 'nothing'"),
        ({"options": {"cursor_lag": "5"}}, "use a number such as 100 for a number, and 90s"),
        ({"options": {"columns": ["idd"]}}, "has no column 'idd'"),
    ],
)
def test_an_unusable_cursor_is_explained(opened: Opened, changes: dict[str, Any], reason: str) -> None:
    project = Project()
    tags = column("tags", "STRING", "REPEATED")
    table = project.table("d.t", [*FIELDS, tags], [{**row(1), "tags": []}])
    bigquery = opened(project)
    bigquery.register("d.t", sync_strategy="incremental", primary_key=["id"], cursor_column="at")
    bigquery.sync()
    project.tick()
    project.load(table, [{**row(1), "tags": []}])
    bigquery.change("t", **changes)
    assert reason in bigquery.send().get_json()["tables"][0]["error"]


def test_only_partitions_that_changed_are_read(opened: Opened) -> None:
    project = Project()
    rows = [row(number, day=1 + number // 4) for number in range(12)]
    table = project.table("d.t", FIELDS, rows, partitioning={"type": "DAY", "field": "day"})
    table.partition_times |= {f"2026020{day}": project.now for day in (1, 2, 3)}
    bigquery = opened(project)
    bigquery.register("d.t", options={"by_partition": True})
    assert bigquery.sync()["t"]["rows"] == 12
    project.tick()
    project.sessions.clear()
    project.load(table, [*rows[:4], *(one | {"value": "b"} for one in rows[4:8]), row(20, "n", 4)])
    table.partition_times = {
        "20260201": table.partition_times["20260201"],
        "20260202": project.now,
        "20260204": project.now,
    }
    assert bigquery.sync()["t"]["rows"] == 9
    assert sorted(session.restriction for session in project.sessions) == [
        "(`day` >= DATE '2026-02-02' AND `day` < DATE '2026-02-03')",
        "(`day` >= DATE '2026-02-04' AND `day` < DATE '2026-02-05')",
    ]
    assert content(bigquery) == [*((n, "a") for n in range(4)), *((n, "b") for n in range(4, 8)), (20, "n")]
    assert dict(bigquery.extract("select partition, count(*) from _files group by 1")).keys() == {
        "20260201",
        "20260202",
        "20260204",
    }


def test_a_partitioned_table_that_is_streamed_into_is_read_whole(opened: Opened) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(1)], partitioning={"type": "DAY", "field": "day"}, is_streaming=True)
    table.partition_times |= {"20260201": project.now}
    bigquery = opened(project)
    bigquery.register("d.t", options={"by_partition": True})
    for _ in range(2):
        assert bigquery.sync()["t"]["status"] == "ok"
    assert len(project.sessions) == 2


def test_a_table_without_partitions_cannot_be_read_by_them(opened: Opened) -> None:
    project = Project()
    project.table("d.t", FIELDS, [row(1)])
    bigquery = opened(project)
    bigquery.register("d.t", options={"by_partition": True})
    assert "is not a partitioned table" in bigquery.send().get_json()["tables"][0]["error"]


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED_VIEW", "EXTERNAL"])
def test_a_view_is_read_by_a_query_with_a_cap(opened: Opened, kind: str) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(number) for number in range(5)], size_bytes=1 << 20)
    project.view("d.v", f"SELECT id, value AS `the value` FROM `{project.id}.d.t` WHERE id > 1", kind=kind)
    bigquery = opened(project)
    bigquery.register("d.v", options={"row_filter": "id < 4"})
    result = bigquery.sync()
    assert result["v"]["rows"] == 2
    assert bigquery.rows("from bq.v order by id") == [(2, "a"), (3, "a")]
    assert [name for name, *_ in bigquery.rows("describe bq.v")] == ["id", "the_value"]
    ran = [job for job in project.jobs.values() if not job.dry_run]
    assert [(job.cap, job.labels) for job in ran] == [(10 << 30, {"application": "ai-data-analyst"})]
    assert bigquery.sync()["v"]["status"] == "ok"  # BigQuery does not say when the rows of a view change
    table.size_bytes = 11 << 30
    error = bigquery.send().get_json()["tables"][0]["error"]
    assert error.startswith(
        "the query of 'd.v' would process 11,811,160,064 bytes, and may bill 10,737,418,240; it was not run"
    )
    assert len([job for job in project.jobs.values() if not job.dry_run]) == 2
    bigquery.change("v", options={"max_bytes_billed": 0})
    assert bigquery.sync()["v"]["status"] == "ok"


def test_a_query_is_materialized_as_a_table(opened: Opened) -> None:
    project = Project()
    project.table("d.t", [*FIELDS, column("price", "NUMERIC")], [{**row(n), "price": Decimal(n)} for n in range(6)])
    bigquery = opened(project)
    sql = f"SELECT value, SUM(id) AS total, [MAX(id)] AS ids FROM `{project.id}.d.t` GROUP BY 1"
    bigquery.register("sums", query_mode="materialized", options={"sql": sql})
    assert bigquery.sync()["sums"]["rows"] == 1
    assert [row[:1] for row in bigquery.rows("select value, total, ids from bq.sums")] == [("a",)]
    bigquery.change("sums", options={"sql": "SELECT nothing FROM nowhere"})
    error = bigquery.send().get_json()["tables"][0]["error"]
    assert "BigQuery rejects 'sums' (400): Syntax error" in error
    assert len(bigquery.rows("from bq.sums")) == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"query_mode": "materialized"}, "is materialized, but has no query"),
        ({"options": {"sql": "select 1"}}, "is not materialized; set its query_mode to materialized"),
        ({"bucket": None}, "has no dataset"),
    ],
)
def test_a_registration_that_cannot_be_used_is_explained(opened: Opened, more: dict[str, Any], reason: str) -> None:
    project = Project()
    project.table("d.t", FIELDS)
    bigquery = opened(project)
    bigquery.register("d.t", **more)
    assert reason in bigquery.send().get_json()["tables"][0]["error"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sync_strategy": "incremental"}, "needs cursor_column"),
        ({"by_partition": True, "sql": "select 1"}, "by_partition needs the sync_strategy full_refresh"),
        ({"cursor_lag": "soon"}, "is not a valid lag"),
        ({"max_bytes_billed": -1}, "max_bytes_billed"),
        ({"colums": ["a"]}, "did you mean 'columns'"),
    ],
)
def test_options_that_cannot_be_used_are_rejected(opened: Opened, options: dict[str, Any], reason: str) -> None:
    bigquery = opened(Project())
    answer = bigquery.world.send("POST", "/api/admin/tables/bq.t", {"bucket": "d", "options": options})
    assert answer.status_code == 422
    assert reason in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize(("rows", "kind"), [([], "empty"), ([row(1)], "full")])
def test_an_empty_table_has_its_columns(opened: Opened, rows: list[Any], kind: str) -> None:
    project = Project()
    project.table("d.t", FIELDS, rows)
    bigquery = opened(project)
    bigquery.register("d.t", options={"allow_fewer": True})
    assert bigquery.sync()["t"]["rows"] == len(rows), kind
    assert [name for name, *_ in bigquery.rows("describe bq.t")] == ["id", "value", "at", "day"]


def test_a_nan_is_found_as_the_greatest_number(opened: Opened) -> None:
    project = Project()
    fields = [column("id", "INTEGER"), column("value", "FLOAT")]
    project.table("d.t", fields, [{"id": number, "value": math.nan if number == 7 else 0.5} for number in range(9)])
    bigquery = opened(project)
    bigquery.register("d.t")
    bigquery.sync()
    assert bigquery.rows("select id from bq.t where value > 100") == [(7,)]
    assert bigquery.rows("select count(*) from bq.t where value < 'nan'::double") == [(8,)]


@pytest.mark.parametrize("by_partition", [False, True])
@pytest.mark.parametrize(
    ("condition", "is_read"),
    [
        ("TIMESTAMP '2026-01-01' < CURRENT_TIMESTAMP", True),
        ("value <> 'CURRENT_TIMESTAMP' /* CURRENT_TIME */", False),
    ],
)
def test_a_filter_that_depends_on_the_time_is_applied_again_though_the_table_stays(
    opened: Opened, condition: str, *, is_read: bool, by_partition: bool
) -> None:
    project = Project()
    partitioning = {"type": "DAY", "field": "day"}
    table = project.table("d.t", FIELDS, [row(1), row(2, day=2)], partitioning=partitioning)
    table.partition_times |= {f"2026020{day}": project.now for day in (1, 2)}
    bigquery = opened(project)
    bigquery.register("d.t", options={"row_filter": condition, "by_partition": by_partition})
    bigquery.sync()
    read = len(project.sessions)
    bigquery.sync()
    assert len(project.sessions) == (2 * read if is_read else read)


@pytest.mark.parametrize("kind", ["filter", "view", "sql"])
def test_rows_that_are_chosen_by_the_time_may_become_fewer_but_not_none(opened: Opened, kind: str) -> None:
    project = Project()
    table = project.table("d.t", FIELDS, [row(number) for number in range(40)])
    bigquery, condition = opened(project), "TIMESTAMP '2026-01-01' < CURRENT_TIMESTAMP"
    sql = f"SELECT * FROM `{project.id}.d.t` WHERE {condition}"
    if kind == "view":
        project.view("d.v", sql)
        bigquery.register("d.v", "t")
    elif kind == "sql":
        bigquery.register("t", query_mode="materialized", options={"sql": sql})
    else:
        bigquery.register("d.t", options={"row_filter": condition})
    bigquery.sync()
    for left, status in ((5, 200), (0, 422)):
        project.tick()
        project.load(table, [row(number) for number in range(left)])
        bigquery.sync(status=status)
        assert len(content(bigquery)) == 5
