"""What a bucket holds before something happens to it, and how that goes on."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from analyst.access import CURRENT as STATE
from analyst.catalog import CURRENT, Pointer
from analyst.rebuild.publishing import COPY
from analyst.snapshots import PREFIX
from analyst.store import Store, lost_edits
from tests.e2e.faults.actors import BACK_TO, DEEDS, Moving, edit, publish, rebuild, sweep
from tests.e2e.faults.fates import FATES, Fate, FatedStore, Touches
from tests.e2e.faults.places import Place
from tests.e2e.faults.readers import Seen, look

DAY = 86_400.0
STRIDE = 8
"""Elsewhere than on file one of so many points is tried: what differs are the stores' answers, not the actors."""
LOCK = "locks/rebuild.json"
Written = list[tuple[str, bytes]]


@dataclass
class Scene:
    """A place as it is before a deed: what was seen there, and the generation that the source has come to.

    Its objects are 12 days old for a sweep, and new for all others. What is to be gone back to is kept all the same.
    """

    deed: str
    place: Place
    saved: Any
    seen: Seen
    generation: int
    old: frozenset[tuple[str, str]]
    written: Written = field(default_factory=list)
    keys: frozenset[str] = frozenset()
    """What is there when nothing went wrong."""

    def begin(self) -> Moving:
        """Set the place back, and give the source."""
        self.place.restore(self.saved)
        if self._notice():
            self.place.restore(self.saved)
        self.written = []
        return Moving(self.generation)

    def _notice(self) -> bool:
        """Have this process notice that earlier edits of its own are gone, or one of the actors would; return whether they are."""
        store = self.place.open()
        before = self.left()
        for key in (CURRENT, STATE):
            found = store.read(key)
            assert found is not None
            lost_edits.check(store, key, json.loads(found.data)["recent"])
        return self.left() != before

    def store(self, touches: Touches | None = None) -> FatedStore:
        """Open the place for the actor whose deed it is."""
        old = self.old if self.deed == "sweep" else frozenset()
        return FatedStore(self.place.open(), touches or Touches(), old, 12 * DAY, written=self.written)

    def sweeping(self) -> FatedStore:
        """Open the place for a sweep."""
        return FatedStore(self.place.open(), Touches(), self.old, 12 * DAY, written=self.written)

    def later(self) -> FatedStore:
        """Open the place for a builder to whom the lease that is held now has lapsed."""
        inner = self.place.open()
        lock = inner.head(LOCK)
        held = frozenset({(LOCK, lock.version)} if lock else set())
        return FatedStore(inner, Touches(), held, 60.0, written=self.written)

    def look(self, former: Seen | None = None) -> Seen:
        """See what readers see, and check that it follows on what was seen before."""
        seen = look(self.place.open())
        if former is not None:
            seen.follows(former, back_to=BACK_TO if self.deed == "rollback" else None)
        return seen

    def act(self, source: Moving, touches: Touches) -> bool:
        """Do the deed; tell whether it was acknowledged. What was late has come when it is over."""
        acknowledged = DEEDS[self.deed](self.store(touches), source)
        touches.land()
        return acknowledged

    def points(self) -> list[tuple[str, str]]:
        """Do the deed undisturbed; return its touches."""
        touches = Touches()
        assert self.act(self.begin(), touches)
        self.keys = self.left()
        return touches.made

    def chosen(self, fate: Fate | None = None) -> list[int]:
        """Choose the points of the deed at which something is tried: on file all, elsewhere some, other ones for each fate.

        Of many deletes side by side, the first three are as good as all.
        """
        points, kinds = self.points(), None if fate is None else FATES[fate]
        deletes = [n for n, (what, _) in enumerate(points, 1) if what == "delete"]
        able = [n for n, (what, _) in enumerate(points, 1) if kinds is None or what in kinds]
        able = [n for n in able if n not in deletes[3:]]
        offset = 0 if fate is None else list(Fate).index(fate) % STRIDE
        return able if self.place.kind == "file" else able[offset::STRIDE]

    def left(self) -> frozenset[str]:
        """Return what is in the place."""
        return frozenset(entry.key for entry in self.place.open().list(""))

    def is_done(self, seen: Seen) -> bool:
        """Return whether the deed shows."""
        return {
            "publish": set(seen.extracted.values()) == {self.generation},
            "rebuild": set(seen.shown.values()) == {self.generation},
            "rollback": set(seen.shown.values()) == {BACK_TO},
            "edit": f"group {self.generation}" in seen.groups,
            "sweep": True,
        }[self.deed]

    def go_on(self, source: Moving, before: Seen, *, again: bool = False) -> None:
        """Let the next actor come, undisturbed; check that it repairs everything and loses nothing.

        It is the same one `again`, or another of whom something new is wanted.
        """
        if self.deed == "rollback" and not again:
            self._go_on_after_rollback(source, before)
            return
        if self.deed == "edit" or (self.deed == "publish" and not again):
            source.move(source.generation + 1)
        assert DEEDS[self.deed](self.later() if self.deed in ("rebuild", "rollback") else self.store(), source)
        after = self.look(before)
        if self.deed == "publish":
            assert set(after.extracted.values()) == {source.generation}
            assert again or not after.lags
        elif self.deed == "rebuild":
            assert set(after.shown.values()) == {source.generation}
            assert after.snapshot == self.seen.snapshot + 1
            check_copy(self.place.open())
        elif self.deed == "rollback":
            assert set(after.shown.values()) == {BACK_TO}
            assert after.snapshot == before.snapshot + 1
            check_copy(self.place.open())
        elif self.deed == "edit":
            assert f"group {source.generation}" in after.groups
        else:
            assert self.left() == self.keys
            assert not after.lags
        check_history(self.written)

    def _go_on_after_rollback(self, source: Moving, before: Seen) -> None:
        """Let a rebuild come, which leaves what is shown as it is, and others when the source has moved on."""
        assert rebuild(self.later(), source)
        after = self.look(before)
        assert (after.snapshot, after.shown) == (before.snapshot, before.shown)
        check_copy(self.place.open())
        source.move(source.generation + 1)
        assert publish(self.store(), source)
        assert rebuild(self.later(), source)  # the first had nothing to do, so it left the dead one's lease alone
        assert set(self.look(after).shown.values()) == {source.generation}
        check_history(self.written)


