"""Tables of a BigQuery project become published ones, exactly."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from tests.doubles.bigquery.project import Project, column
from tests.integration.bigquery.conftest import Opened

HARD = [
    column("id", "INTEGER", "REQUIRED"),
    column("Code Nr.", "STRING"),
    column("price", "NUMERIC"),
    column("exact", "NUMERIC", precision="10", scale="2"),
    column("big", "BIGNUMERIC"),
    column("rate", "FLOAT"),
    column("paid", "BOOLEAN"),
    column("data", "BYTES"),
    column("day", "DATE"),
    column("hour", "TIME"),
    column("local", "DATETIME"),
    column("at", "TIMESTAMP"),
    column("place", "GEOGRAPHY"),
    column("said", "JSON"),
    column("tags", "STRING", "REPEATED"),
    column("lines", "RECORD", "REPEATED", fields=[column("sku"), column("big", "BIGNUMERIC")]),
    column("valid", "RANGE", rangeElementType={"type": "DATE"}),
    column("span", "INTERVAL"),
]
ROWS: list[dict[str, Any]] = [
    {
        "id": 9223372036854775807,
        "Code Nr.": "007",
        "price": Decimal("12345678901234567890123456789.123456789"),
        "exact": Decimal("-12345678.90"),
        "big": Decimal("1234567890123456789012345678901234567.00000000000000000000000000000000000001"),
        "rate": float("inf"),
        "paid": True,
        "data": b"\x00\xff",
        "day": date(1, 1, 1),
        "hour": time(23, 59, 59, 999999),
        "local": datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        "at": datetime(1900, 1, 1, tzinfo=UTC),
        "place": "POINT(14 50)",
        "said": '{"a": [1, null]}',
        "tags": ["", "😀"],
        "lines": [{"sku": "a", "big": Decimal("0.5")}, {"sku": None, "big": None}],
        "valid": {"start": date(2026, 1, 1), "end": None},
        "span": (14, 3, 1_500_000_000),
    },
    {"id": 1, "Code Nr.": "", "tags": [], "lines": []},
]
KINDS = {
    "id": "BIGINT",
    "code_nr": "VARCHAR",
    "price": "DECIMAL(38,9)",
    "exact": "DECIMAL(10,2)",
    "big": "VARCHAR",
    "rate": "DOUBLE",
    "paid": "BOOLEAN",
    "data": "BLOB",
    "day": "DATE",
    "hour": "VARCHAR",
    "local": "TIMESTAMP",
    "at": "TIMESTAMP WITH TIME ZONE",
    "place": "VARCHAR",
    "said": "VARCHAR",
    "tags": "VARCHAR[]",
    "lines": "STRUCT(sku VARCHAR, big VARCHAR)[]",
    "valid": 'STRUCT("start" DATE, "end" DATE)',
    "span": "VARCHAR",
}


def test_values_arrive_exactly(opened: Opened) -> None:
    project = Project()
    project.table("shop.Orders", HARD, ROWS, description="What was sold")
    bigquery = opened(project)
    bigquery.register("shop.Orders")
    result = bigquery.sync()["orders"]
    assert (result["status"], result["rows"]) == ("ok", 2), result
    assert "more than 38 digits are texts in" in result["notes"][0]
    assert {name: kind for name, kind, *_ in bigquery.rows("describe bq.orders")} == KINDS
    shown = bigquery.rows(
        'select * replace ("day"::varchar as "day", "local"::varchar as "local", "at"::varchar as "at") from bq.orders order by id desc'
    )
    assert shown[0] == (
        9223372036854775807,
        "007",
        Decimal("12345678901234567890123456789.123456789"),
        Decimal("-12345678.90"),
        "1234567890123456789012345678901234567.00000000000000000000000000000000000001",
        float("inf"),
        True,
        b"\x00\xff",
        "0001-01-01",
        "23:59:59.999999",
        "9999-12-31 23:59:59.999999",
        "1900-01-01 00:00:00+00",
        "POINT(14 50)",
        '{"a": [1, null]}',
        ["", "😀"],
        [{"sku": "a", "big": "0.5"}, {"sku": None, "big": None}],
        {"start": date(2026, 1, 1), "end": None},
        "1-2 3 0:0:1.5",
    )
    assert shown[1] == (1, "", *(None,) * 12, [], [], None, None)
    assert bigquery.sync()["orders"]["status"] == "unchanged"
    catalog = bigquery.world.ask("GET", "/api/catalog/tables/bq.orders")
    assert catalog["description"] == "What was sold"
