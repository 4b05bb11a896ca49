"""A lease on each store: clocks that are wrong, and a holder whose heartbeats go wrong."""

import time
from collections.abc import Callable

import pytest

from analyst.errors import LeaseLostError, UnavailableError
from analyst.lease import GRACE, Lease, acquire
from analyst.store import Store
from tests.e2e.faults.fates import FATES, Fate, FatedStore, Touches
from tests.e2e.faults.places import Place

FAULTS = [fate for fate in FATES if not fate.name.startswith("KILLED")]


def take(store: Store, monotonic: Callable[[], float] = time.monotonic) -> Lease | None:
    return acquire(store, "rebuild", monotonic=monotonic)


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_lease_works_even_if_the_clock_of_the_store_is_wrong(place: Place, ahead: float) -> None:
    """What counts is the difference of two times, both of which are the store's."""
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
def test_a_failed_heartbeat_does_not_end_a_lease(place: Place, fate: Fate) -> None:
    """Each touch in turn of taking it, two heartbeats, and giving it back."""
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
