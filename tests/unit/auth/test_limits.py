"""Attempts are counted across all instances, and none is missed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.auth.limits import COUNTERS, Limit, Limits
from analyst.errors import AnalystError, RateLimitedError
from analyst.store import ANY
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT = Limit("test", 5, timedelta(minutes=15))


def counted(limits: Limits, key: str, at: datetime) -> bool:
    try:
        limits.count(LIMIT, key, at)
    except RateLimitedError:
        return False
    return True


def test_attempts_are_refused_beyond_the_limit_until_the_first_has_expired() -> None:
    limits = Limits(MemoryStore())
    times = [NOW + timedelta(minutes=minute) for minute in range(5)]
    assert all(counted(limits, "ann", at) for at in times)
    with pytest.raises(RateLimitedError) as refused:
        limits.count(LIMIT, "ann", NOW + timedelta(minutes=10))
    assert refused.value.details["retry_after"] == 300
    assert counted(limits, "bob", NOW + timedelta(minutes=10))
    assert counted(limits, "ann", NOW + timedelta(minutes=15))
    assert not counted(limits, "ann", NOW + timedelta(minutes=15))


@given(st.lists(st.integers(0, 3600), max_size=40))
def test_no_period_ever_contains_more_attempts_than_the_limit(seconds: list[int]) -> None:
    limits = Limits(MemoryStore())
    times = [NOW + timedelta(seconds=second) for second in sorted(seconds)]
    passed = [at for at in times if counted(limits, "ann", at)]
    assert all(
        later - earlier >= LIMIT.within for earlier, later in zip(passed, passed[LIMIT.attempts :], strict=False)
    )


def test_instances_share_a_count_even_when_they_count_at_once() -> None:
    store = MemoryStore()

    def attempt(number: int) -> bool:
        try:
            return counted(Limits(store, sleep=lambda _: None), "ann", NOW + timedelta(microseconds=number))
        except AnalystError:
            return False

    with ThreadPoolExecutor(8) as pool:
        passed = sum(pool.map(attempt, range(200)))
    assert 0 < passed <= LIMIT.attempts


def test_the_key_is_not_stored_in_plain_text() -> None:
    store = MemoryStore()
    Limits(store).count(LIMIT, "ann@example.com", NOW)
    (entry,) = store.list(COUNTERS)
    found = store.read(entry.key)
    assert found is not None
    assert b"ann" not in found.data + entry.key.encode()


def test_a_damaged_counter_restarts() -> None:
    store = MemoryStore()
    limits = Limits(store)
    limits.count(LIMIT, "ann", NOW)
    (entry,) = store.list(COUNTERS)
    store.put(entry.key, b"{", if_version=ANY)
    assert counted(limits, "ann", NOW)
