"""Types, names and conditions of BigQuery's columns."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from analyst.connectors.bigquery.api import Field, Partitioning
from analyst.connectors.bigquery.columns import (
    Condition,
    condition_on,
    in_partition,
    not_before,
    planned_columns,
    quoted,
    text_literal,
    texts_for_numbers,
    type_of,
)
from analyst.errors import SourceError

BIG = Field("b", "BIGNUMERIC")


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (Field("a", "INT64"), "BIGINT"),
        (Field("a", "STRING", "REPEATED"), "VARCHAR[]"),
        (Field("a", "NUMERIC"), "DECIMAL(38,9)"),
        (Field("a", "NUMERIC", precision=5), "DECIMAL(5,0)"),
        (Field("a", "BIGNUMERIC", precision=38, scale=20), "DECIMAL(38,20)"),
        (Field("a", "BIGNUMERIC", precision=39), "VARCHAR"),
        (BIG, "VARCHAR"),
        (
            Field("a", "RANGE", element="TIMESTAMP"),
            'STRUCT("start" TIMESTAMP WITH TIME ZONE, "end" TIMESTAMP WITH TIME ZONE)',
        ),
        (Field("a", "RECORD", "REPEATED", fields=(Field('x"y', "DATE"), BIG)), 'STRUCT("x""y" DATE, "b" VARCHAR)[]'),
    ],
)
def test_every_type_becomes_one_that_holds_all_its_values(field: Field, kind: str) -> None:
    assert type_of(field) == kind


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(SourceError, match="the column 'v' has the type VECTOR, which this version does not read"):
        type_of(Field("v", "VECTOR"))


def test_columns_are_chosen_by_their_original_or_published_name() -> None:
    schema = [Field("Order ID", "INT64"), Field("note", "STRING"), BIG]
    chosen = planned_columns(schema, "d.t", ["order_id"], ["b"])
    assert [(one.field.name, one.name, one.column.description) for one in chosen] == [
        ("Order ID", "order_id", "Order ID"),
        ("b", "b", None),
    ]
    assert texts_for_numbers(chosen) == ["b"]
    with pytest.raises(SourceError, match="has no column 'nothing'"):
        planned_columns(schema, "d.t", ["nothing"])


@pytest.mark.parametrize(
    ("kind", "cursor", "lag", "bound"),
    [
        ("INT64", "9007199254740993", None, "9007199254740993"),
        ("NUMERIC", "10.5", "0.25", "10.25"),
        ("NUMERIC", "0.000000001", None, "0.000000001"),
        ("DATE", "2026-03-01", "1d", "DATE '2026-02-28'"),
        ("DATETIME", "2026-03-01 10:00:00.5", "30m", "DATETIME '2026-03-01 09:30:00.500000'"),
        ("TIMESTAMP", "2026-03-01 10:00:00+02:00", None, "TIMESTAMP '2026-03-01 08:00:00+00:00'"),
        ("DATE", "0001-01-02", "5d", "DATE '0001-01-01'"),
        ("STRING", "it's\n\\", None, r"'it\'s\n\\'"),
        ("INT64", "NaN", None, None),
        ("DATE", "soon", None, None),
    ],
)
def test_an_increment_becomes_a_condition(kind: str, cursor: str, lag: str | None, bound: str | None) -> None:
    made = not_before(Field("c", kind), cursor, lag)
    assert made == (None if bound is None else f"(`c` >= {bound} OR `c` IS NULL)")


@pytest.mark.parametrize(("kind", "lag"), [("INT64", "1d"), ("DATE", "5"), ("STRING", "1"), ("STRING", "1d")])
def test_a_lag_must_fit_its_column(kind: str, lag: str) -> None:
    with pytest.raises(SourceError, match="its cursor_lag is"):
        not_before(Field("c", kind), "1", lag)


BY_DATE, BY_TIME = Partitioning("d", "DAY"), Partitioning(None, "DAY")
NUMBERS = Partitioning("n", range=(0, 100, 10))


@pytest.mark.parametrize(
    ("partitioning", "id_", "condition"),
    [
        (BY_DATE, "20261231", "(`d` >= DATE '2026-12-31' AND `d` < DATE '2027-01-01')"),
        (Partitioning("d", "MONTH"), "202612", "(`d` >= DATE '2026-12-01' AND `d` < DATE '2027-01-01')"),
        (Partitioning("d", "YEAR"), "9999", "(`d` >= DATE '9999-01-01')"),
        (BY_DATE, "99991231", "(`d` >= DATE '9999-12-31')"),
        (BY_DATE, "__NULL__", "`d` IS NULL"),
        (
            Partitioning("t", "HOUR"),
            "2026123123",
            "(`t` >= TIMESTAMP '2026-12-31 23:00:00+00:00' AND `t` < TIMESTAMP '2027-01-01 00:00:00+00:00')",
        ),
        (
            BY_TIME,
            "20260101",
            "(_PARTITIONTIME >= TIMESTAMP '2026-01-01 00:00:00+00:00' AND _PARTITIONTIME < TIMESTAMP '2026-01-02 00:00:00+00:00')",
        ),
        (BY_TIME, "__UNPARTITIONED__", "_PARTITIONTIME IS NULL"),
        (NUMBERS, "90", "(`n` >= 90 AND `n` < 100)"),
        (NUMBERS, "__UNPARTITIONED__", "(`n` < 0 OR `n` >= 100)"),
        (NUMBERS, "__NULL__", "`n` IS NULL"),
    ],
)
def test_a_partition_becomes_a_condition(partitioning: Partitioning, id_: str, condition: str) -> None:
    schema = [Field("d", "DATE"), Field("t", "TIMESTAMP"), Field("n", "INT64")]
    assert in_partition(partitioning, schema, id_) == condition


@pytest.mark.parametrize(("partitioning", "id_"), [(BY_DATE, "2026"), (BY_DATE, "x' OR 1=1"), (NUMBERS, "1 OR 1=1")])
def test_an_invalid_partition_is_rejected(partitioning: Partitioning, id_: str) -> None:
    with pytest.raises(SourceError, match="is not a partition"):
        in_partition(partitioning, [Field("d", "DATE")], id_)


def test_names_and_texts_cannot_break_out_of_their_quotes() -> None:
    assert quoted("a`b\\") == r"`a\`b\\`"
    assert text_literal("a'b\\") == r"'a\'b\\'"


@pytest.mark.parametrize(
    ("field", "operator", "value", "condition"),
    [
        (Field("a", "INT64"), ">=", 5, "`a` >= 5"),
        (Field("a", "NUMERIC"), "<", Decimal("1E-3"), "`a` < NUMERIC '0.001'"),
        (Field("a", "STRING"), "=", "it's", r"`a` = 'it\'s'"),
        (Field("a", "BOOL"), "<>", True, "`a` <> TRUE"),
        (Field("a", "DATE"), ">", date(2026, 1, 2), "`a` > DATE '2026-01-02'"),
        (
            Field("a", "TIMESTAMP"),
            "<=",
            datetime(2026, 1, 2, tzinfo=UTC),
            "`a` <= TIMESTAMP '2026-01-02 00:00:00+00:00'",
        ),
        (Field("a", "JSON"), "is not null", None, "`a` IS NOT NULL"),
    ],
)
def test_simple_conditions_are_pushed_down(field: Field, operator: Any, value: Any, condition: str) -> None:
    assert condition_on(field, Condition("a", operator, value)) == condition


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field("a", "INT64"), "1 OR 1=1"),
        (Field("a", "INT64"), True),
        (Field("a", "STRING", "REPEATED"), "x"),
        (Field("a", "DATE"), datetime(2026, 1, 2, tzinfo=UTC)),
        (Field("a", "TIMESTAMP"), datetime(2026, 1, 2)),  # noqa: DTZ001
        (Field("a", "GEOGRAPHY"), "POINT(1 1)"),
    ],
)
def test_a_value_of_another_type_is_rejected(field: Field, value: Any) -> None:
    with pytest.raises(SourceError, match="can't be compared with"):
        condition_on(field, Condition("a", "=", value))
