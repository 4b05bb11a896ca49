"""A lease on each store: fifty that want it, clocks that are wrong, and a holder whose signs of life go wrong."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analyst.errors import LeaseLostError, UnavailableError
from analyst.lease import GRACE, Lease, acquire
from analyst.store import Store
from tests.e2e.faults.fates import FATES, Fate, FatedStore, Touches
from tests.e2e.faults.places import PLACES, Place

CONTENDERS = 50
KEY = "locks/rebuild.json"
FAULTS = [fate for fate in FATES if not fate.name.startswith("KILLED")]


def take(store: Store, monotonic: Callable[[], float] = time.monotonic) -> Lease | None:
    return acquire(store, "rebuild", monotonic=monotonic)


def lapsed(place: Place, seconds: float) -> FatedStore:
    """Open the place for somebody who finds that the holder gave its last sign of life so long ago."""
    inner = place.open()
    lock = inner.head(KEY)
    assert lock is not None
    return FatedStore(inner, aged=frozenset({(KEY, lock.version)}), by=seconds)


def test_of_fifty_contenders_one_wins_each_epoch(place: Place) -> None:
    store, barrier = place.open(), threading.Barrier(CONTENDERS)

    def contend(_: int) -> Lease | None:
        barrier.wait()
        return take(store)

    with ThreadPoolExecutor(CONTENDERS) as pool:
        for epoch in (1, 2, 3):
            (winner,) = [lease for lease in pool.map(contend, range(CONTENDERS)) if lease is not None]
            assert winner.epoch == epoch
            winner.check()
            winner.release()


def test_of_fifty_that_find_a_dead_holder_one_takes_over(place: Place) -> None:
    barrier = threading.Barrier(CONTENDERS)
    dead = take(place.open())
    assert dead is not None
    late = lapsed(place, 31.0 + GRACE)

    def contend(_: int) -> Lease | None:
        barrier.wait()
        return take(late)

    with ThreadPoolExecutor(CONTENDERS) as pool:
        (winner,) = [lease for lease in pool.map(contend, range(CONTENDERS)) if lease is not None]
    assert winner.epoch == 2
    with pytest.raises(LeaseLostError):
        dead.check()
    dead.release()
    winner.check()
    winner.release()


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_stores_clock_may_be_wrong(tmp_path: Path, ahead: float) -> None:
    """What counts is the difference of two times, both of which are the store's."""
    with PLACES["gs"](tmp_path) as place:
        first = take(place.open(ahead))
        assert first is not None
        assert take(place.open(ahead + 25.0)) is None
        first.check()
        second = take(place.open(ahead + 32.0 + GRACE))
        assert second is not None
        with pytest.raises(LeaseLostError):
            first.check()
        first.release()
        second.release()


@pytest.mark.parametrize("fate", FAULTS)
def test_a_sign_of_life_may_go_wrong_and_the_lease_is_still_one(place: Place, fate: Fate) -> None:
    """Each touch in turn of taking it, two signs of life, and giving it back."""
    point = 0
    while True:
        point += 1
        touches, seconds = Touches(point, fate), [0.0]
        key = f"lease-{point}"
        store = FatedStore(place.open(), touches)
        try:
            lease = acquire(store, key, monotonic=lambda seconds=seconds: seconds[0])  # type: ignore[misc]
        except UnavailableError:
            continue
        assert lease is not None
        for seconds[0] in (20.0, 40.0):
            lease.check()
            assert acquire(place.open(), key) is None
        lease.release()
        touches.land()
        if len(touches.made) < point:
            return
        after = acquire(place.open(), key)
        if after is None:  # its release was refused or late: it lapses
            continue
        assert after.epoch > lease.epoch
        after.release()
