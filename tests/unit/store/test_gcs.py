from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import runs
from analyst.catalog import Pointer
from analyst.contract.extraction import Extraction
from analyst.errors import AnalystError
from analyst.lease import acquire
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ABSENT, ANY, Store
from analyst.store.gcs.client import Pace
from analyst.store.gcs.store import GsStore
from tests.doubles.gcs import Fault, Gcs
from tests.doubles.toy_source import Toy, ToyTable
from tests.unit.store.suite import StoreSuite

AT_ONCE = Pace(read=0.0, write=0.0, longest=0.0)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(client: Any) -> GsStore:
    return GsStore("bucket", "", client, pace=AT_ONCE)


class TestGsStore(StoreSuite):
    @pytest.fixture
    def new_store(self, gcs: Gcs, client: Any) -> Callable[[], Store]:
        buckets = (f"bucket{number}" for number in count())

        def new() -> Store:
            gcs.buckets[bucket := next(buckets)] = {}
            return GsStore(bucket, "", client, pace=AT_ONCE)

        return new


class TestGsStoreBelowAPrefix(StoreSuite):
    @pytest.fixture
    def new_store(self, client: Any) -> Callable[[], Store]:
        prefixes = (f"deep/p{number}" for number in count())
        return lambda: GsStore("bucket", next(prefixes), client, pace=AT_ONCE)


def test_a_request_that_is_wrong_is_not_repeated(gcs: Gcs, store: GsStore) -> None:
    gcs.faults.append(Fault("insert", 400))
    with pytest.raises(AnalystError, match="answered 400") as caught:
        store.put("a", b"1", if_version=ANY)
    assert not caught.value.retryable


def test_ages_are_those_of_the_services_clock(gcs: Gcs, store: GsStore) -> None:
    gcs.ahead = 86_400.0
    version = store.put("a", b"1", if_version=ABSENT)
    gcs.ahead += 600
    found, had, head, (entry,) = store.read("a"), store.read("a", unless=version), store.head("a"), store.list("")
    assert found is not None
    assert had is not None
    assert head is not None
    assert all(598 <= age <= 602 for age in (found.age, had.age, head.age, entry.age))
    gcs.ahead -= 3600
    found = store.read("a")
    assert found is not None
    assert found.age == 0


def test_a_known_object_takes_one_request_and_no_data(gcs: Gcs, store: GsStore) -> None:
    version = store.put("a", b"1", if_version=ABSENT)
    had = store.read("a", unless=version)
    assert had is not None
    assert (had.data, had.version) == (b"", version)
    assert (gcs.counts["media"], gcs.sent["media"]) == (1, 0)
    for unknown in ("", "0", "an ETag of elsewhere"):
        found = store.read("a", unless=unknown)
        assert found is not None
        assert found.data == b"1"


def test_every_call_makes_the_fewest_requests(gcs: Gcs, store: GsStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    for call, taken in (
        (lambda: store.put("a", b"1", if_version=ABSENT), {"insert": 1}),
        (lambda: store.upload("b", tmp_path / "file"), {"insert": 1}),
        (lambda: store.read("a"), {"media": 1}),
        (lambda: store.read("c"), {"media": 1}),
        (lambda: store.download("a", tmp_path / "copy"), {"media": 1}),
        (lambda: store.head("a"), {"get": 1}),
        (lambda: list(store.list("")), {"list": 1}),
        (lambda: store.sign("a", expires=9, filename="f"), {}),
        (lambda: store.delete("a"), {"get": 1, "delete": 1}),
    ):
        gcs.counts.clear()
        call()
        assert gcs.counts == taken


def test_a_listing_requests_only_the_pages_that_are_read(gcs: Gcs, store: GsStore) -> None:
    for number in range(7):
        store.put(f"a/{number}", b"1", if_version=ABSENT)
    gcs.page, entries = 3, iter(store.list("a/"))
    assert [entry.key for entry in islice(entries, 3)] == ["a/0", "a/1", "a/2"]
    assert gcs.counts["list"] == 1
    store.read("a/0")
    assert [entry.key for entry in entries] == ["a/3", "a/4", "a/5", "a/6"]
    assert gcs.counts["list"] == 3


def test_objects_without_a_valid_key_are_ignored(client: Any, store: GsStore) -> None:
    for name in ("folder/", "a//b", "/a", ".store/lock", "a\\b", "base", "base/", "base/x/", "base/x/y", "basement"):
        client.bucket("bucket").blob(name).upload_from_string(b"1")
    assert [entry.key for entry in store.list("")] == ["base", "base/x/y", "basement"]
    below = GsStore("bucket", "/base/", client)
    assert (below.url, [entry.key for entry in below.list("")]) == ("gs://bucket/base", ["x/y"])
    assert list(below.list_folders("")) == ["x"]


def test_a_source_reaches_the_snapshot_through_the_bucket(store: GsStore, tmp_path: Path) -> None:
    toy = Toy(
        {"orders": ToyTable("select 1 as id, 9.5 as total"), "items": ToyTable("select range as id from range(3)")}
    )
    assert Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: toy).record.status == "ok"
    assert Rebuild(store, lambda: NOW, tuple).run().status == "published"
    catalog = Snapshots(store).current().catalog
    assert sorted(table.id for table in catalog.tables) == ["shop.items", "shop.orders"]
    found = store.read("analytics/current.json")
    assert found is not None
    store.download(Pointer.model_validate_json(found.data).duckdb, tmp_path / "analytics.duckdb")
    for table in catalog.tables:
        for file in table.files:
            (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
            store.download(file.path, tmp_path / file.path)
    with duckdb.connect(tmp_path / "analytics.duckdb", read_only=True) as con:
        con.execute(f"set variable data_root = '{tmp_path}'")
        assert con.execute("select count(*), any_value(total) from items, orders").fetchall() == [(3, 9.5)]


@pytest.mark.parametrize("per_second", [1e6, 1e3, 1.0, 1e9, 0.0])
def test_ages_are_right_whatever_a_servers_generations_mean(gcs: Gcs, client: Any, per_second: float) -> None:
    """Google's are times in µs; those of its storage test bench are times in ms, others just count."""
    gcs.per_second = per_second
    store = GsStore("bucket", "", client)
    version = store.put("a", b"1", if_version=ABSENT)
    gcs.ahead = 40.0
    gcs.counts.clear()
    same, read = store.read("a", unless=version), store.read("a")
    assert same is not None
    assert read is not None
    assert 39 < same.age < 60
    assert 39 < read.age < 60
    assert gcs.counts["get"] == (0 if per_second == 1e6 else 1), "the object is asked for where the version is no time"


@pytest.mark.parametrize("per_second", [1e6, 1e3, 0.0])
def test_a_lease_is_taken_over_only_when_it_has_lapsed(gcs: Gcs, client: Any, per_second: float) -> None:
    gcs.per_second = per_second
    store = GsStore("bucket", "", client, sleep=lambda _: None)
    first = acquire(store, "rebuild")
    assert first is not None
    with first:
        assert acquire(store, "rebuild") is None
        gcs.ahead = 36.0
        second = acquire(store, "rebuild")
        assert second is not None
        second.release()
