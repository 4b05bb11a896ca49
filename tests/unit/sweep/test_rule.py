"""Which files are compacted: many small ones in a row."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from analyst.contract.model import FileRow, Meta, TableState
from analyst.sweep.compaction_rule import Rule, Scattered, choose

RULE = Rule(fewest=3, small_bytes=10, batch_files=5, batch_bytes=30, most_bytes=40, most_tables=2)


def files(*sizes: int | tuple[int, str]) -> list[FileRow]:
    """Make files of these sizes, each with a partition if one is told; they are named by their numbers."""
    pairs = [size if isinstance(size, tuple) else (size, None) for size in sizes]
    return [FileRow(str(number), partition, 1, size, "", None) for number, (size, partition) in enumerate(pairs)]


def names(batches: Sequence[Sequence[FileRow]]) -> list[str]:
    return ["".join(file.path for file in batch) for batch in batches]


@pytest.mark.parametrize(
    ("given", "batches"),
    [
        ([], []),
        ([1, 1], []),
        ([1, 1, 1], ["012"]),
        ([10, 10, 10], []),
        ([1, 1, 10, 1, 1], []),
        ([1, 1, 1, 10, 1, 1, 1], ["012", "456"]),
        ([1, 1, 1, 10, 1, 1], ["012"]),
        ([(1, "a"), (1, "a"), (1, "b"), (1, "b")], []),
        ([(1, "a"), (1, "a"), (1, "a"), (1, "b"), (1, "b"), (1, "b")], ["012", "345"]),
        ([(1, "a"), (1, "b"), (1, "a"), (1, "b"), (1, "a")], []),
        ([1] * 10, ["01234", "56789"]),
        ([1] * 6, ["01234"]),
        ([9] * 8, ["012", "345", "67"]),
    ],
)
def test_a_table_is_divided_into_batches(given: list[int | tuple[int, str]], batches: list[str]) -> None:
    assert names(list(RULE.batches(files(*given)))) == batches


def test_files_cut_by_content_stay() -> None:
    stable = [replace(file, stats='{"columns":{},"stable":true}') for file in files(1, 1, 1, 1)]
    assert list(RULE.batches(stable)) == []
    assert names(list(RULE.batches([*files(1, 1, 1), *stable]))) == ["012"]
    others = [replace(file, stats='{"columns":{"stable":{"min":true}}}') for file in files(1, 1, 1)]
    assert names(list(RULE.batches(others))) == ["012"]


def scattered(source: str, *sizes: int) -> Scattered:
    found = tuple(files(*sizes))
    meta = Meta("orders", None, 1, 1, datetime(2026, 1, 1, tzinfo=UTC), "local")
    return Scattered(source, meta, TableState(), (), found, tuple(RULE.batches(found)))


@pytest.mark.parametrize(
    ("tables", "chosen"),
    [
        ([], []),
        ([scattered("a", 1, 1, 1), scattered("b", 1, 1, 1, 1)], [("b", 4), ("a", 3)]),
        ([scattered("a", 1, 1, 1), scattered("b", 1, 1, 1, 1), scattered("c", 1, 1, 1)], [("b", 4), ("a", 3)]),
        ([scattered("a", *[9] * 9)], [("a", 3)]),
        ([scattered("a", *[9] * 9), scattered("b", 3, 3, 3)], [("a", 3), ("b", 3)]),
        ([scattered("a", *[9] * 9), scattered("b", 9, 9, 9)], [("a", 3)]),
    ],
)
def test_a_sweep_compacts_the_most_scattered_tables_first_within_its_limit(
    tables: list[Scattered], chosen: list[tuple[str, int]]
) -> None:
    assert [(table.source, table.count) for table in choose(tables, RULE)] == chosen


def test_rewritten_files_are_not_rewritten_again_before_there_are_many_new_ones() -> None:
    sizes = [1]
    rewritten = 0
    for _ in range(1_000):
        sizes.append(1)
        for batch in Rule(fewest=32, small_bytes=100).batches(files(*sizes)):
            start, end = int(batch[0].path), int(batch[-1].path) + 1
            rewritten += sum(sizes[start:end])
            sizes[start:end] = [sum(sizes[start:end])]
    assert sum(sizes) == 1_001
    assert len(sizes) < 50
    assert rewritten < 3 * sum(sizes)
