"""What a compaction leaves as it is, and what it reports of damage."""

import pytest

from analyst.store import ANY
from tests.doubles.pieces import Pieces
from tests.unit.sweep.scattered_tables import Bucket

LEFT_ALONE = {
    "others' files": "update extract._files set path = replace(path, '-01', '-part-01')",
    "a file that stands twice": "insert into extract._files from extract._files limit 1",
    "no statistics": "update extract._files set stats = null",
    "a type that is no longer written": "update extract._files set stats = replace(stats::varchar, 'VARCHAR', 'JSON')",
    "a type that nobody knows": "update extract._files set stats = replace(stats::varchar, 'VARCHAR', 'THING')",
    "several types": "update extract._files set stats = replace(stats::varchar, 'INTEGER', 'BIGINT') where path in "
    "(select max(path) from extract._files)",
    "another query mode": "update extract._meta set query_mode = 'materialized'",
    "no version": "delete from extract._state",
    "few files of each partition": 'update extract._files set "partition" = right(path, 20)',
}


@pytest.mark.slow
def test_tables_that_must_not_be_rewritten_are_skipped(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    key = "extracts/shop/extract.duckdb"
    whole = bucket.store.read(key)
    assert whole is not None
    for what, statement in LEFT_ALONE.items():
        bucket.store.put(key, whole.data, if_version=ANY)
        bucket.edit(statement)
        before = bucket.files()
        answer = bucket.sweep()
        gone = {problem.message.partition(" are missing from the bucket")[0] for problem in answer.problems}
        assert (answer.compacted, bucket.files()) == ((), before), what
        assert gone == ({"5 files of orders"} if what == "others' files" else set()), what


def test_a_table_with_broken_files_is_unchanged_and_blocks_no_other(bucket: Bucket, source: Pieces) -> None:
    other = Pieces(name="people")
    other.grow(3)
    bucket.extract(other)
    bucket.extract(source, name="crm")
    listed, whole = bucket.files(), bucket.extracted("crm").files["orders"]
    bucket.store.put(listed[2].path, b"no parquet", if_version=ANY)
    answer = bucket.sweep()
    assert {(table.source, table.table) for table in answer.compacted} == {("crm", "orders"), ("shop", "people")}
    (problem,) = answer.problems
    assert (problem.source, problem.message.startswith("orders can't be compacted: ")) == ("shop", True)
    assert (bucket.files(), len(whole)) == (listed, 5)


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("update extract._files set rows = rows + 1", "have 5 rows, but are listed with 10"),
        ("update extract._files set stats = replace(stats::varchar, '\"t\"', '\"u\"')", "have columns other than"),
    ],
)
def test_files_that_differ_from_their_listing_are_reported_and_not_published(
    bucket: Bucket, source: Pieces, statement: str, wrong: str
) -> None:
    assert source.pieces
    bucket.edit(statement)
    before = bucket.files()
    answer = bucket.sweep()
    assert (answer.compacted, bucket.files()) == ((), before)
    assert wrong in answer.problems[0].message
