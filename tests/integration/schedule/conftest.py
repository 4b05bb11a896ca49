"""A source of files, a scheduler that calls, and a clock that the test sets."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from analyst.state import Actor
from analyst.state.sources import NewSource, create_source
from analyst.store import Store
from tests.clouds import Cloud, NewCloud
from tests.integration.world import SERVICE_TOKEN, OneByOne, World

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Schedule:
    """The functions as the scheduler calls them. `started` has what was started: when, which source, and its run."""

    world: World
    cloud: Cloud
    clock: Clock
    files: Path
    background: OneByOne
    started: list[tuple[datetime, str, Any]] = field(default_factory=list)

    def call(self, at: datetime | None = None) -> Mapping[str, Any]:
        """Call the scheduler at a time, and wait for what it starts; give what it says of each source."""
        self.clock.now = at or self.clock.now
        with self.background.held():
            answer = self.world.ask("POST", "/schedule", token=SERVICE_TOKEN)
        self.background.wait()
        outcomes = {entry["source"]: entry for entry in answer["sources"]}
        ours = [(self.clock.now, name, entry) for name, entry in outcomes.items() if entry["outcome"] == "started"]
        self.started.extend(ours)
        return {**outcomes, "": answer["sweep"]}

    def call_every(self, minutes: int, until: datetime) -> None:
        """Call the scheduler again and again."""
        while self.clock.now < until:
            self.call(self.clock.now + timedelta(minutes=minutes))

    def call_at(self, *times: str) -> None:
        """Call the scheduler at times of March, such as `27 12:00`; of a time that is missed, the next call catches up."""
        for each in times:
            self.call(datetime.strptime(f"2026-03-{each} +0000", "%Y-%m-%d %H:%M %z"))

    def synced(self, source: str = "shop") -> dict[str, str]:
        """Return which tables the last run of a source looked at, and what became of them."""
        run_id = next(entry["run_id"] for _, name, entry in reversed(self.started) if name == source)
        (run,) = self.world.ask("GET", f"/api/sync/status?run={run_id}", token=SERVICE_TOKEN)["runs"]
        return {table["table"]: table["status"] for table in run["tables"]}

    def times(self, source: str = "shop") -> list[str]:
        """Return when a source was started, as `27 12:00`."""
        return [f"{at:%d %H:%M}" for at, name, _ in self.started if name == source]

    def shown(self) -> dict[str, Any]:
        """Ask what is scheduled, by id."""
        return {entry["id"]: entry for entry in self.world.ask("GET", "/api/admin/schedule")["entries"]}

    def set(self, table_or_source: str, schedule: str | None) -> None:
        """Give a table or a source its schedule."""
        kind = "tables" if "." in table_or_source else "sources"
        self.world.ask("PUT", f"/api/admin/{kind}/{table_or_source}", {"sync_schedule": schedule})

    def write(self, file: str, text: str) -> None:
        """Write a file of a source: `shop/orders.csv`."""
        path = self.files / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def add_source(self, name: str, schedule: str | None = None) -> None:
        """Add a source of the files in a folder of this name."""
        (self.files / name).mkdir(exist_ok=True)
        config = {"path": str(self.files / name)}
        self.world.ask(
            "POST", f"/api/admin/sources/{name}", {"type": "csv", "config": config, "sync_schedule": schedule}
        )

    def add_empty_sources(self, count: int) -> None:
        """Add sources without files, in one edit."""
        new = [NewSource(name=f"s{number}", type="csv", config={"path": "nowhere"}) for number in range(count)]
        actor = Actor(None, self.clock.now)
        self.world.process.state.edit(lambda db: [create_source(db, actor, source, {}) for source in new])


def serve(
    cloud: Cloud,
    folder: Path,
    admin: str | None = None,
    *,
    another: Store | None = None,
    background: OneByOne | None = None,
) -> Schedule:
    """Serve a bucket, or another store in its place, with sources in a folder."""
    clock, one_by_one = Clock(), background or OneByOne()

    class Waiting(Process):
        background = one_by_one

    def waiting(environ: Mapping[str, str], store: Store) -> Process:
        return Waiting(environ, store=another or store, clock=clock)

    world = World(folder, cloud, admin=admin, process=waiting)
    return Schedule(world, cloud, clock, folder / "sources", one_by_one)


@dataclass(frozen=True, slots=True)
class Kept:
    """A bucket with an administrator, by their token, and the files of its sources; tests work on copies."""

    cloud: Cloud
    admin: str
    files: Path | None = None

    def serve(self, folder: Path) -> Schedule:
        """Serve a copy; files of sources are put into the folder, where they must have been when they were synced."""
        if self.files is not None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.files, folder / "sources")
        return serve(self.cloud.copy(), folder, self.admin)


@pytest.fixture(scope="session")
def installed(new_cloud: NewCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A bucket that has an administrator."""
    folder = tmp_path_factory.mktemp("installed")
    with new_cloud(folder) as cloud:
        yield Kept(cloud, serve(cloud, folder).world.admin)


@pytest.fixture
def schedule(installed: Kept, tmp_path: Path, at_once: None) -> Schedule:  # noqa: ARG001
    """Nothing to sync yet, at noon of a Friday."""
    return installed.serve(tmp_path)


@pytest.fixture(scope="session")
def synced(installed: Kept, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    """A folder, and what is to be served in it: a source of two tables, synced at noon."""
    folder = tmp_path_factory.mktemp("synced") / "here"
    schedule = installed.serve(folder)
    schedule.write("shop/orders.csv", "id\n1\n2\n")
    schedule.write("shop/items.csv", "id\n1\n")
    schedule.add_source("shop")
    schedule.call()
    process = schedule.world.process
    for task in list(process.task_ledger.waiting()):  # the lake of the snapshot, half a minute later
        process.store.delete(task.key)
    files = shutil.copytree(schedule.files, folder.with_name("files"))
    return folder, Kept(schedule.cloud, installed.admin, files)


@pytest.fixture
def shop(synced: tuple[Path, Kept], at_once: None) -> Schedule:  # noqa: ARG001
    """A source of two tables, synced at noon."""
    folder, kept = synced
    return kept.serve(folder)
