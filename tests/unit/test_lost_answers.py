"""A single lost answer fails no publish, no edit and no sweep, whichever write it was of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group
from analyst.store import Store
from analyst.sweep import Sweep, checkpoints
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def publish(store: Store, generation: int) -> None:
    toy = Toy({"orders": ToyTable(f"select {generation} as n", str(generation))})
    record = Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: toy).record
    assert record.status == "ok", record


def edit(store: Store, generation: int) -> None:
    group = NewGroup(name=f"group {generation}")
    State(store, lambda: NOW, sleep=lambda _: None).edit(lambda db: create_group(db, Actor(None, NOW), group))


def sweep(store: Store, _generation: int) -> None:
    answer = Sweep(store, timedelta(hours=24)).run()
    assert (answer.problems, answer.checkpoints, answer.waiting) == ((), 1, 2)


DEEDS: dict[str, tuple[Callable[[Store, int], None], int]] = {
    "publish": (publish, 3),
    "edit": (edit, 2),
    "sweep": (sweep, 2),
}
"""What each does, and how many objects it puts; each uploads one."""


class Bucket(MemoryStore):
    """A bucket in which each deed has something to do; its objects are two days old."""

    def __init__(self) -> None:
        self.seconds = 1_767_322_800.0
        super().__init__(lambda: self.seconds)
        for generation in (1, 2, 3):
            publish(self, generation)
            edit(self, generation)
        Rebuild(self, lambda: NOW, tuple).run()
        self.seconds += 2 * 86_400

    def copy(self) -> MemoryStore:
        """Return another that holds the same."""
        copied = MemoryStore(lambda: self.seconds)
        copied.hold(self)
        return copied


@pytest.fixture(scope="module")
def bucket() -> Bucket:
    return Bucket()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("deed", DEEDS)
def test_any_single_answer_of_the_store_may_be_lost(
    bucket: Bucket, deed: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 3)
    do, puts = DEEDS[deed]
    for number in range(puts):
        store = FaultyStore(bucket.copy(), puts=[*[None] * number, fault])
        do(store, 4)
        assert store.puts == [], "it puts fewer"
    store = FaultyStore(bucket.copy(), uploads=[fault])
    do(store, 4)
    assert store.uploads == []
