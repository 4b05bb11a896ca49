"""Records of past days are in archives, and their readers see no difference."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from analyst import runs
from analyst.days import Day, folder_of, pack
from analyst.errors import NotFoundError, UnavailableError
from analyst.runs import RunRecord
from analyst.store import ANY, Condition
from analyst.sweep import Sweep, SweepAnswer, archive_records
from analyst.sweep.archive_records import Records
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples

HOUR = 3600.0
BEGAN = datetime(2026, 1, 5, 12, tzinfo=UTC)


class FailingStore(MemoryStore):
    """A store that can be made to stop answering after some changes, before or after the next one is made."""

    left: int | None = None

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._step()
        version = super().put(key, data, if_version=if_version)
        self._step()
        return version

    def delete(self, key: str) -> None:
        self._step()
        super().delete(key)
        self._step()

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise UnavailableError("the store is away")


@dataclass
class World:
    """A bucket whose clock is ours to move, and the records that were written to it."""

    seconds: float = BEGAN.timestamp()
    store: FailingStore = field(init=False)
    written: dict[str, RunRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = FailingStore(lambda: self.seconds)

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def wait(self, hours: float) -> None:
        self.seconds += hours * HOUR

    def run(self, began: datetime | None = None) -> RunRecord:
        """Write the record of a run that ends now."""
        run_id = str(ULID.from_datetime(began or self.now))
        record = RunRecord(
            run_id=run_id, kind="extract", source="shop", status="ok", started_at=self.now, finished_at=self.now
        )
        runs.write(self.store, record)
        self.written[run_id] = record
        return record

    def sweep(self, *, dry_run: bool = False) -> SweepAnswer:
        answer = Sweep(self.store, timedelta(days=1)).run(dry_run=dry_run)
        assert answer.problems == ()
        return answer

    def newest(self, limit: int = 1000) -> list[RunRecord]:
        return runs.newest(self.store, today=self.now.date(), limit=limit, days=1000)

    def read(self, run_id: str) -> RunRecord:
        return runs.read(self.store, run_id, today=self.now.date())

    def names(self) -> list[str]:
        return [entry.key.rpartition("/")[2] for entry in self.store.list("state/runs/")]

    def check(self) -> None:
        """Check that readers find every record once, as it was written."""
        assert self.newest() == sorted(self.written.values(), key=lambda record: record.run_id, reverse=True)
        assert all(self.read(run_id) == record for run_id, record in self.written.items())


@pytest.fixture
def world() -> World:
    return World()


def test_the_records_of_a_past_day_become_one_object(world: World) -> None:
    for _ in range(10):
        world.run()
        world.wait(1)
    world.wait(46)
    assert (world.sweep().gathered, len(world.names())) == (0, 10)
    world.wait(2)
    world.run()
    assert world.sweep().gathered == 10
    archive, record = sorted(world.names(), reverse=True)
    assert archive.startswith("archive-")
    assert record.removesuffix(".json") == max(world.written)
    world.check()
    assert [run.run_id for run in world.newest(3)] == sorted(world.written, reverse=True)[:3]
    assert world.sweep().gathered == 0


def test_a_dry_run_reports_the_same_and_changes_nothing(world: World) -> None:
    for _ in range(3):
        world.run()
    world.wait(49)
    before = [(entry.key, entry.version) for entry in world.store.list("")]
    report = world.sweep(dry_run=True)
    assert report.gathered == 3
    assert [(entry.key, entry.version) for entry in world.store.list("")] == before
    assert world.sweep().model_copy(update={"dry_run": True}) == report


def test_a_record_that_arrives_after_its_day_was_gathered_is_found_and_gathered_too(world: World) -> None:
    first = world.run()
    world.wait(49)
    world.sweep()
    world.run(began=BEGAN + timedelta(hours=1))
    world.check()
    world.wait(49)
    assert world.sweep().gathered == 1
    world.check()
    assert len(world.names()) == 2
    runs.write(world.store, first.model_copy(update={"status": "failed"}))
    world.check()  # of a run that was called twice, the first record counts
    world.wait(49)
    world.sweep()
    world.check()
    assert len(world.names()) == 2


def test_records_archived_during_a_read_are_found(world: World) -> None:
    records = [world.run() for _ in range(3)]
    world.wait(49)
    day = Day.open(world.store, folder_of(runs.PREFIX, BEGAN.date()))
    world.sweep()
    assert day.archived == {}
    found = [day.lines(name) for name in day.names]
    assert sorted(lines[0] for lines in found if lines) == sorted(r.model_dump_json().encode() for r in records)
    assert day.lines("never.json") is None


def test_records_and_archives_are_deleted_after_their_time(world: World) -> None:
    early = world.run()
    world.wait(24 * 60)
    world.sweep()
    world.run()
    world.wait(24 * 91)
    answer = world.sweep()
    assert (answer.deleted, answer.gathered, world.names()) == (2, 0, [])
    with pytest.raises(NotFoundError):
        world.read(early.run_id)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["run", "run", "late run", "sweep"]),
        st.sampled_from([3.0, 11.0, 30.0, 49.0]),
        st.integers(0, 12),
    ),
    max_size=30,
)


@settings(max_examples=examples(15), deadline=None)
@given(steps=STEPS)
def test_nothing_is_lost_or_seen_twice_wherever_a_sweep_is_cut(steps: list[str | float | int]) -> None:
    world = World()
    for step in steps:
        if isinstance(step, float):
            world.wait(step)
        elif isinstance(step, int):
            world.store.left = step
            Sweep(world.store, timedelta(days=1)).run()
            world.store.left = None
        elif step == "sweep":
            world.sweep()
        else:
            world.run(began=world.now - timedelta(hours=30 if step == "late run" else 0))
        world.check()
    world.wait(49)
    world.sweep()
    world.check()
    assert not [name for name in world.names() if not name.startswith("archive-")]


def test_all_kinds_of_lines_kept_by_day_are_gathered_in_the_same_way(world: World) -> None:
    batches = {
        f"{number:02}.jsonl": [f'{{"note": "{number}-{line}"}}' for line in range(number)] for number in range(4)
    }
    folder = folder_of("state/notes/", BEGAN.date())
    for name, lines in batches.items():
        world.store.put(folder + name, "".join(f"{line}\n" for line in lines).encode(), if_version=ANY)
    for stranger in ("state/notes/x.jsonl", folder + "readme.txt", folder + "deep/x.jsonl"):
        world.store.put(stranger, b"{}", if_version=ANY)
    world.wait(24 * 400)
    records = Records.of(world.store, "state/notes/", kept=None)
    assert records.old() == []
    assert [len(entries) for entries in records.due().values()] == [4]
    records.gather(records.due())
    day = Day.open(world.store, folder)
    assert {name: [line.decode() for line in day.lines(name) or ()] for name in day.names} == batches
    assert len(list(world.store.list("state/notes/"))) == 4


def test_many_records_become_archives_of_bounded_size_in_several_sweeps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        world.run()
        world.wait(24 if number == 4 else 0)
    world.wait(49)
    size = len(next(iter(world.written.values())).model_dump_json())
    monkeypatch.setattr(archive_records, "ARCHIVE_BYTES", size + 1)
    monkeypatch.setattr(archive_records, "MOST_RECORDS", 6)
    assert [world.sweep().gathered for _ in range(3)] == [6, 3, 0]
    world.check()
    assert len(world.names()) == 6  # of two records each, and of one where a day or a sweep ended


def test_duckdb_reads_records_and_archives_in_place(world: World, tmp_path: Path) -> None:
    for _ in range(3):
        world.run()
    world.wait(49)
    world.sweep()
    world.run()
    for entry in world.store.list("state/runs/"):
        (tmp_path / entry.key).parent.mkdir(parents=True, exist_ok=True)
        world.store.download(entry.key, tmp_path / entry.key)
    found = duckdb.sql(f"select run_id from read_json('{tmp_path}/state/runs/*/*.json*') where run_id is not null")
    assert {run_id for (run_id,) in found.fetchall()} == set(world.written)


BREAK: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[:40],
    "no archive": lambda _: b"{}",
    "of other lines": lambda data: gzip.compress(gzip.decompress(data) + b"{}\n"),
    "without contents": lambda data: gzip.compress(gzip.decompress(data).split(b"\n", 1)[1]),
    "empty": lambda _: gzip.compress(b""),
}


@pytest.mark.parametrize("how", BREAK)
def test_a_damaged_archive_is_reported_and_its_records_are_kept(world: World, how: str) -> None:
    name, data = pack({f"{number}.json": json.dumps({"n": number}).encode() for number in range(3)})
    key = folder_of(runs.PREFIX, BEGAN.date()) + name
    world.store.put(key, BREAK[how](data), if_version=ANY)
    world.run()
    world.wait(49)
    with pytest.raises(UnavailableError, match=name):
        world.newest()
    (problem,) = Sweep(world.store, timedelta(days=1)).run().problems
    assert (problem.source, name in problem.message) == ("state/runs", True)
    assert len(world.names()) == 2


def test_equal_records_make_the_same_archive() -> None:
    records: dict[str, Any] = {"b.json": b'{"n": 2}', "a.json": b'{"n": 1}\n'}
    assert pack(records) == pack({"a.json": b'{"n": 1}', "b.json": b'{"n": 2}\n'})
