"""Links and codes work once, whoever else tries."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from analyst.auth import links
from analyst.auth.keys import Keys, Purpose
from analyst.auth.links import Link
from analyst.auth.single_use_tokens import use
from analyst.errors import UnauthenticatedError
from analyst.store import Condition, UnsureWriteError
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = Keys([b"k" * 32])


def test_a_link_can_be_read_repeatedly_but_used_once() -> None:
    store = MemoryStore()
    token = links.make(KEYS, Purpose.RESET, Link("ann", {"stamp": "1"}), NOW)
    for _ in range(3):
        assert links.read(KEYS, Purpose.RESET, token, NOW).claims["stamp"] == "1"
    assert links.consume(KEYS, Purpose.RESET, token, store, NOW).subject == "ann"
    with pytest.raises(UnauthenticatedError, match="only once"):
        links.consume(KEYS, Purpose.RESET, token, store, NOW)


@pytest.mark.parametrize(
    ("purpose", "minutes"), [(Purpose.MAGIC_LINK, 15), (Purpose.RESET, 60), (Purpose.SET_UP, 1440)]
)
def test_each_kind_of_link_has_its_own_lifetime(purpose: Purpose, minutes: int) -> None:
    token = links.make(KEYS, purpose, Link("ann"), NOW)
    end = NOW + timedelta(minutes=minutes)
    links.read(KEYS, purpose, token, end - timedelta(seconds=1))
    with pytest.raises(UnauthenticatedError):
        links.read(KEYS, purpose, token, end)


def test_of_simultaneous_uses_one_succeeds() -> None:
    store = MemoryStore()

    def first(_: int) -> bool:
        try:
            use(store, "thing", NOW)
        except UnauthenticatedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(first, range(50))) == 1


class Lossy(MemoryStore):
    """A store whose answers to writes get lost, after the write or before."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self._writes = writes

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if self._writes:
            super().put(key, data, if_version=if_version)
        raise UnsureWriteError("no answer")


def test_a_use_whose_answer_was_lost_is_looked_up() -> None:
    use(Lossy(writes=True), "thing", NOW)
    with pytest.raises(UnsureWriteError):
        use(Lossy(writes=False), "thing", NOW)
