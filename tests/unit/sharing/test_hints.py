"""Hints leave out a file only if none of its rows can match."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.errors import RateLimitedError
from analyst.sharing.hints import test_of as made_of
from analyst.sharing.served_statistics import Pace

STATS = {
    "numRecords": 10,
    "minValues": {"id": 5, "name": "b", "at": "2026-01-01T00:00:00Z", "day": "2026-01-01", "big": 9007199254740993},
    "maxValues": {"id": 9, "name": "d", "at": "2026-02-01T00:00:00Z", "day": "2026-02-01", "big": 9007199254740993},
    "nullCount": {"id": 0, "name": 10, "day": 3},
}


@pytest.mark.parametrize(
    ("hint", "kept"),
    [
        ("id = 5", True), ("id = 4", False), ("id < 5", False), ("id <= 5", True), ("id > 9", False), ("id >= 9", True),
        ("`id` = 10", False), ('"id" = 7', True), ("id <> 7", True), ("id != 7", True), ("id = 'x'", True),
        ("name = 'a'", False), ("name = 'c'", True), ("name is null", True), ("name is not null", False),
        ("id IS NULL", False), ("id is not null", True), ("day > '2026-02-01'", False), ("at = '2026-01-15 00:00:00'", True),
        ("at > '2026-02-02 00:00:00'", False), ("unknown = 1", True), ("id + 1 = 2", True), ("", True), ("id = true", True),
        ("at <= '2026-01-01'", True), ("at <= '2025-12-30'", False), ("at < '2026-01-01T01:00:00+02:00'", True),
        ("at >= '2026-02-01T02:00:00+02:00'", True), ("at > '2026-02-01T02:00:00+02:00'", False),
        ("at > '2026-02-01 09:00:00'", True), ("at < '2025-12-31 20:00:00'", True), ("at < '2025-12-31 08:00:00'", False),
        ("day >= '2026-02-01 00:00:00'", True), ("day > '2026-02-01 00:00:00'", False), ("day <= '2026-01-01T00:00:00'", True),
        ("at = '9999-12-31 23:59:59'", True), ("at = '2026-13-01 00:00:00'", True), ("big = 9007199254740993.0", True),
        ("big > 9007199254740992.5", True), ("id = 5.5", True), ("id = 9.5", False),
        ("day = CAST('2030-01-01' AS DATE)", False), ("day = cast( '2026-01-05' as date )", True),
        ("day >= CAST('2026-02-01 10:00:00' AS DATE)", True), ("at > cast('2026-03-01 10:00:00' as timestamp)", False),
        ("day = date '2030-01-01'", False), ("id = 4 or id = 5", True), ("name = 'it''s'", False),
    ],
)  # fmt: skip
def test_a_hint_in_sql_decides_whether_a_file_is_kept(hint: str, kept: bool) -> None:
    assert made_of([hint], None)(STATS) is kept


@pytest.mark.parametrize(
    ("sql", "document"),
    [
        (["id = 4" + " " * 200_000 + "x"], None),
        (["id = " + "cast('1' " * 100_000], None),
        (["id = 5"] * 200_000, None),
        ([], json.dumps({"op": "and", "children": [{"op": "or", "children": []}] * 100_000})),
    ],
)
def test_large_hints_are_cheap(sql: list[str], document: str | None) -> None:
    began = time.process_time()
    test = made_of(sql, document)
    for _ in range(100):
        test(STATS)
    assert time.process_time() - began < 3  # a quadratic pattern takes minutes


def compared(op: str, value: Any, kind: str = "long", *, flipped: bool = False) -> dict[str, Any]:
    children = [
        {"op": "column", "name": "id", "valueType": kind},
        {"op": "literal", "value": str(value), "valueType": kind},
    ]
    return {"op": op, "children": children[::-1] if flipped else children}


@pytest.mark.parametrize(
    ("hint", "kept"),
    [
        (compared("equal", 5), True),
        (compared("equal", 4), False),
        (compared("lessThan", 5), False),
        (compared("lessThan", 5, flipped=True), True),
        (compared("greaterThan", 9), False),
        ({"op": "and", "children": [compared("equal", 5), compared("equal", 1)]}, False),
        ({"op": "or", "children": [compared("equal", 1), compared("equal", 5)]}, True),
        ({"op": "or", "children": [compared("equal", 1), {"op": "mystery"}]}, True),
        ({"op": "and", "children": [compared("equal", 1), {"op": "mystery"}]}, False),
        ({"op": "not", "children": [compared("equal", 5)]}, True),
        ({"op": "isNull", "children": [{"op": "column", "name": "id", "valueType": "long"}]}, False),
        ({"op": "equal", "children": []}, True),
        ([], True),
        ("text", True),
    ],
)
def test_a_hint_in_json_decides_whether_a_file_is_kept(hint: Any, kept: bool) -> None:
    assert made_of([], json.dumps(hint))(STATS) is kept


@given(st.lists(st.integers(-5, 5), min_size=1), st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-6, 6))
def test_no_file_with_a_matching_row_is_left_out(values: list[int], operator: str, wanted: int) -> None:
    stats = {"numRecords": len(values), "minValues": {"id": min(values)}, "maxValues": {"id": max(values)}}
    matches = {
        "=": wanted in values,
        "<": min(values) < wanted,
        "<=": min(values) <= wanted,
        ">": max(values) > wanted,
        ">=": max(values) >= wanted,
    }[operator]
    assert made_of([f"id {operator} {wanted}"], None)(stats) or not matches


def test_a_recipient_that_asks_too_often_has_to_wait() -> None:
    pace = Pace(per_second=2, burst=3)
    for _ in range(3):
        pace.take("ann", 100.0)
    with pytest.raises(RateLimitedError) as error:
        pace.take("ann", 100.0)
    assert error.value.details["retry_after"] >= 1
    assert error.value.details.keys() >= {"errorCode", "message"}
    pace.take("bob", 100.0)
    pace.take("ann", 101.0)
