"""What a sweep deletes and what it keeps, and for how long, by the store's clock."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from analyst.errors import UnavailableError
from analyst.imports.parts import Parts
from analyst.query import CACHED, RESULTS
from analyst.rebuild import Rebuild
from analyst.rebuild.rollback import roll_back
from analyst.snapshots import Snapshots, parts, read_catalog
from analyst.store import ANY, Store
from analyst.sweep import Sweep, checkpoints
from tests.doubles.wrapped_store import Around
from tests.unit.sweep.old_files import DELTA_KEEP, KEEP, ROOT, Bucket

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(quick_store: Store, tmp_path: Path) -> Bucket:
    return Bucket(quick_store, tmp_path)


def test_unreferenced_objects_are_deleted_after_their_time_and_not_before(bucket: Bucket) -> None:
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


def test_query_results_are_deleted_after_a_day_and_reusable_ones_after_a_week(bucket: Bucket) -> None:
    whole, kept = f"{RESULTS}01m8.parquet", f"{CACHED}ab/abcd"
    for key in (whole, kept):
        bucket.store.put(key, b"rows", if_version=ANY)

    def left() -> set[str]:
        bucket.sweep()
        return {entry.key for entry in bucket.store.list("query/")}

    assert left() == {whole, kept}
    bucket.wait(25)
    assert left() == {kept}
    bucket.wait(6 * 24 - 2)
    assert left() == {kept}
    bucket.wait(2)
    assert left() == set()


def test_a_dry_run_reports_the_same_and_changes_nothing(bucket: Bucket) -> None:
    for _ in range(3):
        bucket.publish()
        bucket.rebuild()
    bucket.sweep_daily(9)
    bucket.publish()
    bucket.rebuild()
    bucket.wait(48)
    before = {entry.key: entry.version for entry in bucket.store.list("")}
    report = bucket.sweep(dry_run=True)
    assert {entry.key: entry.version for entry in bucket.store.list("")} == before
    assert bucket.sweep().model_copy(update={"dry_run": True}) == report


def test_leftovers_of_a_crashed_publish_are_deleted_and_foreign_files_are_kept(bucket: Bucket) -> None:
    bucket.publish()
    orphan = f"{ROOT}/{'a' * 32}-{'0' * 26}.parquet"
    theirs = {f"{ROOT}/part-1.parquet", "extracts/shop/data/notes.txt", "extracts/shop/other/x", "somewhere/else"}
    for key in (orphan, *theirs):
        bucket.store.put(key, b"x", if_version=ANY)
    bucket.sweep_daily(10)
    assert orphan not in bucket.listed()
    assert theirs <= bucket.listed()


def test_an_unreadable_source_is_reported_and_skipped(bucket: Bucket) -> None:
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


def test_a_file_that_is_referenced_again_restarts_its_count(bucket: Bucket) -> None:
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
    assert "restates" in bucket.sweep_with_problems()[0]
    bucket.wait(24)
    bucket.sweep()
    bucket.store.put("extracts/shop/extract.duckdb", second.data, if_version=ANY)
    assert "restates" in bucket.sweep_with_problems()[0]
    bucket.sweep_daily(5)
    assert old in bucket.listed()
    bucket.sweep_daily(4)
    assert old not in bucket.listed()


def test_old_states_snapshots_and_runs_are_deleted_and_current_ones_stay(bucket: Bucket) -> None:
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


def test_parts_of_catalogs_stay_while_a_snapshot_names_them(bucket: Bucket) -> None:
    def rebuild() -> None:
        assert Rebuild(bucket.store, bucket.now, tuple, embedded=0, part=1).run().status == "published"

    bucket.publish("other")
    for _ in range(3):
        bucket.publish()
        rebuild()
        bucket.wait(30)
    bucket.store.put(
        f"{parts.PREFIX}{'0' * 26}-{'a' * 32}.part.json.gz", b"of a build that lost the race", if_version=ANY
    )
    bucket.store.put(f"{parts.PREFIX}theirs", b"x", if_version=ANY)
    before = bucket.listed(parts.PREFIX)
    assert len(before) == 4 + 1 + 2  # of `other` and three of `shop`; the owners; and those two
    bucket.wait(30)
    bucket.sweep()
    snapshots = Snapshots(bucket.store)
    assert [one.number for one in snapshots.all(besides=frozenset())] == [3]
    assert len(snapshots.current().catalog.tables) == 2
    left = bucket.listed(parts.PREFIX)
    assert len(left) == 2 + 1 + 1
    assert f"{parts.PREFIX}theirs" in left
    for _ in range(2):
        bucket.wait(24 * 100)
        bucket.sweep()
        assert bucket.listed(parts.PREFIX) == left
    assert read_catalog(bucket.store, snapshots.key_of(3)).owners == {
        "orders": "other.orders",
        "shop_orders": "shop.orders",
    }


def test_a_long_log_gets_a_checkpoint_and_earlier_commits_expire(
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


@pytest.mark.parametrize("is_there", [True, False])
def test_a_checkpoint_that_an_interrupted_sweep_did_not_name_is_named_by_the_next(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 2)
    last_checkpoints = []
    for _ in range(2):
        bucket.publish()
        bucket.publish()
        assert bucket.sweep().checkpoints == 1
        found = bucket.store.read(f"{ROOT}/_delta_log/_last_checkpoint")
        assert found is not None
        last_checkpoints.append(found.data)
    before, after = last_checkpoints
    assert before != after
    if is_there:
        bucket.store.put(f"{ROOT}/_delta_log/_last_checkpoint", before, if_version=ANY)
    else:
        bucket.store.delete(f"{ROOT}/_delta_log/_last_checkpoint")
    assert bucket.sweep().problems == ()
    found = bucket.store.read(f"{ROOT}/_delta_log/_last_checkpoint")
    assert found is not None
    assert found.data == after


def test_a_log_that_lags_is_brought_up_to_date(bucket: Bucket) -> None:
    bucket.publish()
    bucket.publish()
    bucket.store.delete(f"{ROOT}/_delta_log/{1:020}.json")
    assert bucket.delta() == [1]
    bucket.sweep()
    assert bucket.delta() == [2]


def test_a_damaged_record_of_unreferenced_files_only_delays_deletion(bucket: Bucket) -> None:
    bucket.publish()
    bucket.publish()
    bucket.wait(48)
    bucket.sweep()
    bucket.store.put("state/sweep/shop.json", b'{"unreferenced_seconds": 3}', if_version=ANY)
    bucket.sweep_daily(8)
    assert len(bucket.listed(ROOT, ".parquet")) == 1


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


def test_every_listed_snapshot_is_whole_however_short_the_retention(bucket: Bucket) -> None:
    """A snapshot stays in the bucket for a day, also where it is no longer kept: so do the old files that it needs."""
    hourly = Sweep(bucket.store, timedelta(hours=6), timedelta(hours=1), now=bucket.now)
    bucket.publish()
    bucket.rebuild()
    bucket.wait(30)
    bucket.publish("other")
    bucket.rebuild()  # the second snapshot is young, and needs a file that is not
    bucket.publish()
    bucket.rebuild()
    bucket.wait(7)
    for _ in range(3):
        hourly.run()
        bucket.wait(2)
        check_whole(bucket)
    assert set(Snapshots(bucket.store).ages()) == {2, 3}
    assert roll_back(Rebuild(bucket.store, bucket.now, tuple), 2).status == "published"
    check_whole(bucket)
    bucket.wait(30)
    hourly.run()
    assert set(Snapshots(bucket.store).ages()) == {4}
    check_whole(bucket)


def check_whole(bucket: Bucket) -> None:
    there, snapshots = bucket.listed(), Snapshots(bucket.store)
    for number in snapshots.ages():
        assert snapshots.key_of(number).replace(".catalog.json", ".duckdb") in there
        assert {file.path for table in snapshots.at(number).catalog.tables for file in table.files} <= there


def test_an_interrupted_sweep_leaves_no_catalog_without_its_snapshot(bucket: Bucket) -> None:
    for _ in range(3):
        bucket.publish()
        bucket.rebuild()
        bucket.wait(1)
    bucket.wait(24 * 20)
    cut = Cut(bucket.store)
    for deletions in range(1, 9):
        cut.left = deletions
        with suppress(UnavailableError):
            Sweep(cut, KEEP, DELTA_KEEP, now=bucket.now).run()
        check_whole(bucket)


@dataclass
class Cut(Around):
    """A store that is away after some deletions."""

    left: int = 0

    def delete(self, key: str) -> None:
        if self.left == 0:
            raise UnavailableError("the store is away")
        self.left -= 1
        super().delete(key)
