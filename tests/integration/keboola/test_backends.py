"""Tables of BigQuery backends, of linked buckets, and of large projects."""

from typing import Any

import pytest

from tests.doubles.keboola.project import Column, Project
from tests.integration.keboola.conftest import Opened

COLUMNS = [
    Column("id", "INT64", nullable=False),
    Column("note", "STRING", basetype="STRING"),
    Column("price", "NUMERIC", "38,9"),
    Column("rate", "FLOAT64"),
    Column("at", "TIMESTAMP", basetype="TIMESTAMP"),
    Column("local", "DATETIME", basetype="TIMESTAMP"),
    Column("paid", "BOOL"),
]
ROWS: list[tuple[str | None, ...]] = [
    (
        "1",
        "",
        "12345678901234567890123456789.123456789",
        "NaN",
        "1900-01-01 00:00:00 UTC",
        "9999-12-31T23:59:59",
        "true",
    ),
    ("2", None, None, None, None, None, None),
    (
        "-9223372036854775808",
        '"a",\n😀',
        "-0.000000001",
        "1e300",
        "2026-03-29 01:30:00.123456 UTC",
        "2026-01-01T00:00:00",
        "false",
    ),
]


@pytest.mark.parametrize("parquet", [True, False])
def test_a_bigquery_backend_distinguishes_null_from_the_empty_text(opened: Opened, parquet: bool) -> None:
    project = Project(provider="gcp", backend="bigquery", parquet=parquet)
    rows = [tuple(None if value is None else value.replace(" UTC", "+00") for value in row) for row in ROWS]
    project.table("in.c-bq.t", COLUMNS, rows if parquet else ROWS, typed=True)
    keboola = opened(project)
    keboola.register("in.c-bq.t")
    result = keboola.sync()["t"]
    assert (result["status"], result["rows"]) == ("ok", 3), result
    kinds = [kind for _, kind, *_ in keboola.rows("describe kbc.t")]
    assert kinds == ["BIGINT", "VARCHAR", "DECIMAL(38,9)", "DOUBLE", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "BOOLEAN"]
    found = keboola.rows(
        'select id, note, price::varchar, rate::varchar, "at"::varchar, "local"::varchar, paid from kbc.t'
    )
    assert sorted(found, key=lambda row: row[0]) == [
        (
            -9223372036854775808,
            '"a",\n😀',
            "-0.000000001",
            "1e+300",
            "2026-03-29 01:30:00.123456+00",
            "2026-01-01 00:00:00",
            False,
        ),
        (
            1,
            "",
            "12345678901234567890123456789.123456789",
            "nan",
            "1900-01-01 00:00:00+00",
            "9999-12-31 23:59:59",
            True,
        ),
        (2, None, None, None, None, None, None),
    ]


def test_a_filter_that_the_backend_does_not_support_is_explained(opened: Opened) -> None:
    project = Project(backend="bigquery")
    project.table("in.c-bq.t", ["id", "day"], [("1", "2026-01-01")])
    keboola = opened(project)
    keboola.register("in.c-bq.t", options={"where_filters": [{"column": "day", "operator": "ge", "values": ["2026"]}]})
    assert "Operator ge is not supported" in keboola.send().get_json()["tables"][0]["error"]
    keboola.change("t", options={"where_filters": [{"column": "day", "operator": "eq", "values": ["2026-01-01"]}]})
    assert keboola.sync()["t"]["rows"] == 1


def test_the_tables_of_a_linked_bucket_are_read(opened: Opened) -> None:
    project = Project()
    project.bucket(
        "in.c-shared", sourceBucket={"id": "out.c-theirs", "project": {"id": 9, "name": "Other"}}, isReadOnly=True
    )
    columns: list[Any] = [Column("id", "NUMBER", "38,0"), Column("v", "VARCHAR")]
    table = project.table("in.c-shared.t", columns, [("1", "a"), ("2", "b")], key=["id"], typed=True)
    keboola = opened(project)
    project.tick(days=2)
    keboola.register("in.c-shared.t", options={"sync_strategy": "incremental"})
    assert keboola.sync()["t"]["rows"] == 2
    project.insert(table, [("2", "c"), ("3", "d")])
    assert keboola.sync()["t"]["rows"] == 3
    assert keboola.rows("select id::int, v from kbc.t order by 1") == [(1, "a"), (2, "c"), (3, "d")]


def test_one_call_lists_a_large_project(opened: Opened) -> None:
    project = Project()
    for number in range(1000):
        project.table(f"in.c-many.table_{number}", ["id", "value"])
    keboola = opened(project)
    made = keboola.world.ask("POST", "/api/admin/discover-tables", {"source": "kbc"})
    assert len(made["registered"]) == 1000
    project.requests.clear()
    keboola.sync(*(f"table_{number}" for number in range(0, 1000, 250)))
    assert [path.partition("?")[0] for _, path in project.requests].count("/v2/storage/tables") == 1
