"""A mirror is whole, and the next sync mends it, whatever becomes of the host, of its store and of `da sync` itself."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analyst.store import Store
from tests.doubles.gcs_accounts import pem
from tests.e2e.faults.actors import Moving, publish, rebuild, rollback, sweep
from tests.e2e.faults.fates import FATES, FatedStore, Touches
from tests.e2e.faults.mirror import Mirroring, prepare_mirroring
from tests.e2e.faults.places import PLACES, Place
from tests.e2e.faults.readers import TABLES
from tests.e2e.faults.scenes import DAY, everything
from tests.forks import Forks, forking

FAULTS = [fate for fate in FATES if not fate.name.startswith("KILLED")]
Meanwhile = Callable[[Store], bool]


@pytest.fixture
def mirroring(place: Place, tmp_path: Path) -> Mirroring:
    return prepare_mirroring(place, tmp_path)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Forks]:
    with forking(Path(__file__).with_name("dying_host.py")) as forks:
        yield forks


@pytest.fixture(scope="module")
def syncs() -> Iterator[Forks]:
    with forking(Path(__file__).with_name("dying_sync.py")) as forks:
        yield forks


def test_any_single_access_of_the_host_to_its_store_may_fail(mirroring: Mirroring) -> None:
    for fate in FAULTS:
        for point in mirroring.points(fate):
            mirroring.begin()
            touches = Touches(point, fate)
            assert mirroring.sync(touches), f"one failure fails no sync: {fate.name} at {touches.made[point - 1]}"
            assert mirroring.laptop.is_at(2)
            mirroring.laptop.look_at_own()


def test_a_host_may_die_at_any_access_to_its_store(mirroring: Mirroring, hosts: Forks) -> None:
    for point in mirroring.points():
        mirroring.begin()
        place = mirroring.place
        job = {"kind": place.kind, "address": place.address, "port": mirroring.port, "pem": pem(), "point": point}
        hosts.write(job)
        assert hosts.read() == "up"
        assert not mirroring.laptop.sync()
        hosts.write("end")
        assert int(hosts.read()) == -signal.SIGKILL
        assert set(mirroring.laptop.look().values()) <= {1, 2}
        mirroring.go_on()


def test_a_reader_during_a_slow_sync_sees_whole_tables(mirroring: Mirroring) -> None:
    mirroring.begin()
    seen = [mirroring.laptop.look()]
    touches = Touches(None, meanwhile=lambda: seen.append(mirroring.laptop.look()))
    assert mirroring.sync(touches)
    assert len(seen) > 5
    for generations in seen:
        assert generations.keys() == set(TABLES)
        assert set(generations.values()) <= {1, 2}
    assert mirroring.laptop.is_at(2)


def take_back(store: Store) -> bool:
    return rollback(store, Moving(2))


def publish_and_sweep(store: Store) -> bool:
    """Let others publish, and a sweep find all that was there before 12 days old."""
    old, source = FatedStore(store, Touches(), everything(store), 12 * DAY), Moving(3)
    return publish(store, source) and rebuild(store, source) and sweep(old, source)


@pytest.mark.parametrize(("meanwhile", "generation"), [(publish_and_sweep, 3), (take_back, 1)])
def test_others_may_publish_at_any_access_to_the_store(
    mirroring: Mirroring, meanwhile: Meanwhile, generation: int
) -> None:
    for point in mirroring.points():
        mirroring.begin()
        done: list[bool] = []
        touches = Touches(point, meanwhile=lambda done=done: done.append(meanwhile(mirroring.place.open())))  # type: ignore[misc]
        assert mirroring.sync(touches)
        assert done == [True]
        (seen,) = set(mirroring.laptop.look().values())
        assert mirroring.laptop.is_at(2 if seen == 2 else generation)
        assert mirroring.sync()
        assert mirroring.laptop.is_at(generation)


@pytest.mark.parametrize("first", [True, False])
def test_a_sync_may_die_at_any_step(tmp_path: Path, syncs: Forks, *, first: bool) -> None:
    with PLACES["file"](tmp_path) as place:
        mirroring = prepare_mirroring(place, tmp_path)
        point, exit_code = 0, -signal.SIGKILL
        wrong: list[str] = []
        while exit_code == -signal.SIGKILL:
            point += 1
            exit_code = die(mirroring, syncs, point, first=first)
            try:
                seen = mirroring.laptop.look()
                assert set(seen.values()) <= ({2} if first else {1, 2})
                if not first:
                    assert seen.keys() == set(TABLES)
                    mirroring.laptop.look_at_own()
                mirroring.go_on()
            except AssertionError as error:
                wrong.append(f"before step {point}: {error}"[:1500])
        assert not wrong, "\n".join(wrong)
        assert exit_code == 0
        assert point > 30


def die(mirroring: Mirroring, syncs: Forks, point: int, *, first: bool) -> int:
    """Let a sync die, the first of a workspace or a later one; return its exit code."""
    laptop = mirroring.laptop
    mirroring.begin()
    if first:
        laptop.restore(None)
    with mirroring.hosting():
        job = {"folder": str(laptop.folder), "server": laptop.login.server, "token": laptop.login.token, "point": point}
        return syncs.run({**job, "checkpoint": 30.0 if first else 0.0})
