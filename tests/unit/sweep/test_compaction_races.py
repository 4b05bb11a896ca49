"""Compactions beside other publishes, and interrupted ones: no row is lost, and none is there twice."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from analyst.contract.publishing import drop
from tests.clouds import Cloud
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.mortal_store import Fate, MortalStore
from tests.doubles.pieces import Pieces
from tests.unit.sweep.scattered_tables import Bucket

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["cursor", "blind", "full"])
def test_an_extract_that_began_before_a_compaction_publishes_on_the_compacted_files(bucket: Bucket, kind: Any) -> None:
    source = Pieces(kind)
    source.grow(4)
    bucket.extract(source)
    source.grow(1)
    source.skipped = 4 if kind == "blind" else 0
    source.then = lambda: swept.append(bucket.compacted())
    swept: list[Any] = []
    assert bucket.extract(source) == "ok"
    assert swept == [[("orders", 4)]]
    assert len(bucket.files()) == (5 if kind == "full" else 2)
    assert [row["n"] for row in bucket.seen()["delta"]] == [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["cursor", "full"])
def test_a_table_published_during_a_compaction_is_left_for_the_next_sweep(bucket: Bucket, kind: Any) -> None:
    source = Pieces(kind)
    source.grow(4)
    bucket.extract(source)
    source.grow(1)
    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[lambda: bucket.extract(source)])) == []
    assert (len(bucket.files()), bucket.asked) == (5, [])
    assert [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5]
    assert bucket.compacted() == [("orders", 5)]


def test_of_two_simultaneous_compactions_one_is_dropped(bucket: Bucket, source: Pieces) -> None:
    before = bucket.seen()
    other: list[Any] = []
    assert source.pieces
    faulty = FaultyStore(bucket.store, puts=[lambda: other.append(bucket.compacted())])
    assert (bucket.compacted(store=faulty), other) == ([], [[("orders", 5)]])
    assert bucket.seen() == before


def test_a_table_dropped_during_a_compaction_stays_dropped(bucket: Bucket, source: Pieces) -> None:
    def withdraw() -> None:
        drop(bucket.store, "shop", source.name, now=lambda: bucket.now, folder=bucket.folder)

    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[withdraw])) == []
    assert bucket.extracted().meta == {}


@pytest.mark.parametrize("fault", Fault)
def test_a_compaction_whose_answer_is_lost_is_published_once(bucket: Bucket, source: Pieces, fault: Fault) -> None:
    assert source.pieces
    before = bucket.seen()
    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[None, fault])) == [("orders", 5)]
    assert bucket.seen() == before
    assert (bucket.extracted().state("orders").version, len(bucket.files())) == (2, 1)


class Dead(BaseException):
    """The process ends here."""


@dataclass
class Ending(Fate):
    """A fate that this process outlives."""

    def step(self) -> None:
        self.steps -= 1
        if self.steps <= 0:
            raise Dead


def test_a_sweep_that_dies_anywhere_leaves_the_table_whole_and_the_next_continues(
    cloud: Cloud, bucket: Bucket, source: Pieces
) -> None:
    assert source.pieces
    before = bucket.seen()
    for step in itertools.count(1):
        crashed = Bucket(cloud.copy().open(), bucket.folder, bucket.now)
        try:
            crashed.sweep(MortalStore(crashed.store, Ending(step)))
        except Dead:
            assert crashed.ask("from orders") == before["rows"]
            assert crashed.compacted() in ([], [("orders", 5)])
            assert (len(crashed.files()), crashed.seen()) == (1, before)
        else:
            break
    assert step > 6
