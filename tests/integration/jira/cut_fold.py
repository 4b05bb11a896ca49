"""A bucket in which a fold is about to begin, and what may be in it after the fold was interrupted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from analyst.connectors.jira.inbox.archive import Archive
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.clouds import Cloud
from tests.doubles.wrapped_store import AgedStore
from tests.e2e.faults.fates import FATES, Fate, FatedStore, Touches
from tests.e2e.faults.places import Place
from tests.integration.jira.conftest import Installed, Jira, serve
from tests.integration.jira.history import History

Files = Mapping[tuple[str, str | None], str]
CHANGES = ("put", "upload", "delete")


@dataclass(frozen=True, slots=True)
class Held:
    """A bucket that is open already."""

    store: Store

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DATA_URL": "file:///nowhere"}

    def open(self) -> Store:
        return self.store

    def copy(self, home: Path | None = None) -> Cloud:
        raise NotImplementedError


@dataclass
class Scene:
    """A place with events that wait: the files of its tables `before` they are folded, and `after`."""

    place: Place
    folder: Path
    saved: Any
    names: frozenset[str]
    before: Files
    after: Files = field(default_factory=dict)

    def serve(self, store: Store) -> Jira:
        return serve(Held(store), self.folder, "nobody")

    def begin(self) -> None:
        """Set the place back."""
        self.place.restore(self.saved)

    def points(self) -> list[tuple[str, str]]:
        """Fold undisturbed; return the touches of the store."""
        self.begin()
        touches = Touches()
        jira = self.serve(FatedStore(self.place.open(), touches))
        jira.fold()
        made = [*touches.made]
        self.after = jira.files()
        return made

    def chosen(self, points: list[tuple[str, str]], fate: Fate) -> list[int]:
        """Choose the touches that a fate can befall; of many reads and deletes side by side the first three."""
        able: list[int] = []
        alike: dict[tuple[str, str], int] = {}
        for number, (what, key) in enumerate(points, 1):
            kinds = FATES[fate]
            if kinds is not None and what not in kinds:
                continue
            group = (what, key.rpartition("/")[0].partition("/events/2")[0])
            alike[group] = alike.get(group, 0) + 1
            if what in ("put", "upload") or alike[group] <= 3:
                able.append(number)
        return able

    def fold_with(self, fate: Fate, point: int) -> None:
        """Fold while something goes wrong at a touch of the store; what was late has come when it is over."""
        touches = Touches(point, fate)
        jira = self.serve(FatedStore(self.place.open(), touches))
        jira.world.send("POST", "/extract/jira/fold", {}, token=_token())
        touches.land()

    def check(self) -> None:
        """Check that readers see all tables as they were, or all as they will be, and that the next fold mends the rest."""
        store = self.place.open()
        assert self.serve(store).files() in (self.before, self.after)
        jira = self.serve(AgedStore(store, by=60.0))
        answer = jira.fold()
        assert answer["left"] == 0
        assert jira.files() == self.after
        assert jira.waiting() == []
        assert {event.name for event in Archive(store, "jira").events([])} >= self.names
        extract = store.head("extracts/jira/extract.duckdb")
        assert extract is not None
        assert Snapshots(store).current().built_from == {"jira": extract.version}


def prepare(place: Place, installed: Installed, folder: Path) -> Scene:
    """Make the scene: issues of which something is known, and events that tell more."""
    copy_all(installed.cloud.open(), store := place.open())
    jira = serve(Held(store), folder, "nobody")
    history = History(Random(11))
    count = len(history.go_on(8))
    for number, event in enumerate(history.events):
        jira.take(event, f"e{number}")
    jira.fold()
    for number, event in enumerate(history.go_on(8)[count:]):
        jira.take(event, f"later{number}")
    names = frozenset(key.removeprefix("extracts/jira/events/") for key in jira.waiting())
    return Scene(place, folder, place.save(), names, jira.files())


def copy_all(here: Store, there: Store) -> None:
    """Copy the objects of a bucket into another."""
    for entry in here.list(""):
        found = here.read(entry.key)
        assert found is not None
        there.put(entry.key, found.data, if_version=ANY)


def wrong(scene: Scene, what: str, act: Callable[[], object]) -> list[str]:
    """Set the scene back, act, and tell what is wrong then."""
    scene.begin()
    act()
    try:
        scene.check()
    except AssertionError as error:
        return [f"{what}: {error}"[:1500]]
    return []


def _token() -> str:
    from tests.integration.world import SERVICE_TOKEN

    return SERVICE_TOKEN
