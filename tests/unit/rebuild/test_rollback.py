"""Rolling back to an earlier snapshot, with other processes at work."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import runs
from analyst.catalog import CURRENT, Catalog, Pointer, Table
from analyst.contract.extraction import Extraction
from analyst.errors import ConflictError, NotFoundError, UnavailableError
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.rebuild.publishing import COPY
from analyst.rebuild.rollback import RollbackAnswer, release, roll_back
from analyst.snapshots import CATALOG_SUFFIX, Snapshots, read_catalog
from analyst.store import Condition
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Bucket(MemoryStore):
    """A bucket in which something may happen just before a key is put."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], object]] = {}
        self.before_any: Callable[[str], object] = lambda _: None
        self.is_down = False

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.before.pop(key, lambda: None)()
        self.before_any(key)
        return super().put(key, data, if_version=if_version)

    def list_folders(self, prefix: str) -> Iterable[str]:
        if self.is_down:
            raise UnavailableError("the store is down")
        return super().list_folders(prefix)

    def publish(self, generation: int) -> None:
        table = ToyTable(f"select {generation} as generation", str(generation))
        ended = Extraction(self, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))
        assert ended.record.status == "ok"

    def rebuild(self) -> RebuildAnswer:
        return Rebuild(self, lambda: NOW, tuple).run()

    def roll_back(self, number: int) -> RollbackAnswer:
        return roll_back(self.rebuilding, number)

    @property
    def rebuilding(self) -> Rebuild:
        return Rebuild(self, lambda: NOW, tuple)

    def publish_to(self, source: str) -> None:
        table = ToyTable("select 7 as generation", "7")
        Extraction(self, source, runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))

    def catalog(self) -> Catalog:
        return read_catalog(self, self.pointer().catalog)

    def pointer(self) -> Pointer:
        return Pointer.model_validate_json(self.data(CURRENT))

    def data(self, key: str) -> bytes:
        found = self.read(key)
        assert found is not None
        return found.data

    def shown(self, folder: Path) -> list[Any]:
        """Query the copy of the newest snapshot."""
        assert self.data(COPY) == self.data(self.pointer().duckdb)
        self.download(COPY, folder / "copy.duckdb")
        with duckdb.connect(folder / "copy.duckdb", read_only=True) as con:
            (path,) = con.execute("select path from _files").fetchone() or ("",)
        self.download(path, folder / "orders.parquet")
        return duckdb.execute(f"select generation from '{folder}/orders.parquet'").fetchall()


@pytest.fixture(scope="module")
def two_snapshots() -> Bucket:
    """What tests begin with; they work on copies."""
    bucket = Bucket()
    for generation in (1, 2):
        bucket.publish(generation)
        assert bucket.rebuild().status == "published"
    return bucket


@pytest.fixture
def bucket(two_snapshots: Bucket) -> Bucket:
    bucket = Bucket()
    bucket.hold(two_snapshots)
    return bucket


def test_the_tables_are_rolled_back_until_the_source_publishes_again(bucket: Bucket, tmp_path: Path) -> None:
    answer = bucket.roll_back(1)
    assert (answer.status, answer.snapshot, answer.tables) == ("published", 3, 1)
    assert bucket.rebuild().status == "unchanged"
    assert bucket.shown(tmp_path) == [(1,)]
    bucket.publish(3)
    assert bucket.rebuild().snapshot == 4
    assert bucket.shown(tmp_path) == [(3,)]


def test_no_two_snapshots_have_the_same_bytes(bucket: Bucket) -> None:
    """On S3 the same bytes have the same version, and a builder that woke up late could not tell what came between."""
    files = [bucket.pointer().duckdb]
    for number in (1, 1, 2):
        bucket.roll_back(number)
        files.append(bucket.pointer().duckdb)
    assert len({bucket.data(file) for file in files}) == 4


def test_extracts_published_meanwhile_are_built(bucket: Bucket, tmp_path: Path) -> None:
    """Its trigger finds the lease held, and goes away."""
    triggered: list[str] = []

    def publish() -> None:
        bucket.publish(3)
        triggered.append(bucket.rebuild().status)

    bucket.before[CURRENT] = publish
    assert bucket.roll_back(1).snapshot == 3
    assert triggered == ["running"]
    assert bucket.pointer().snapshot == 4
    assert bucket.shown(tmp_path) == [(3,)]


def test_a_rollback_holds_when_later_extracts_cannot_be_built(bucket: Bucket, tmp_path: Path) -> None:
    bucket.before[COPY] = lambda: setattr(bucket, "is_down", True)
    assert bucket.roll_back(1).snapshot == 3
    assert bucket.shown(tmp_path) == [(1,)]


def test_a_rollback_is_refused_during_a_rebuild_or_to_a_missing_snapshot(bucket: Bucket) -> None:
    refused: list[str] = []

    def try_it() -> None:
        with pytest.raises(ConflictError, match="a rebuild is running") as error:
            bucket.roll_back(1)
        refused.append(error.value.code)

    bucket.before[CURRENT] = try_it
    bucket.publish(3)
    assert bucket.rebuild().snapshot == 3
    assert refused == ["conflict"]
    with pytest.raises(NotFoundError, match="no snapshot 9"):
        bucket.roll_back(9)


