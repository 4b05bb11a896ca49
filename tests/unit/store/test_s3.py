"""S3 as a bucket: what every store does, and the effects of its keys, listings, clocks and URLs."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.errors import InvalidInputError, LeaseLostError
from analyst.lease import acquire
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ABSENT, ANY, Store, StoreConflictError
from analyst.store.s3.store import S3Store
from tests.doubles.s3 import BUCKET, FaultyS3, client, clients_of, new_store
from tests.doubles.toy_source import Toy, ToyTable
from tests.unit.store.suite import StoreSuite


@pytest.fixture
def store(server: FaultyS3) -> S3Store:
    return new_store(server)


class TestS3Store(StoreSuite):
    content_names_versions = True
    signed_by = "X-Amz-Credential"
    examples = 8

    @pytest.fixture
    def new_store(self, server: FaultyS3) -> Callable[[], Store]:
        return lambda: new_store(server)


def test_without_a_prefix_the_keys_are_the_names_of_the_objects(server: FaultyS3) -> None:
    client(server).create_bucket(Bucket="whole")
    store = S3Store("whole", "", clients_of(server))
    store.put("a/b", b"1", if_version=ABSENT)
    assert client(server).get_object(Bucket="whole", Key="a/b")["Body"].read() == b"1"
    assert (store.url, [entry.key for entry in store.list("")]) == ("s3://whole", ["a/b"])


def test_a_store_with_a_prefix_sees_only_its_objects(store: S3Store, server: FaultyS3) -> None:
    prefix = store.url.removeprefix(f"s3://{BUCKET}/")
    for name in (f"{prefix}-2/a", f"{prefix}", f"{prefix}/", f"{prefix}/.store/a", f"{prefix}/x//y", f"{prefix}/b/"):
        client(server).put_object(Bucket=BUCKET, Key=name, Body=b"theirs")
    store.put("a", b"mine", if_version=ABSENT)
    assert [entry.key for entry in store.list("")] == ["a"]
    assert list(store.list_folders("")) == ["b", "x"]


def test_a_key_that_is_too_long_with_its_prefix_is_refused(store: S3Store) -> None:
    with pytest.raises(InvalidInputError, match="prefix"):
        store.put("/".join(["x" * 200] * 5), b"1", if_version=ANY)


def test_a_long_listing_requests_its_pages_as_they_are_read(faulty: FaultyS3) -> None:
    store = new_store(faulty, page=2)
    keys = ["a/1", "a/2", "b/1", "c", "d"]
    for key in keys:
        store.put(key, b"1", if_version=ANY)
    faulty.requests.clear()
    entries = iter(store.list(""))
    assert [next(entries).key, len(faulty.requests)] == ["a/1", 1]
    assert [entry.key for entry in entries] == keys[1:]
    assert len(faulty.requests) == 3
    assert list(store.list_folders("")) == ["a", "b"]


def test_ages_are_measured_by_the_clock_of_the_server(store: S3Store, faulty: FaultyS3) -> None:
    version = store.put("a", b"1", if_version=ABSENT)
    faulty.ahead = 3600.0
    (entry,), head = store.list(""), store.head("a")
    whole, same = store.read("a"), store.read("a", unless=version)
    faulty.ahead = 0.0
    for found in (entry, head, whole, same):
        assert found is not None
        assert 3599 <= found.age <= 3620
    faulty.ahead = -3600.0
    early = store.head("a")
    faulty.ahead = 0.0
    assert early is not None
    assert early.age == 0.0


def test_a_known_version_is_not_sent_again(store: S3Store, faulty: FaultyS3) -> None:
    version = store.put("a", bytes(1000), if_version=ABSENT)
    faulty.requests.clear()
    store.read("a", unless=version)
    assert faulty.requests[0][0] == "GET"
    assert faulty.sent[-len(faulty.requests)] == 0


def test_a_signed_url_returns_the_object_under_its_name(server: FaultyS3) -> None:
    store = new_store(server, public_endpoint=server.url.replace("127.0.0.1", "localhost"))
    store.put("data/a b.parquet", b"PAR1", if_version=ABSENT)
    url = store.sign("data/a b.parquet", expires=90, filename='orders "č".parquet')
    query = parse_qs(urlsplit(url).query)
    assert urlsplit(url).hostname == "localhost"
    assert query["X-Amz-Expires"] == ["90"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    with urlopen(url) as answer:
        assert answer.read() == b"PAR1"
        disposition = answer.headers["Content-Disposition"]
    assert disposition == "attachment; filename=\"orders ___.parquet\"; filename*=UTF-8''orders%20%22%C4%8D%22.parquet"


def test_the_same_bytes_written_again_after_others_have_their_old_version(store: S3Store) -> None:
    first = store.put("a", b"1", if_version=ABSENT)
    second = store.put("a", b"2", if_version=first)
    assert store.put("a", b"1", if_version=second) == first
    store.put("a", b"3", if_version=first)
    with pytest.raises(StoreConflictError, match="has changed"):
        store.put("a", b"4", if_version="*")


def test_a_file_too_large_for_one_request_is_refused(store: S3Store, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate((5 << 30) + 1)
    with pytest.raises(InvalidInputError, match="larger than 5 GB"):
        store.upload("a", tmp_path / "file")


def test_a_lease_is_held_by_one_at_a_time(server: FaultyS3, store: S3Store) -> None:
    first = acquire(store, "rebuild")
    assert first is not None
    with first:
        assert acquire(store, "rebuild") is None
        first.check()
        server.ahead = 3600.0
        second = acquire(store, "rebuild")
        server.ahead = 0.0
        assert second is not None
        with second, pytest.raises(LeaseLostError):
            first.check()
        assert second.epoch == 2


def test_tables_extracted_and_rebuilt_in_s3_are_read_from_s3(store: S3Store) -> None:
    def clock() -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def extract(total: float) -> None:
        toy = Toy({"orders": ToyTable(f"select 1 as id, {total} as total", str(total))})
        assert Extraction(store, "shop", runs.new_run_id(), clock).run(lambda: toy).record.status == "ok"
        assert Rebuild(store, clock, list).run().status == "published"

    extract(9.5)
    extract(10.5)
    assert Rebuild(store, clock, list).run().status == "unchanged"
    current = Snapshots(store).current()
    (table,) = current.catalog.tables
    (file,) = table.files
    assert (table.id, table.view, table.rows) == ("shop.orders", "orders", 1)
    with urlopen(store.sign(file.path, expires=60, filename="orders.parquet")) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == file.sha256
