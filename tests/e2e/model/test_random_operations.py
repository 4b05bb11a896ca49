"""Random operations on one bucket, killed at random points: nothing that was acknowledged is lost, all that is listed is whole.

Snapshots are kept for six hours and Delta versions for one, so that every sweep has something to take. An actor dies at
its nth call of the store, before it or after it, and whatever it does afterwards does not happen. Or others do something at
that moment: publish, sweep, delete and register a table, roll back, or just take long.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from analyst import runs
from analyst.catalog import Catalog, Table
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.publishing import drop
from analyst.errors import ConflictError, NotFoundError
from analyst.rebuild import Rebuild
from analyst.rebuild.rollback import release, roll_back
from analyst.snapshots import Snapshots
from analyst.store import ANY, Condition, Entry, Object, Store
from analyst.sweep import Sweep, checkpoints
from analyst.sweep.compaction_rule import Rule
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.doubles.wrapped_store import Around, ClockedStore

T = TypeVar("T")

SOURCES = ("shop", "crm")
TABLES = ("orders", "items")
KEEP, DELTA_KEEP = timedelta(hours=6), timedelta(hours=1)
RULE = Rule(fewest=4)
SEEDS, STEPS = 8, 40


# The thread that records a run's progress dies with its actor.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Killed(BaseException):
    """The process of an actor has died."""


@dataclass
class Mortal(Around):
    """A store whose user dies at the nth call that it makes; `after` that call has done its work."""

    left: int | None = None
    after: bool = False
    is_dead: bool = False

    def _call(self, work: Callable[[], T]) -> T:
        if self.is_dead:
            raise Killed
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.is_dead = True
                if self.after:
                    work()
                raise Killed
        return work()

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        return self._call(lambda: self.inner.read(key, unless=unless))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return self._call(lambda: self.inner.put(key, data, if_version=if_version))

    def upload(self, key: str, path: Path) -> str:
        return self._call(lambda: self.inner.upload(key, path))

    def list(self, prefix: str) -> Any:
        return self._call(lambda: self.inner.list(prefix))

    def head(self, key: str) -> Entry | None:
        return self._call(lambda: self.inner.head(key))

    def delete(self, key: str) -> None:
        self._call(lambda: self.inner.delete(key))


@dataclass
class Interrupted(Around):
    """A store whose user is interrupted before the nth call: `others` do something then."""

    left: int = 1
    others: Callable[[], object] = lambda: None

    def _call(self, work: Callable[[], T]) -> T:
        self.left -= 1
        if self.left == 0:
            self.others()
        return work()

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        return self._call(lambda: self.inner.read(key, unless=unless))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return self._call(lambda: self.inner.put(key, data, if_version=if_version))

    def upload(self, key: str, path: Path) -> str:
        return self._call(lambda: self.inner.upload(key, path))

    def list(self, prefix: str) -> Any:
        return self._call(lambda: self.inner.list(prefix))

    def head(self, key: str) -> Entry | None:
        return self._call(lambda: self.inner.head(key))

    def delete(self, key: str) -> None:
        self._call(lambda: self.inner.delete(key))


Rows = frozenset[int]


@dataclass
class Model:
    """A bucket, and what must be in it: `rows` by source and table, as acknowledged."""

    chance: random.Random
    folder: Path
    seconds: float = 1_767_322_800.0
    count: int = 0
    rows: dict[tuple[str, str], Rows] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    """Sources whose Delta logs may lag, or say what another writer put there."""
    registered: dict[str, str] = field(default_factory=dict)
    """The registrations of tables by id, as the registry has them."""
    ended: set[str] = field(default_factory=set)
    in_parts: bool = False
    """Whether catalogs are written in parts, as those of large installations are."""
    is_interrupted: bool = False
    """Whether others did something during the operation, so that what it says about the whole need not hold."""
    trail: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store: Store = ClockedStore(MemoryStore(), lambda: self.seconds)
        self.generation = {(source, table): 0 for source in SOURCES for table in TABLES}

    def is_of_now(self, table: Table, _built_at: datetime) -> bool:
        """Return whether a table belongs to its present registration, as `AccessList.is_of_now` does."""
        ours = self.registered.get(table.id)
        return table.registration not in self.ended and ours in (None, table.registration)

    def of_now(self, catalog: Catalog) -> dict[str, Table]:
        return {table.id: table for table in catalog.tables if self.is_of_now(table, catalog.built_at)}

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    # operations: each returns whether it was acknowledged

    def publish(self, store: Store) -> None:
        source = self.chance.choice(SOURCES)
        tables = [name for name in TABLES if self.chance.random() < 0.7] or [TABLES[0]]
        before = dict(self.rows)
        wanted: dict[tuple[str, str], Rows] = {}
        toys: dict[str, ToyTable] = {}
        for name in tables:
            self.count += 1
            grows = name == "orders" and self.is_known(source, name)
            known = before.get((source, name), frozenset()) if grows else frozenset()
            wanted[source, name] = known | {self.count}
            toys[name] = ToyTable(
                f"select {self.count}::bigint as n", str(self.count), cursor_column="n" if name == "orders" else None
            )
            self.registered.setdefault(f"{source}.{name}", f"{source}.{name}.{self.count}")
        self.unsettled.add(source)
        uuids = {name: self.registered[f"{source}.{name}"] for name in tables}
        try:
            record = (
                Extraction(
                    store, source, runs.new_run_id(), self.now, scratch=self.scratch(), registrations=lambda: uuids
                )
                .run(lambda: Toy(toys))
                .record
            )
        except Killed:
            self.find_out(source, wanted)
            raise
        assert record.status == "ok", record
        assert not any("can't" in note for note in record.notes), record.notes
        self.rows |= wanted
        for name in tables:
            self.check_delta(source, name)

    def rebuild(self, store: Store) -> None:
        self.rebuilding(store).run()
        self.check_shown()

    def go_back(self, store: Store) -> None:
        numbers = list(Snapshots(self.store).ages())
        if not numbers:
            return
        number = self.chance.choice(numbers)
        report = roll_back(self.rebuilding(self.store), number, dry_run=True)
        target, last = Snapshots(self.store).at(number).catalog, self.catalog()
        done = roll_back(self.rebuilding(store), number)
        if self.is_interrupted:
            return
        assert (done.missing, done.held_back) == (report.missing, report.held_back)
        newest = self.catalog()
        assert {one.source for one in newest.held_back} == set(done.held_back), self.trail
        then, there = self.of_now(target), {table.id for table in target.tables}
        then |= {name: table for name, table in self.of_now(last).items() if name in there - then.keys()}
        for source in done.held_back:
            shown = {table.id: table.hash for table in newest.tables if table.source == source}
            assert shown == {name: t.hash for name, t in then.items() if t.source == source}, self.trail
        self.check_shown()

    def release(self, store: Store) -> None:
        held = [one.source for one in self.catalog().held_back]
        wanted = frozenset([self.chance.choice(held)]) if held and self.chance.random() < 0.5 else None
        release(self.rebuilding(store), wanted)
        assert self.is_interrupted or not {one.source for one in self.catalog().held_back} & (wanted or frozenset(held))
        self.check_shown()

    def sweep(self, store: Store) -> None:
        answer = Sweep(store, KEEP, DELTA_KEEP, self.scratch(), now=self.now, rule=RULE).run()
        for problem in answer.problems:
            assert "another writer has changed the Delta log" in problem.message, (self.trail, problem)
        if self.is_interrupted:
            return
        for source, table in self.rows:
            self.check_delta(source, table)
        self.unsettled.clear()

    def deregister(self, store: Store) -> None:
        source, table = self.chance.choice(SOURCES), self.chance.choice(TABLES)
        self.unsettled.add(source)
        if (uuid := self.registered.pop(f"{source}.{table}", None)) is not None:
            self.ended.add(uuid)
        try:
            drop(store, source, table, now=self.now, folder=self.scratch())
        except Killed:
            self.find_out(source, {(source, table): frozenset()})
            raise
        self.rows.pop((source, table), None)

    def strange_commit(self, _store: Store) -> None:
        """Have a writer of Delta change a table as it finds it."""
        known = [key for key in self.rows if self.rows[key]]
        if not known:
            return
        source, table = self.chance.choice(known)
        self.unsettled.add(source)
        with self.copied(source, table, back=True) as path:
            number = -self.chance.randrange(1, 1000)
            if not DeltaTable.is_deltatable(str(path)):
                return  # its first commit was not copied to the log, because who published it died
            for _ in range(self.chance.randrange(1, 4)):
                opened = DeltaTable(str(path))
                match self.chance.choice(["append", "optimize", "delete", "checkpoint"]):
                    case "append":
                        write_deltalake(str(path), pl.DataFrame({"n": [number]}), mode="append")
                    case "optimize":
                        opened.optimize.compact()
                    case "delete":
                        opened.delete(f"n <= {self.count - 1}")
                    case _:
                        opened.create_checkpoint()

    def pass_time(self, _store: Store) -> None:
        self.seconds += self.chance.choice([0.2, 1.0, 2.0, 7.0, 30.0]) * 3600

    # how it goes on

    def stall(self, _store: Store) -> None:
        self.seconds += self.chance.choice([1, 60, 600])

    def others(self) -> None:
        """Do something while another operation is at some point."""
        others = [self.publish, self.rebuild, self.go_back, self.release, self.sweep, self.deregister, self.stall]
        deed = self.chance.choice(others)
        self.trail.append(f"  meanwhile {deed.__name__}")
        try:
            deed(self.store)
        except (ConflictError, NotFoundError):
            assert deed in (self.go_back, self.release), self.trail

    def step(self) -> None:
        if self.chance.random() < 0.2:
            return self.interrupted_step()
        return self.plain_step()

    def interrupted_step(self) -> None:
        deed = self.chance.choice([self.rebuild, self.go_back, self.release, self.sweep])
        store = Interrupted(self.store, left=self.chance.randrange(1, 40), others=self.others)
        self.trail.append(f"{deed.__name__} until {store.left}")
        self.is_interrupted = True
        try:
            deed(store)
        except (ConflictError, NotFoundError):
            assert deed in (self.go_back, self.release), self.trail
        finally:
            self.is_interrupted = False
        self.check_whole()
        self.rebuild(self.store)
        self.check_whole()

    def plain_step(self) -> None:
        deed = self.chance.choices(
            [
                self.publish,
                self.rebuild,
                self.go_back,
                self.release,
                self.sweep,
                self.deregister,
                self.strange_commit,
                self.pass_time,
            ],
            [8, 6, 3, 1, 6, 1, 2, 5],
        )[0]
        store = Mortal(self.store)
        if self.chance.random() < 0.35:
            store.left, store.after = self.chance.choice([1, 2, 3, 5, 8, 12, 20, 30, 45]), self.chance.random() < 0.5
        self.trail.append(f"{deed.__name__} {store.left} {store.after}")
        try:
            deed(store)
        except Killed:
            self.seconds += 60  # its lease lapses
        except (ConflictError, NotFoundError):
            assert deed == self.go_back, self.trail
        self.check_whole()

    def find_out(self, source: str, wanted: dict[tuple[str, str], Rows]) -> None:
        """Of what a dead actor did there is all or nothing."""
        extract, _ = read_extract(self.store, source, self.scratch())
        found = {key: self.read_files([row.path for row in extract.files.get(key[1], ())]) for key in wanted}
        before = {key: self.rows.get(key, frozenset()) for key in wanted}
        assert found in (before, wanted), (self.trail, found, before, wanted)
        self.rows |= found
        self.rows = {key: rows for key, rows in self.rows.items() if rows}

    # what must be true

    def check_whole(self) -> None:
        snapshots, there = Snapshots(self.store), {entry.key for entry in self.store.list("")}
        for number in snapshots.ages():
            stem = snapshots.key_of(number).removesuffix(".catalog.json")
            assert self.in_parts or f"{stem}.duckdb" in there, (self.trail, number)
            for table in snapshots.at(number).catalog.tables:
                assert {file.path for file in table.files} <= there, (self.trail, number, table.id)
        for source in SOURCES:
            extract, _ = read_extract(self.store, source, self.scratch())
            for name in TABLES:
                paths = [row.path for row in extract.files.get(name, ())]
                assert set(paths) <= there, (self.trail, source, name)
                assert self.read_files(paths) == self.rows.get((source, name), frozenset()), (
                    self.trail,
                    source,
                    table,
                )

    def check_shown(self) -> None:
        """The newest snapshot shows what was published, but for what it says it holds back."""
        if self.is_interrupted:
            return
        catalog = self.catalog()
        held = {one.source for one in catalog.held_back}
        tables = self.of_now(catalog).values()
        shown = {(t.source, t.name): self.read_files([f.path for f in t.files]) for t in tables}
        for source in set(SOURCES) - held:
            wanted = {key: rows for key, rows in self.rows.items() if key[0] == source and self.is_known(*key)}
            assert {key: rows for key, rows in shown.items() if key[0] == source} == wanted, self.trail

    def check_delta(self, source: str, table: str) -> None:
        with self.copied(source, table) as path:
            opened = DeltaTable(str(path))
            files = [path / uri.rsplit("/", 1)[-1] for uri in opened.file_uris()]
            found = frozenset(n for file in files for n in pl.read_parquet(file)["n"])
            assert found == self.rows[source, table], (self.trail, source, table)

    def is_known(self, source: str, table: str) -> bool:
        """Return whether a table is registered: what a deletion that died has left belongs to nobody."""
        return f"{source}.{table}" in self.registered

    def catalog(self) -> Catalog:
        return Snapshots(self.store).current().catalog

    def rebuilding(self, store: Store) -> Rebuild:
        rebuilding = Rebuild(store, self.now, tuple, self.scratch(), of_now=lambda: self.is_of_now)
        return replace(rebuilding, embedded=0, part=1) if self.in_parts else rebuilding

    def scratch(self) -> Path:
        home = self.folder / "scratch"
        home.mkdir(exist_ok=True)
        return home

    def read_files(self, paths: list[str]) -> Rows:
        found: set[int] = set()
        for path in paths:
            data = self.store.read(path)
            assert data is not None, (self.trail, path)
            found |= set(pl.read_parquet(data.data)["n"])
        return frozenset(found)

    @contextmanager
    def copied(self, source: str, table: str, *, back: bool = False) -> Iterator[Path]:
        """Have a table's folder on the disk, and put `back` what changed in it."""
        prefix, path = f"extracts/{source}/data/{table}/", self.folder / "copy"
        shutil.rmtree(path, ignore_errors=True)
        before: dict[str, bytes] = {}
        for entry in self.store.list(prefix):
            found = self.store.read(entry.key)
            assert found is not None
            before[entry.key] = found.data
            to = path / entry.key.removeprefix(prefix)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(found.data)
        yield path
        for file in path.rglob("*") if back else ():
            key = f"{prefix}{file.relative_to(path)}"
            if file.is_file() and not file.name.startswith(".") and before.get(key) != file.read_bytes():
                self.store.put(key, file.read_bytes(), if_version=ANY)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_acknowledged_change_is_lost_and_everything_listed_is_whole(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 3)
    model = Model(random.Random(seed), tmp_path, in_parts=seed % 2 == 1)
    for _ in range(STEPS):
        model.step()
    model.seconds += 120
    model.rebuild(model.store)
    model.release(model.store)
    model.sweep(model.store)
    model.check_whole()