def test_held_back_sources_are_listed_and_can_be_released(bucket: Bucket) -> None:
    assert bucket.roll_back(1).held_back == ("shop",)
    (held,) = bucket.catalog().held_back
    assert (held.source, held.snapshot, held.since) == ("shop", 1, NOW)
    assert bucket.rebuild().held_back == ("shop",)
    bucket.publish_to("other")
    assert bucket.rebuild().held_back == ("shop",), "another source's publish releases nothing"
    with pytest.raises(NotFoundError, match="'other' is not held back by a rollback; held back: shop"):
        release(bucket.rebuilding, frozenset({"other"}))
    released = release(bucket.rebuilding, frozenset({"shop"}))
    assert (released.status, released.held_back) == ("published", ())
    assert bucket.catalog().held_back == ()
    assert {table.id: table.version for table in bucket.catalog().tables} == {"other.orders": 1, "shop.orders": 2}
    assert release(bucket.rebuilding, None).status == "unchanged"


def test_a_source_that_publishes_again_is_no_longer_held_back(bucket: Bucket) -> None:
    bucket.roll_back(1)
    bucket.publish(3)
    assert bucket.rebuild().held_back == ()


def test_a_rollback_to_the_newest_snapshot_holds_nothing_back(bucket: Bucket) -> None:
    bucket.roll_back(1)
    assert bucket.roll_back(2).held_back == ()
    assert bucket.roll_back(1).held_back == ("shop",)
    assert bucket.roll_back(3).held_back == ("shop",), "snapshot 3 was itself a rollback"
    assert bucket.roll_back(4).held_back == ()


def test_a_dry_run_reports_what_would_be_missing_and_held_back_and_changes_nothing(bucket: Bucket) -> None:
    bucket.publish_to("other")
    bucket.rebuild()
    before = {entry.key: entry.version for entry in bucket.list("")}
    report = roll_back(bucket.rebuilding, 1, dry_run=True)
    assert {entry.key: entry.version for entry in bucket.list("")} == before
    assert (report.status, report.dry_run, report.tables) == ("unchanged", True, 1)
    assert (report.missing, report.held_back) == (("other.orders",), ("other", "shop"))
    assert [(one.table, one.change, one.rows_before, one.rows_after) for one in report.changes] == [
        ("other.orders", "removed", 1, None),
        ("shop.orders", "changed", 1, 1),
    ]
    done = bucket.roll_back(1)
    assert (done.missing, done.held_back, done.changes) == (report.missing, report.held_back, report.changes)
    assert roll_back(bucket.rebuilding, 4, dry_run=True).changes == ()
    back = roll_back(bucket.rebuilding, 3, dry_run=True).changes
    assert [(one.table, one.change) for one in back] == [("other.orders", "added"), ("shop.orders", "changed")]
    assert release(bucket.rebuilding, None).tables == 2


def test_a_snapshot_whose_files_are_gone_is_refused_with_its_tables(bucket: Bucket) -> None:
    (table,) = read_catalog(bucket, Snapshots(bucket).key_of(1)).tables
    bucket.delete(table.files[0].path)
    before = bucket.pointer()
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match=r"snapshot 1 can't be published again: .*shop.orders \(1\)"):
            roll_back(bucket.rebuilding, 1, dry_run=dry_run)
    assert bucket.pointer() == before


def test_a_rollback_to_a_snapshot_deleted_meanwhile_is_refused(bucket: Bucket) -> None:
    """A sweep deletes the snapshot first, then reads what is needed: it may not have seen the new one."""
    key = Snapshots(bucket).key_of(1)
    before = bucket.pointer()
    bucket.before_any = lambda put: bucket.delete(key) if put.endswith(CATALOG_SUFFIX) else None
    with pytest.raises(NotFoundError, match="a sweep has just deleted it"):
        bucket.roll_back(1)
    assert bucket.pointer() == before


@pytest.mark.parametrize("is_registered_anew", [True, False])
def test_tables_of_registrations_that_have_ended_are_named_and_not_shown(
    bucket: Bucket, tmp_path: Path, *, is_registered_anew: bool
) -> None:
    """The rows of then belong to nobody any more; those of the present registration stay."""
    bucket.publish_to("crm")
    bucket.rebuild()
    ended = bucket.catalog().built_at
    bucket.publish(3)
    bucket.rebuild()
    newest = next(table for table in bucket.catalog().tables if table.id == "shop.orders")

    def is_of_now(table: Table, built_at: datetime) -> bool:
        assert built_at == ended
        return table.source != "shop" or (is_registered_anew and table == newest)

    rebuilding = Rebuild(bucket, lambda: NOW, tuple, of_now=lambda: is_of_now)
    expected = ("crm.orders", "shop.orders") if is_registered_anew else ("crm.orders",)
    planned, done = roll_back(rebuilding, 3, dry_run=True), roll_back(rebuilding, 3)
    for answer in (planned, done):
        assert (answer.tables, answer.missing) == (len(expected), ("shop.orders",))
    assert tuple(table.id for table in bucket.catalog().tables) == expected
    if is_registered_anew:
        assert newest in bucket.catalog().tables
    bucket.download(bucket.pointer().duckdb, tmp_path / "newest.duckdb")
    with duckdb.connect(tmp_path / "newest.duckdb", read_only=True) as con:
        views = con.execute(
            "select count(*) from duckdb_views() where not internal and schema_name = 'main'"
        ).fetchone()
    assert views == (len(expected),)
    assert bucket.rebuild().status == "unchanged"