def prepare(deed: str, place: Place) -> Scene:
    """Make the scene of a deed in an empty place."""
    source = Moving(0)
    store = place.open()

    def more(*deeds: Callable[[Store, Moving], bool]) -> None:
        source.move(source.generation + 1)
        assert all(do(store, source) for do in deeds)

    for _ in range(3 if deed == "sweep" else 1):
        more(publish, rebuild, edit)
    if deed == "sweep":
        assert sweep(FatedStore(store, Touches(), everything(store), 3 * DAY), source)
        for _ in range(3):
            more(publish, rebuild, edit)
    elif deed == "rebuild":
        more(publish)
    elif deed == "rollback":
        more(publish, rebuild)
    else:
        source.move(2)
    seen = look(store)
    young = f"{PREFIX}{seen.snapshot:09}-" if deed == "rollback" else None
    return Scene(deed, place, place.save(), seen, source.generation, everything(store, but=young))


def everything(store: Store, *, but: str | None = None) -> frozenset[tuple[str, str]]:
    """Return all objects, but those whose keys begin so."""
    return frozenset((e.key, e.version) for e in store.list("") if but is None or not e.key.startswith(but))


def check_copy(store: Store) -> None:
    """Check that the copy is of the newest snapshot."""
    found, copy = store.read(CURRENT), store.read(COPY)
    assert found is not None
    assert copy is not None
    newest = store.read(Pointer.model_validate_json(found.data).duckdb)
    assert newest is not None
    assert copy.data == newest.data


def check_history(written: Written) -> None:
    """Check that what was put in the place of pointers and locks, in that order, only ever rose."""
    for former, latter in _pairs(written, CURRENT):
        assert latter["epoch"] >= former["epoch"]
        if latter["duckdb"] == former["duckdb"]:
            assert latter["built_from"] != former["built_from"]
        else:
            assert latter["snapshot"] > former["snapshot"]
    for former, latter in _pairs(written, STATE):
        assert latter["version"] == former["version"] + 1
    for former, latter in _pairs(written, LOCK):
        assert (latter["epoch"], latter["beat"]) > (former["epoch"], former["beat"])
        assert (latter["epoch"] == former["epoch"]) == (latter["id"] == former["id"])


def _pairs(written: Written, key: str) -> Iterable[tuple[Any, Any]]:
    return pairwise(json.loads(data) for name, data in written if name == key)
