"""Those who change a bucket: each does one thing to it, and says whether it was done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.errors import ConflictError, LeaseLostError, UnavailableError
from analyst.rebuild import Rebuild
from analyst.rebuild.rollback import roll_back
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group
from analyst.store import Store
from analyst.sweep import Sweep
from tests.doubles.toy_source import Toy, ToyTable

SOURCE = "toy"
BACK_TO = 1
"""The number of the snapshot that is gone back to, and the generation that it shows."""
KEEP = timedelta(hours=24)
WEEK = timedelta(days=7)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Moving:
    """A source that goes on while it is read: at generation g, `whole` and `merged` say g, and `grown` has g rows."""

    generation: int = 1
    content: dict[str, ToyTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.move(self.generation)

    def move(self, generation: int) -> None:
        self.generation = generation
        mark = str(generation)
        self.content["whole"] = ToyTable(f"select {mark} as generation, range as n from range(10)", mark)
        grown = f"select range + 1 as generation from range({mark})"
        self.content["grown"] = ToyTable(grown, mark, (), "generation")
        self.content["merged"] = ToyTable(
            f"select range as id, {mark} as generation from range(3)", mark, ("id",), "generation"
        )


Deed = Callable[[Store, Moving], bool]
"""Does something to a bucket; tells whether it was acknowledged."""


def publish(store: Store, source: Moving) -> bool:
    try:
        record = Extraction(store, SOURCE, runs.new_run_id(), now).run(lambda: Toy(source.content)).record
    except UnavailableError:
        return False
    return record.status in ("ok", "unchanged") and not [t for t in record.tables if t.status == "superseded"]


def rebuild(store: Store, _source: Moving) -> bool:
    try:
        return Rebuild(store, now, tuple).run().status != "running"
    except (UnavailableError, LeaseLostError):
        return False


def rollback(store: Store, _source: Moving) -> bool:
    """Go back to the snapshot `BACK_TO`."""
    try:
        return roll_back(Rebuild(store, now, tuple), BACK_TO).status == "published"
    except (UnavailableError, LeaseLostError, ConflictError):
        return False


def edit(store: Store, source: Moving) -> bool:
    """Add a group named for the source's generation."""
    group = NewGroup(name=f"group {source.generation}")
    try:
        State(store, now, sleep=lambda _: None).edit(lambda db: create_group(db, Actor(None, now()), group))
    except UnavailableError:
        return False
    return True


def sweep(store: Store, _source: Moving) -> bool:
    try:
        return not Sweep(store, KEEP, WEEK).run().problems
    except UnavailableError:
        return False


DEEDS: dict[str, Deed] = {
    "publish": publish,
    "rebuild": rebuild,
    "rollback": rollback,
    "edit": edit,
    "sweep": sweep,
}
