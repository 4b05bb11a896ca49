"""Keyed tables stay clustered: their small files become files of the usual size, and files that need nothing stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyst import duckdb_files
from analyst.contract import parquet, publishing
from analyst.contract.key_ranges import FileSizes, Order, Range
from analyst.contract.keyed_merge import KeyedMerge
from analyst.contract.merging import Increment
from analyst.contract.publishing import NewTable, Uploads
from analyst.store.folder.store import FileStore
from analyst.store.transfer import local_copy
from analyst.sweep import Rule
from tests.bucket_contents import connected
from tests.unit.sweep.scattered_tables import Bucket

ORDER = Order(("id",))
TINY = FileSizes(least=1, greatest=1)
RULE = Rule(fewest=4, keyed=FileSizes(least=1_500, greatest=1_500))
"""A file of 700 bytes is small then, and one of a thousand random texts is not."""


@dataclass
class Keyed(Bucket):
    """A bucket whose table `orders` is merged by key, into files that no later increment joins."""

    made: int = 0

    def merge(self, *increments: str) -> None:
        for query in increments:
            with duckdb_files.scratch(self.folder) as home:
                self._merge(query, home)

    def _merge(self, query: str, home: Path) -> None:
        def folder() -> Path:
            self.made += 1
            made = home / str(self.made)
            made.mkdir()
            return made

        with connected() as con:
            new = parquet.write(con, query, folder())
            columns = parquet.inspect(con, new[0]).columns
        extract = self.extracted()
        base, state = extract.files.get("orders", ()), extract.state("orders")
        merge = KeyedMerge(base, lambda row: local_copy(self.store, row.path, home / row.path), folder, "300MB", TINY)
        files = merge.run(Increment(new, ORDER)).files
        table = NewTable("orders", None, columns, files, str(self.made), None, state, self.now)
        uploads = Uploads(self.store, "shop", lambda: f"{self.made:026}")
        publishing.publish(
            self.store, "shop", [table], (), run_id="1", uploads=uploads, now=lambda: self.now, folder=home, check=None
        )


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    return Keyed(FileStore(tmp_path / "bucket", lambda: b"secret" * 8), tmp_path)


def rows(*ids: int, value: str = "a") -> str:
    return f"select unnest({list(ids)}::bigint[]) as id, '{value}' as v"


def large(start: int) -> str:
    return f"select i as id, md5(i::varchar) as v from range({start}, {start + 1000}) r(i)"


def counts(bucket: Keyed) -> list[int]:
    return [file.rows for file in bucket.files()]


def check(bucket: Keyed, ids: Sequence[int]) -> None:
    assert [id_ for (id_,) in bucket.ask("select id from orders")] == sorted(ids)
    ranges = [Range.of(file) for file in bucket.files()]
    assert all(found is not None and found.order == ORDER for found in ranges)


def test_small_files_at_the_end_are_merged_and_large_ones_stay(keyed: Keyed) -> None:
    keyed.merge(large(0), *(rows(5000 + n, 6000 + n) for n in range(0, 40, 10)))
    keyed.rebuild()
    (first, *_) = keyed.files()
    before = keyed.delta().sort("id").rows()
    assert keyed.compacted(rule=RULE) == [("orders", 4)]
    assert counts(keyed) == [1000, 8]
    assert keyed.files()[0] == first
    assert keyed.delta().sort("id").rows() == before
    about, *actions = keyed.commit()
    assert about["commitInfo"]["operation"] == "OPTIMIZE"
    assert {one["dataChange"] for action in actions for one in action.values()} == {False}
    assert keyed.compacted(rule=RULE) == []


def test_files_within_the_range_of_another_are_merged_with_it(keyed: Keyed) -> None:
    even = "select i * 2 as id, md5(i::varchar) as v from range({}, {}) r(i)".format
    keyed.merge(even(0, 1000), even(1000, 2000), *(rows(n, 1000 + n) for n in (3, 5, 7, 9)))
    keyed.rebuild()
    assert counts(keyed) == [1000, 2, 2, 2, 2, 1000]
    last = keyed.files()[-1]
    assert keyed.compacted(rule=RULE) == [("orders", 5)]
    assert counts(keyed) == [1008, 1000]
    assert keyed.files()[-1] == last
    ids = [*range(0, 4000, 2), *(n for base in (3, 5, 7, 9) for n in (base, 1000 + base))]
    check(keyed, ids)


def test_files_that_overlap_more_than_a_batch_are_kept(keyed: Keyed) -> None:
    rule = Rule(fewest=4, keyed=RULE.keyed, batch_bytes=10_000)
    keyed.merge(large(0), *(rows(-n, 2000 + n) for n in (3, 5, 7, 9)))
    keyed.rebuild()
    assert keyed.compacted(rule=rule) == [("orders", 4)]
    assert sorted(counts(keyed)) == [8, 1000]


def test_a_few_small_files_of_a_keyed_table_stay(keyed: Keyed) -> None:
    keyed.merge(large(0), *(rows(5000 + n, 6000 + n) for n in range(0, 30, 10)))
    keyed.rebuild()
    assert keyed.compacted(rule=RULE) == []
    assert keyed.compacted(rule=Rule()) == []
