"""The copy of the newest snapshot, under the name that people look for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from analyst import runs
from analyst.catalog import CURRENT, Pointer
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.rebuild.publishing import COPY, copy_newest
from analyst.store import Condition
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Clock:
    """Stands, as that of a store whose times are whole seconds does for a while."""

    seconds: float = 1_700_000_000.0


@dataclass
class Pausing(MemoryStore):
    """Lets somebody else act just before the copy is written."""

    clock: Callable[[], float]
    meanwhile: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.clock)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if key == COPY and self.meanwhile:
            self.meanwhile.pop()()
        return super().put(key, data, if_version=if_version)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Pausing:
    return Pausing(lambda: clock.seconds)


def publish(store: Pausing, generation: int) -> Pointer:
    table = ToyTable(f"select {generation} as generation", str(generation))
    Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))
    Rebuild(store, lambda: NOW, tuple).run()
    return newest(store)


def newest(store: Pausing) -> Pointer:
    found = store.read(CURRENT)
    assert found is not None
    return Pointer.model_validate_json(found.data)


def is_of(store: Pausing, pointer: Pointer) -> bool:
    copy, snapshot = store.read(COPY), store.read(pointer.duckdb)
    assert copy is not None
    assert snapshot is not None
    return copy.data == snapshot.data


def test_a_builder_that_resumes_late_leaves_the_copy_of_its_successor(store: Pausing, clock: Clock) -> None:
    first = publish(store, 1)
    clock.seconds += 10
    store.meanwhile.append(lambda: publish(store, 2))
    copy_newest(store, first)
    assert newest(store).snapshot == 2
    assert is_of(store, newest(store))


def test_the_successor_of_a_builder_that_resumes_late_still_makes_its_copy(store: Pausing, clock: Clock) -> None:
    publish(store, 1)
    old = store.read(COPY)
    assert old is not None
    clock.seconds += 10
    store.meanwhile.append(lambda: MemoryStore.put(store, COPY, old.data, if_version=old.version))
    publish(store, 2)
    assert is_of(store, newest(store))


def test_a_copy_that_a_dead_builder_left_out_is_made_even_in_the_same_second(store: Pausing) -> None:
    publish(store, 1)
    old = store.read(COPY)
    assert old is not None
    second = publish(store, 2)
    MemoryStore.put(store, COPY, old.data, if_version=store.head(COPY).version)  # type: ignore[union-attr]
    assert not is_of(store, second)
    assert Rebuild(store, lambda: NOW, tuple).run().status == "unchanged"
    assert is_of(store, second)
