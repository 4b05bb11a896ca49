"""A laptop, and the bucket that it mirrors by way of a host, before something happens to one of them."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyst.store import Store
from da.config import Login
from tests.e2e.faults.actors import Moving, publish, rebuild, rollback
from tests.e2e.faults.fates import FATES, Fate, FatedStore, Touches
from tests.e2e.faults.hosts import Clock, hosting
from tests.e2e.faults.laptops import Laptop
from tests.e2e.faults.places import Place
from tests.processes import Host, free_port


@dataclass
class Mirroring:
    """A laptop that was synced, and a place as it was next (`new`), and when that was taken back (`back`)."""

    place: Place
    laptop: Laptop
    port: int
    synced: Path
    new: Any
    back: Any

    def begin(self) -> None:
        """Set everything back to when there was something new to sync."""
        self.laptop.restore(self.synced)
        self.place.restore(self.new)

    def sync(self, touches: Touches | None = None) -> bool:
        """Sync by way of a host of its own; what is asked for again is asked for when the host is ready for it."""
        clock = Clock()
        with self.hosting(touches, clock):
            return self.laptop.sync(clock.sleep)

    def hosting(self, touches: Touches | None = None, clock: Clock | None = None) -> AbstractContextManager[None]:
        """Serve the place."""
        return hosting(FatedStore(self.place.open(), touches or Touches()), self.port, clock or Clock())

    def points(self, fate: Fate | None = None) -> list[int]:
        """Sync undisturbed; return the touches of the store, by number, that a fate can befall."""
        touches, kinds = Touches(), None if fate is None else FATES[fate]
        self.begin()
        assert self.sync(touches)
        assert self.laptop.is_at(2)
        return [point for point, (what, _) in enumerate(touches.made, 1) if kinds is None or what in kinds]

    def go_on(self) -> None:
        """Let the next sync come, undisturbed; check that it repairs everything, also when what was new is taken back."""
        broken = self.laptop.save("broken")
        for saved, generation in ((self.new, 2), (self.back, 1)):
            self.place.restore(saved)
            self.laptop.restore(broken)
            assert self.sync()
            assert self.laptop.is_at(generation)
        assert self.sync(), "the sync after a change deletes what readers of the state before may still have used"
        assert self.laptop.is_at(1)
        assert not self.laptop.workspace.state().superseded


def prepare_mirroring(place: Place, folder: Path) -> Mirroring:
    """Make a bucket, and a laptop that mirrors it."""
    source, store, port = Moving(1), place.open(), free_port()
    _publish(store, source)
    with hosting(store, port):
        login = _log_in(port)
        laptop = Laptop(folder / "laptop", login)
        assert laptop.sync()
    laptop.own_a_table()
    source.move(2)
    _publish(store, source)
    new = place.save()
    assert rollback(store, source)
    return Mirroring(place, laptop, port, laptop.save("synced"), new, place.save())


def _publish(store: Store, source: Moving) -> None:
    assert publish(store, source)
    assert rebuild(store, source)


def _log_in(port: int) -> Login:
    host = Host(f"http://127.0.0.1:{port}")
    return Login(host.url, host.bootstrap())
