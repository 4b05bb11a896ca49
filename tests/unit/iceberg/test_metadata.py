"""The versions of a table that readers are told of."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyst.catalog import Column, File, Table
from analyst.iceberg.metadata import Current, TableRecords, table_metadata
from analyst.sharing.served_statistics import FileStatistics
from tests.doubles.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINCE = NOON - timedelta(hours=24)


def version(number: int, kind: str = "BIGINT") -> Table:
    file = File(path=f"extracts/shop/data/orders/{number}.parquet", sha256=str(number), size_bytes=1, rows=number)
    columns = (Column(name="id", type=kind),)
    return Table(
        source="shop",
        name="orders",
        view="orders",
        hash=str(number),
        version=number,
        registration="0b54c2ea-8a0a-4a5c-9c36-1d5a3a0c9d11",
        columns=columns,
        files=(file,),
    )


def process(store: MemoryStore) -> TableRecords:
    return TableRecords(store, FileStatistics(store))


def loaded(
    records: TableRecords, number: int, at: datetime, history: Iterable[tuple[datetime, Table]] = ()
) -> dict[str, Any]:
    table = version(number)
    record = records.of(Current(table, at, lambda: history, SINCE))
    return table_metadata(record, table, kept_since=SINCE, comment=None)


def test_a_request_that_began_before_the_last_snapshot_leaves_the_log_in_order() -> None:
    store = MemoryStore()
    old, new = (NOON - timedelta(hours=1), version(1)), (NOON, version(2))
    loaded(process(store), 1, old[0], [old])
    loaded(process(store), 2, new[0], [new, old])
    late = loaded(process(store), 1, old[0], [new, old])
    assert late["snapshots"][-1]["summary"]["total-records"] == "1"
    made = loaded(process(store), 2, new[0], [new, old])
    times = [entry["timestamp-ms"] for entry in made["snapshot-log"]]
    assert (times, made["last-updated-ms"]) == (sorted(times), times[-1])
    ids = [each["snapshot-id"] for each in made["snapshots"]]
    assert len({*ids}) == len(ids)
    assert made["snapshots"][-1]["summary"]["total-records"] == "2"


def test_a_version_without_a_kept_snapshot_is_not_listed() -> None:
    store, long_ago = MemoryStore(), NOON - timedelta(days=5)
    loaded(process(store), 1, long_ago, [(long_ago, version(1))])
    history = [(NOON - timedelta(hours=hours), version(9 - hours)) for hours in range(3)]
    made = loaded(process(store), 9, NOON, history)
    assert [each["summary"]["total-records"] for each in made["snapshots"]] == ["7", "8", "9"]
    assert [each["sequence-number"] for each in made["snapshots"]] == [2, 3, 4]
    assert "parent-snapshot-id" not in made["snapshots"][0]


def test_a_version_replaced_within_the_retention_time_is_listed() -> None:
    store, long_ago = MemoryStore(), NOON - timedelta(days=5)
    loaded(process(store), 1, long_ago, [(long_ago, version(1))])
    made = loaded(process(store), 2, NOON, [(NOON, version(2)), (long_ago, version(1))])
    assert [each["summary"]["total-records"] for each in made["snapshots"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("kinds", "shown"),
    [
        (("INTEGER", "DOUBLE"), [2]),
        (("INTEGER", "BIGINT"), [2]),
        (("VARCHAR", "INTEGER", "VARCHAR"), [1, 3]),
        (("FLOAT", "DOUBLE"), [1, 2]),
        (("INTEGER", "INTEGER"), [1, 2]),
    ],
)
def test_versions_whose_bounds_would_be_read_as_another_type_are_not_listed(
    kinds: tuple[str, ...], shown: list[int]
) -> None:
    records = process(MemoryStore())
    for number, kind in enumerate(kinds, 1):
        table, at = version(number, kind), NOON + timedelta(hours=number)
        record = records.of(Current(table, at, tuple, SINCE))
        made = table_metadata(record, table, kept_since=SINCE, comment=None)
    assert [each["snapshot-id"] for each in made["snapshots"]] == shown
    assert [each["snapshot-id"] for each in made["snapshot-log"]] == shown
    assert made["current-snapshot-id"] == len(kinds)
