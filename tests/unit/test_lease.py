import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analyst.errors import LeaseLostError, UnavailableError
from analyst.lease import Lease, acquire
from analyst.store import ABSENT, ANY, Store
from tests.clouds import Cloud
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.wrapped_store import ClockedStore
from tests.processes import ROOT

KEY = "locks/rebuild.json"


class World:
    """A store and a clock for it, and another for this process; both tell 0 at first."""

    def __init__(self, store: Store) -> None:
        self.store_time = 0.0
        self.time = 0.0
        self.store = ClockedStore(store, lambda: self.store_time)

    def take(self, store: Store | None = None, **more: Any) -> Lease | None:
        return acquire(store or self.store, "rebuild", monotonic=lambda: self.time, **more)

    def taken(self, store: Store | None = None, **more: Any) -> Lease:
        lease = self.take(store, **more)
        assert lease is not None
        return lease

    def lock(self) -> dict[str, Any]:
        found = self.store.read(KEY)
        assert found is not None
        return dict(json.loads(found.data))


@pytest.fixture
def world(quick_store: Store) -> World:
    return World(quick_store)


def test_one_process_holds_a_lease_and_the_next_acquires_it_when_it_is_released(world: World) -> None:
    with world.taken() as first:
        assert first.epoch == 1
        assert world.take() is None
        first.check()
    with world.taken() as second:
        assert second.epoch == 2
    assert world.lock()["released"]


def test_the_lock_names_its_holder(world: World) -> None:
    with world.taken(run_id="01J", owner="me", ttl=60.0):
        lock = world.lock()
        assert {name: lock[name] for name in ("owner", "epoch", "ttl_s", "released", "run_id")} == {
            "owner": "me",
            "epoch": 1,
            "ttl_s": 60.0,
            "released": False,
            "run_id": "01J",
        }
        assert lock["host"]


def test_leases_of_different_names_do_not_interfere(world: World) -> None:
    with world.taken(), ExitStack() as stack:
        other = acquire(world.store, "sweep")
        assert other is not None
        stack.enter_context(other)


def test_a_lease_is_taken_over_only_when_it_is_overdue_by_the_clock_of_the_store(world: World) -> None:
    with world.taken(ttl=30.0):
        world.time = 1e6
        world.store_time = 35.0
        assert world.take(ttl=1.0) is None, "the ttl that counts is the holder's"
        world.store_time = 35.001
        with world.taken() as second:
            assert second.epoch == 2


def test_a_holder_that_lost_its_lease_gets_an_error_and_releases_nothing(world: World) -> None:
    first = world.taken()
    world.store_time = 36.0
    with world.taken() as second:
        for _ in range(2):
            with pytest.raises(LeaseLostError, match=r"rebuild.json' is no longer held \(epoch 1\)"):
                first.check()
        first.release()
        second.check()
        assert world.take() is None


def test_a_holder_that_resumes_late_keeps_a_lease_that_nobody_took(world: World) -> None:
    with world.taken() as lease:
        world.store_time = world.time = 1000.0
        lease.check()
        assert world.take() is None, "the check was a heartbeat"


def test_a_holder_that_resumes_late_gets_an_error_before_its_next_heartbeat(world: World) -> None:
    with world.taken() as first:
        world.store_time = world.time = 1000.0
        with world.taken() as second:
            with pytest.raises(LeaseLostError):
                first.check()
            second.check()


def test_a_released_lease_is_not_held(world: World) -> None:
    lease = world.taken()
    lease.release()
    lease.release()
    with pytest.raises(LeaseLostError):
        lease.check()
    assert world.lock()["epoch"] == 1


def test_a_lock_that_went_missing_is_a_lost_lease(world: World) -> None:
    with world.taken() as lease:
        world.store.delete(KEY)
        with pytest.raises(LeaseLostError):
            lease.check()
    assert world.store.head(KEY) is None


def test_epochs_rise_above_what_is_published(world: World) -> None:
    epochs = []
    for published in (0, 0, 7, 3, 0):
        with world.taken(published_epoch=published) as lease:
            epochs.append(lease.epoch)
    world.store.delete(KEY)
    with world.taken(published_epoch=9) as lease:
        epochs.append(lease.epoch)
    assert epochs == [1, 2, 8, 9, 10, 10]


def test_an_invalid_lock_is_reported_and_kept(world: World) -> None:
    for body in (b"", b"{}", b"[1]", b'{"epoch": "x"}', b"\xff"):
        world.store.put(KEY, body, if_version=ANY)
        with pytest.raises(UnavailableError, match="is not a valid lock"):
            world.take()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("again", [None, *Fault])
def test_a_lease_whose_answer_was_lost_is_still_held(world: World, fault: Fault, again: Fault | None) -> None:
    with world.taken(FaultyStore(world.store, puts=[fault, again])) as lease:
        lease.check()
        assert lease.epoch == world.lock()["epoch"] == 1
        assert world.take() is None


