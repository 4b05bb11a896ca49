"""What goes, what stays, and for how long, by the store's clock."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.contract.publishing import drop
from analyst.imports.parts import Parts
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from analyst.sweep import Sweep, SweepAnswer, checkpoints
from tests.doubles.around import ClockedStore
from tests.doubles.toy_source import Toy, ToyTable

HOUR = 3600.0
KEEP = timedelta(hours=24)
DELTA_KEEP = timedelta(days=7)
ROOT = "extracts/shop/data/orders"


@dataclass
class Bucket:
    """A bucket whose clock is ours to move, with one source of one table."""

    inner: Store
    folder: Path
    seconds: float = 1_767_322_800.0
    generation: int = 0

    def __post_init__(self) -> None:
        self.store = ClockedStore(self.inner, lambda: self.seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def wait(self, hours: float) -> None:
        self.seconds += hours * HOUR

    def publish(self, source: str = "shop") -> int:
        self.generation += 1
        table = ToyTable(f"select {self.generation} as generation", str(self.generation))
        ended = Extraction(self.store, source, runs.new_run_id(), self.now).run(lambda: Toy({"orders": table}))
        assert ended.record.status == "ok"
        return self.generation

    def rebuild(self) -> None:
        Rebuild(self.store, self.now, tuple).run()

    def sweep(self, *, dry_run: bool = False) -> SweepAnswer:
        answer = Sweep(self.store, KEEP, DELTA_KEEP).run(dry_run=dry_run)
        assert answer.problems == ()
        return answer

    def sweep_daily(self, days: int) -> None:
        for _ in range(days):
            self.sweep()
            self.wait(24)
        self.sweep()

    def listed(self, prefix: str = "", suffix: str = "") -> set[str]:
        return {entry.key for entry in self.store.list(prefix) if entry.key.endswith(suffix)}

    def generation_of(self, path: str) -> int:
        return int(pl.read_parquet(self.copy(path))["generation"][0])

    def delta(self, version: int | None = None) -> list[int]:
        return list(pl.read_delta(str(self.copy_all()), version=version)["generation"])

    def copy(self, key: str) -> Path:
        path = self.folder / "copy" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store.download(key, path)
        return path

    def copy_all(self) -> Path:
        """Copy the table to a folder, where readers of Delta find it."""
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        for key in self.listed(ROOT):
            self.copy(key)
        return self.folder / "copy" / ROOT


@pytest.fixture
def bucket(quick_store: Store, tmp_path: Path) -> Bucket:
    return Bucket(quick_store, tmp_path)


def test_nothing_goes_before_its_time_and_all_of_it_then(bucket: Bucket) -> None:
    bucket.publish()
    bucket.rebuild()
    bucket.publish()
    bucket.rebuild()
    old, new = sorted(bucket.listed(ROOT, ".parquet"), key=bucket.generation_of)
    bucket.sweep_daily(7)
    assert bucket.listed(ROOT, ".parquet") == {old, new}
    bucket.wait(49)
    answer = bucket.sweep()
    assert bucket.listed(ROOT, ".parquet") == {new}
    assert answer.deleted_bytes > 0
    assert (bucket.delta(), Snapshots(bucket.store).current().number) == ([2], 2)
    assert bucket.sweep().deleted == 0


def test_a_dry_run_tells_the_same_and_changes_nothing(bucket: Bucket) -> None:
    for _ in range(3):
        bucket.publish()
        bucket.rebuild()
    bucket.sweep_daily(9)
    bucket.publish()
    bucket.rebuild()
    bucket.wait(48)
    before = {entry.key: entry.version for entry in bucket.store.list("")}
    told = bucket.sweep(dry_run=True)
    assert {entry.key: entry.version for entry in bucket.store.list("")} == before
    assert bucket.sweep().model_copy(update={"dry_run": True}) == told


def test_what_a_crashed_publish_left_goes_too_and_what_others_put_there_does_not(bucket: Bucket) -> None:
    bucket.publish()
    orphan = f"{ROOT}/{'a' * 32}-{'0' * 26}.parquet"
    theirs = {f"{ROOT}/part-1.parquet", "extracts/shop/data/notes.txt", "extracts/shop/other/x", "somewhere/else"}
    for key in (orphan, *theirs):
        bucket.store.put(key, b"x", if_version=ANY)
    bucket.sweep_daily(10)
    assert orphan not in bucket.listed()
    assert theirs <= bucket.listed()


def test_a_source_that_can_not_be_read_is_told_and_left_alone(bucket: Bucket) -> None:
    bucket.publish("bad")
    for _ in range(2):
        bucket.publish()
        bucket.rebuild()
    bucket.store.put("extracts/bad/extract.duckdb", b"broken", if_version=ANY)
    before = bucket.listed("extracts/bad/")
    for _ in range(12):
        answer = Sweep(bucket.store, KEEP, DELTA_KEEP).run()
        assert [problem.source for problem in answer.problems] == ["bad"]
        bucket.wait(24)
    assert bucket.listed("extracts/bad/") == before
    assert len(bucket.listed(ROOT, ".parquet")) == 1


def test_a_file_that_is_referred_to_again_begins_anew(bucket: Bucket) -> None:
    bucket.publish()
    first = bucket.store.read("extracts/shop/extract.duckdb")
    assert first is not None
    (old,) = bucket.listed(ROOT, ".parquet")
    bucket.publish()
    bucket.wait(48)
    bucket.sweep_daily(5)
    second = bucket.store.read("extracts/shop/extract.duckdb")
    assert second is not None
    bucket.store.put("extracts/shop/extract.duckdb", first.data, if_version=ANY)
    bucket.sweep_daily(1)
    bucket.store.put("extracts/shop/extract.duckdb", second.data, if_version=ANY)
    bucket.sweep_daily(5)
    assert old in bucket.listed()
    bucket.sweep_daily(4)
    assert old not in bucket.listed()


def test_states_and_snapshots_and_old_runs_go_and_what_is_current_stays(bucket: Bucket) -> None:
    for _ in range(6):
        bucket.publish()
        bucket.rebuild()
        bucket.wait(1)
    assert len(bucket.listed("analytics/", ".catalog.json")) == 6
    bucket.wait(24 * 100)
    bucket.sweep()
    newest = Snapshots(bucket.store).current()
    assert newest.number == 6
    assert len(bucket.listed("analytics/", ".catalog.json")) == 1
    assert len(bucket.listed("analytics/00", ".duckdb")) == 1
    assert bucket.listed("state/runs/") == set()


def test_a_long_log_gets_a_checkpoint_and_what_is_before_it_goes_in_its_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 10)
    for _ in range(12):
        bucket.publish()
    bucket.wait(1)
    assert bucket.sweep().checkpoints == 1
    assert len(bucket.listed(f"{ROOT}/_delta_log/", ".json")) == 12
    assert DeltaTable(str(bucket.copy_all())).version() == 11
    assert bucket.delta(5) == [6]
    assert bucket.sweep().checkpoints == 0
    bucket.sweep_daily(9)
    last = f"{11:020}"
    assert bucket.listed(f"{ROOT}/_delta_log/") == {
        f"{ROOT}/_delta_log/{name}" for name in (f"{last}.json", f"{last}.checkpoint.parquet", "_last_checkpoint")
    }
    assert bucket.delta() == [12]
    bucket.publish()
    assert bucket.delta() == [13]


def test_a_log_that_lags_is_caught_up_with(bucket: Bucket) -> None:
    bucket.publish()
    bucket.publish()
    bucket.store.delete(f"{ROOT}/_delta_log/{1:020}.json")
    assert bucket.delta() == [1]
    bucket.sweep()
    assert bucket.delta() == [2]


def test_a_damaged_count_only_takes_longer(bucket: Bucket) -> None:
    bucket.publish()
    bucket.publish()
    bucket.wait(48)
    bucket.sweep()
    bucket.store.put("state/sweep/shop.json", b'{"unreferenced_seconds": 3}', if_version=ANY)
    bucket.sweep_daily(8)
    assert len(bucket.listed(ROOT, ".parquet")) == 1


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["publish", "rebuild", "publish and rebuild", "sweep", "drop"]),
        st.sampled_from([0.5, 5.0, 23.0, 26.0, 24.0 * 3, 24.0 * 8]),
    ),
    min_size=4,
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_every_reader_finds_its_files(
    steps: list[str | float], new_quick_store: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket = Bucket(new_quick_store(), tmp_path_factory.mktemp("sweep"))
    for step in steps:
        if isinstance(step, float):
            bucket.wait(step)
        elif step == "sweep":
            bucket.sweep()
            assert_readable(bucket)
        elif step == "drop":
            drop(bucket.store, "shop", "orders", now=bucket.now, folder=bucket.folder)
        else:
            if step.startswith("publish"):
                bucket.publish()
            if step.endswith("rebuild"):
                bucket.rebuild()
    bucket.rebuild()
    bucket.wait(24 * 3)
    bucket.sweep_daily(9)
    assert_readable(bucket)
    assert bucket.listed(ROOT, ".parquet") - set(referred(bucket)) - bucket.listed(f"{ROOT}/_delta_log/") == set()


def assert_readable(bucket: Bucket) -> None:
    """Read every file of the kept snapshots, of the extract, and of the Delta versions that were current in the last week."""
    for path in referred(bucket):
        assert bucket.generation_of(path) > 0
    logs = sorted(bucket.store.list(f"{ROOT}/_delta_log/"), key=lambda entry: entry.key)
    commits = [entry for entry in logs if entry.key.endswith(".json")]
    for number, entry in enumerate(commits):
        successor = commits[number + 1].age if number + 1 < len(commits) else 0
        if successor < DELTA_KEEP.total_seconds():
            version = int(entry.key.rsplit("/", 1)[1].removesuffix(".json"))
            assert len(bucket.delta(version)) in (0, 1)


def referred(bucket: Bucket) -> Iterator[str]:
    snapshots = Snapshots(bucket.store)
    for snapshot in (snapshots.current(), *snapshots.kept(KEEP / timedelta(hours=1))):
        yield from (file.path for table in snapshot.catalog.tables for file in table.files)
    if bucket.store.head("extracts/shop/extract.duckdb"):
        with duckdb.connect(bucket.copy("extracts/shop/extract.duckdb"), read_only=True) as con:
            yield from (path for (path,) in con.execute("select path from _files").fetchall())


def test_a_count_is_kept_for_each_source(bucket: Bucket) -> None:
    for source in ("shop", "crm"):
        bucket.publish(source)
        bucket.publish(source)
    bucket.wait(48)
    assert bucket.sweep().waiting == 2
    for source in ("shop", "crm"):
        found = bucket.store.read(f"state/sweep/{source}.json")
        assert found is not None
        assert list(json.loads(found.data)["unreferenced_seconds"].values()) == [0.0]


def test_parts_of_an_import_wait_a_week_for_the_rest(bucket: Bucket) -> None:
    Parts(bucket.store).keep(hashlib.sha256(b"old").hexdigest(), [b"old"])
    bucket.wait(24 * 6)
    Parts(bucket.store).keep(hashlib.sha256(b"new").hexdigest(), [b"new"])
    bucket.sweep()
    assert len(bucket.listed("uploads/import/")) == 2
    bucket.wait(25)
    bucket.sweep()
    assert bucket.listed("uploads/import/") == {f"uploads/import/{hashlib.sha256(b'new').hexdigest()}"}
