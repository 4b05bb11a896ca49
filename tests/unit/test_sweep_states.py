"""Which system states a sweep keeps: the newest by their versions, however old they are by the store's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from analyst.access import CURRENT, StatePointer
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group
from analyst.store import ABSENT
from analyst.sweep import Sweep
from analyst.sweep.replaced_snapshots import STATES_KEPT
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEEP = timedelta(hours=24)


class Clock:
    """A store's clock, which stands until it is moved."""

    seconds = 1_767_322_800.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def edit(store: MemoryStore, name: str) -> StatePointer:
    State(store, lambda: NOW).edit(lambda db: create_group(db, Actor(None, NOW), NewGroup(name=name)))
    found = store.read(CURRENT)
    assert found is not None
    return StatePointer.model_validate_json(found.data)


def left(store: MemoryStore, prefix: str) -> set[str]:
    return {entry.key for entry in store.list(prefix)}


def test_the_newest_states_of_one_second_are_kept(store: MemoryStore, clock: Clock) -> None:
    made = [edit(store, f"group {number}") for number in range(12)]
    clock.seconds += 2 * 86_400
    Sweep(store, KEEP).run()
    assert left(store, "state/system-") == {pointer.system for pointer in made[-STATES_KEPT:]}
    assert left(store, "state/access-") == {pointer.access for pointer in made}, "which of them is newer nothing tells"


def test_leftovers_of_a_failed_edit_are_not_a_newer_state(store: MemoryStore, clock: Clock) -> None:
    made = []
    for number in range(5):
        made.append(edit(store, f"group {number}"))
        clock.seconds += 60
    orphans = [f"state/system-{version}-{'z' * 26}.duckdb" for version in (2, 5, 5000)]
    for orphan in orphans:
        store.put(orphan, b"", if_version=ABSENT)
    clock.seconds += 2 * 86_400
    Sweep(store, KEEP).run()
    assert left(store, "state/system-") == {*(pointer.system for pointer in made[-STATES_KEPT:]), *orphans[1:]}
    assert left(store, "state/access-") == {pointer.access for pointer in made[-STATES_KEPT:]}