def test_pauses_between_attempts_are_as_configured(world: World) -> None:
    waits: list[float] = []
    lost = [Fault.NEVER] * 3
    world.taken(FaultyStore(world.store, puts=[*lost, None, *lost]), sleep=waits.append).release()
    assert len(waits) == 5  # a release is tried twice before it waits: by what is known, and by what is there
    assert world.lock()["released"]


def test_a_lease_that_somebody_else_took_first_is_not_ours(world: World) -> None:
    others = []
    store = FaultyStore(world.store, puts=[lambda: others.append(world.taken())])
    assert world.take(store) is None
    assert len(others) == 1
    others[0].release()


@pytest.mark.parametrize("fault", Fault)
def test_a_heartbeat_whose_answer_was_lost_loses_nothing(world: World, fault: Fault) -> None:
    store = FaultyStore(world.store, puts=[None, fault])
    with world.taken(store) as lease:
        for _ in range(4):
            world.time += 20
            lease.check()
        assert world.take() is None
    assert world.lock()["released"]


@pytest.mark.parametrize("fault", Fault)
def test_a_release_whose_answer_was_lost_has_happened(world: World, fault: Fault) -> None:
    world.taken(FaultyStore(world.store, puts=[None, fault])).release()
    with world.taken() as second:
        assert second.epoch == 2


def test_a_lease_lapses_if_the_store_is_unavailable_at_its_release(world: World) -> None:
    lease = world.taken(FaultyStore(world.store, puts=[None, *[Fault.NEVER] * 99]))
    lease.release()
    assert world.take() is None
    world.store_time = 36.0
    world.taken().release()


def test_a_lease_survives_a_store_that_is_silent_for_a_while_but_not_for_its_ttl(world: World) -> None:
    store = FaultyStore(world.store)
    with world.taken(store) as lease:
        for world.time, silent in ((10.0, True), (29.0, True), (29.5, False), (55.0, True)):
            store.reads = [silent]
            store.puts = [Fault.NEVER] if silent else []
            lease.check()
        world.time = 60.0
        store.reads, store.puts = [True], [Fault.NEVER]
        with pytest.raises(LeaseLostError):
            lease.check()
        store.reads = []
        with pytest.raises(LeaseLostError):
            lease.check()


class Watched(FaultyStore):
    """Reports when so many writes were made."""

    def __init__(self, inner: Store, writes: int) -> None:
        super().__init__(inner)
        self.left = writes
        self.reached = threading.Event()

    def put(self, key: str, data: bytes, *, if_version: Any) -> str:
        version = super().put(key, data, if_version=if_version)
        self.left -= 1
        if self.left == 0:
            self.reached.set()
        return version


def test_a_lease_sends_heartbeats_by_itself_until_it_ends(world: World) -> None:
    store = Watched(world.store, writes=4)
    with world.taken(store, ttl=0.03):
        assert store.reached.wait(30)
    lock = world.lock()
    assert lock["released"]
    assert lock["beat"] >= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-")]


def test_a_lost_lease_sends_no_more_heartbeats(world: World) -> None:
    lease = world.taken(ttl=0.03)
    world.store.put(
        KEY, b'{"owner":"b","epoch":9,"ttl_s":30,"released":false,"run_id":"","host":"b","id":"b"}', if_version=ANY
    )
    lease._heart.join(30)
    assert not lease._heart.is_alive()
    assert world.lock()["epoch"] == 9
    lease.release()


def contend(cloud: Cloud, *how: str) -> list[tuple[int, ...]]:
    """Let processes contend; return the numbers of each line that they have printed, in the order of epochs."""
    command = [sys.executable, str(Path(__file__).with_name("lease_worker.py")), *how]
    environ = {**os.environ, **cloud.settings, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return sorted(tuple(map(int, line.split())) for line in done.stdout.splitlines())


def test_one_of_fifty_processes_wins_every_epoch_whatever_their_clocks(cloud: Cloud) -> None:
    assert contend(cloud, "rounds", "50", "3") == [(1,), (2,), (3,)]


def test_one_of_fifty_processes_takes_over_from_a_dead_holder(cloud: Cloud) -> None:
    store = cloud.open()
    dead = acquire(store, "rebuild")
    lock = store.head(KEY)
    assert dead is not None
    assert lock is not None
    assert contend(cloud, "rounds", "50", "1", lock.version) == [(2,)]
    with pytest.raises(LeaseLostError):
        dead.check()
    dead.release()


@pytest.mark.slow
def test_contenders_in_many_processes_hold_a_lease_one_at_a_time(cloud: Cloud) -> None:
    held = contend(cloud, "turns", "16")
    assert [epoch for epoch, _, _ in held] == list(range(1, 16 + 1))
    assert all(former[2] <= latter[1] for former, latter in pairwise(held))


def test_an_object_of_another_program_in_place_of_a_lock_is_not_a_lease(world: World) -> None:
    world.store.put(KEY, b"not a lock", if_version=ABSENT)
    with pytest.raises(UnavailableError, match="delete it while nothing is running"):
        world.take()
