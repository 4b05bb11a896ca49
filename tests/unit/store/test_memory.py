from collections.abc import Callable

import pytest

from analyst.store import ABSENT, Store
from tests.doubles.memory_store import MemoryStore
from tests.unit.store.suite import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def new_store(self) -> Callable[[], Store]:
        return MemoryStore


def test_ages_are_measured_by_the_clock_that_is_passed_in() -> None:
    now = [100.0]
    store = MemoryStore(lambda: now[0])
    store.put("a", b"1", if_version=ABSENT)
    now[0] = 160.5
    found, head, (entry,) = store.read("a"), store.head("a"), store.list("")
    assert found is not None
    assert head is not None
    assert [found.age, head.age, entry.age] == [60.5] * 3
    assert store.local_path("a") is None
