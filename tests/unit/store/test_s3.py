import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.errors import InvalidInputError, LeaseLostError, SettingsError, UnavailableError
from analyst.lease import acquire
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ABSENT, ANY, Object, Store, StoreConflictError, UnsureWriteError
from analyst.store.s3 import S3Store
from analyst.store.swapping import swap
from tests.doubles.s3 import BUCKET, Drop, Fault, FaultyS3, Refusal, client, clients_of, new_store, serving
from tests.doubles.toy_source import Toy, ToyTable
from tests.unit.store.suite import StoreSuite

SLOW_DOWN = Refusal(503, "SlowDown")
RACE = Refusal(409, "ConditionalRequestConflict")
TOO_MANY = Refusal(429, "TooManyRequests")
LOST: list[Fault] = [Drop.BEFORE, Drop.AFTER, SLOW_DOWN, Refusal(500, "InternalError", after=True)]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serving() as running:
        yield running


@pytest.fixture
def faulty(server: FaultyS3) -> Iterator[FaultyS3]:
    server.requests.clear()
    yield server
    left = list(server.faults)
    server.faults.clear()
    assert left == []


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


def held(store: Store, key: str) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


def test_without_a_prefix_the_keys_are_the_objects_names(server: FaultyS3) -> None:
    client(server).create_bucket(Bucket="whole")
    store = S3Store("whole", "", clients_of(server))
    store.put("a/b", b"1", if_version=ABSENT)
    assert client(server).get_object(Bucket="whole", Key="a/b")["Body"].read() == b"1"
    assert (store.url, [entry.key for entry in store.list("")]) == ("s3://whole", ["a/b"])


def test_what_is_below_a_prefix_is_all_there_is(store: S3Store, server: FaultyS3) -> None:
    prefix = store.url.removeprefix(f"s3://{BUCKET}/")
    for name in (f"{prefix}-2/a", f"{prefix}", f"{prefix}/", f"{prefix}/.store/a", f"{prefix}/x//y", f"{prefix}/b/"):
        client(server).put_object(Bucket=BUCKET, Key=name, Body=b"theirs")
    store.put("a", b"mine", if_version=ABSENT)
    assert [entry.key for entry in store.list("")] == ["a"]
    assert list(store.list_folders("")) == ["b", "x"]


def test_a_key_that_is_too_long_with_its_prefix_is_refused(store: S3Store) -> None:
    with pytest.raises(InvalidInputError, match="prefix"):
        store.put("/".join(["x" * 200] * 5), b"1", if_version=ANY)


def test_a_long_listing_comes_in_pages_as_they_are_reached(faulty: FaultyS3) -> None:
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


def test_ages_are_those_of_the_servers_clock(store: S3Store, faulty: FaultyS3) -> None:
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


def test_what_the_caller_has_is_not_sent_again(store: S3Store, faulty: FaultyS3) -> None:
    version = store.put("a", bytes(1000), if_version=ABSENT)
    faulty.requests.clear()
    store.read("a", unless=version)
    assert faulty.requests[0][0] == "GET"
    assert faulty.sent[-len(faulty.requests)] == 0


def test_a_signed_url_gives_the_object_under_its_name(server: FaultyS3) -> None:
    store = new_store(server, public_endpoint=server.url.replace("127.0.0.1", "localhost"))
    store.put("data/a b.parquet", b"PAR1", if_version=ABSENT)
    url = store.sign("data/a b.parquet", expires=90, filename='orders "č".parquet')
    query = parse_qs(urlsplit(url).query)
    assert urlsplit(url).hostname == "localhost"
    assert query["X-Amz-Expires"] == ["90"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    with urlopen(url) as answer:
        assert answer.read() == b"PAR1"
        said = answer.headers["Content-Disposition"]
    assert said == "attachment; filename=\"orders ___.parquet\"; filename*=UTF-8''orders%20%22%C4%8D%22.parquet"


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("start", [None, b"1"])
def test_a_write_without_an_answer_is_sent_once_and_is_unsure(
    store: S3Store, faulty: FaultyS3, fault: Fault, start: bytes | None
) -> None:
    version = ABSENT if start is None else store.put("a", start, if_version=ABSENT)
    faulty.requests.clear()
    faulty.faults.append(fault)
    with pytest.raises(UnsureWriteError, match="writing a got no"):
        store.put("a", b"2", if_version=version)
    assert [method for method, _ in faulty.requests] == ["PUT"]
    happened = fault is Drop.AFTER or (isinstance(fault, Refusal) and fault.after)
    assert held(store, "a") == (b"2" if happened else start)


def test_a_write_that_never_left_is_sent_again_and_no_unsure_one(server: FaultyS3) -> None:
    waits = list[float]()
    with pytest.raises(UnavailableError) as caught:
        new_store(server, endpoint="http://127.0.0.1:1", sleep=waits.append).put("a", b"1", if_version=ABSENT)
    assert not isinstance(caught.value, UnsureWriteError)
    assert len(waits) == 3


@pytest.mark.parametrize("fault", [RACE, TOO_MANY])
def test_a_write_that_has_not_happened_is_sent_again(faulty: FaultyS3, fault: Fault) -> None:
    waits = list[float]()
    store = new_store(faulty, sleep=waits.append)
    faulty.faults.extend([fault, fault])
    version = store.put("a", b"1", if_version=ABSENT)
    faulty.faults.append(fault)
    store.put("a", b"2", if_version=version)
    assert held(store, "a") == b"2"
    assert len(waits) == 3
    assert all(0.1 < wait < 1 for wait in waits)


def test_a_write_that_always_meets_others_is_given_up_and_has_not_happened(store: S3Store, faulty: FaultyS3) -> None:
    faulty.faults.extend([RACE] * 4)
    with pytest.raises(UnavailableError, match="others write to it") as caught:
        store.put("a", b"1", if_version=ABSENT)
    assert not isinstance(caught.value, UnsureWriteError)
    assert held(store, "a") is None


def test_the_same_bytes_after_others_have_their_old_version_again(store: S3Store) -> None:
    first = store.put("a", b"1", if_version=ABSENT)
    second = store.put("a", b"2", if_version=first)
    assert store.put("a", b"1", if_version=second) == first
    store.put("a", b"3", if_version=first)
    with pytest.raises(StoreConflictError, match="has changed"):
        store.put("a", b"4", if_version="*")


@pytest.mark.parametrize("fault", [*LOST, RACE])
def test_an_upload_without_an_answer_is_settled(store: S3Store, faulty: FaultyS3, tmp_path: Path, fault: Fault) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 999)
    faulty.faults.extend([fault, fault] if fault is not Drop.AFTER else [fault])
    version = store.upload("a", tmp_path / "file")
    found = store.read("a")
    assert found is not None
    assert (found.data, found.version) == (bytes(range(256)) * 999, version)


def test_an_upload_that_another_overtook_conflicts(faulty: FaultyS3, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    store = new_store(faulty, sleep=lambda _: theirs())

    def theirs() -> None:
        store.put("a", b"1", if_version=ABSENT)

    faulty.faults.append(Drop.BEFORE)
    with pytest.raises(StoreConflictError):
        store.upload("a", tmp_path / "file")


def test_an_upload_that_is_never_answered_is_unsure(store: S3Store, faulty: FaultyS3, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    faulty.faults.extend([Drop.BEFORE] * 4)
    with pytest.raises(UnsureWriteError):
        store.upload("a", tmp_path / "file")


def test_a_file_beyond_what_one_request_takes_is_refused(store: S3Store, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate((5 << 30) + 1)
    with pytest.raises(InvalidInputError, match="more than 5 GB"):
        store.upload("a", tmp_path / "file")


def test_reading_goes_on_when_an_answer_is_lost_or_breaks_off(store: S3Store, faulty: FaultyS3, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    store.put("a", data, if_version=ABSENT)
    faulty.faults.extend([SLOW_DOWN, Drop.WITHIN, Drop.WITHIN])
    assert held(store, "a") == data
    faulty.faults.extend([Drop.WITHIN, Drop.WITHIN])
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_a_server_that_is_not_there_is_unavailable(server: FaultyS3) -> None:
    waits = list[float]()
    with pytest.raises(UnavailableError, match="reading a failed"):
        new_store(server, endpoint="http://127.0.0.1:1", sleep=waits.append).read("a")
    assert waits == []


def test_a_download_that_breaks_off_each_time_leaves_what_was_there(
    store: S3Store, faulty: FaultyS3, tmp_path: Path
) -> None:
    (tmp_path / "copy").write_bytes(b"older")
    store.put("a", bytes(1000), if_version=ABSENT)
    faulty.faults.extend([Drop.WITHIN] * 4)
    with pytest.raises(UnavailableError, match="reading a failed"):
        store.download("a", tmp_path / "copy")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("copy", b"older")]


CALLS: list[Callable[[S3Store], object]] = [
    lambda store: store.read("a"),
    lambda store: store.put("a", b"1", if_version=ABSENT),
    lambda store: store.put("a", b"1", if_version="0"),
    lambda store: store.put("a", b"1", if_version=ANY),
    lambda store: list(store.list("")),
    lambda store: store.list_folders(""),
]


@pytest.mark.parametrize("call", [*CALLS, lambda store: store.delete("a")])
def test_a_bucket_that_is_not_there_is_a_matter_of_settings(
    server: FaultyS3, call: Callable[[S3Store], object]
) -> None:
    with pytest.raises(SettingsError, match=r"DATA_URL: .* s3://nowhere failed \(NoSuchBucket\): .* make it"):
        call(S3Store("nowhere", "", clients_of(server)))


@pytest.mark.parametrize("call", [*CALLS, lambda store: store.delete("a"), lambda store: store.head("a")])
def test_what_is_forbidden_is_a_matter_of_settings(
    store: S3Store, faulty: FaultyS3, call: Callable[[S3Store], object]
) -> None:
    faulty.faults.append(Refusal(403, "AccessDenied"))
    with pytest.raises(SettingsError, match=r"DATA_URL: .* is forbidden \((AccessDenied|403)\): .* s3:PutObject"):
        call(store)


def test_a_server_without_conditional_writes_is_refused(store: S3Store, faulty: FaultyS3) -> None:
    faulty.faults.append(Refusal(501, "NotImplemented"))
    with pytest.raises(SettingsError, match="no conditional writes"):
        store.put("a", b"1", if_version=ABSENT)


def test_a_change_whose_answer_was_lost_is_found(store: S3Store, faulty: FaultyS3) -> None:
    def add(current: Object | None) -> bytes:
        return (current.data if current else b"") + b"mine;"

    for fault in LOST:
        faulty.faults.extend([None, fault])
        before = held(store, "a") or b""
        swap(store, "a", add, done=lambda found, before=before: found.data == before + b"mine;", pauses=[0.0] * 3)  # type: ignore[misc]
    assert held(store, "a") == b"mine;" * len(LOST)


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


def test_what_is_extracted_and_rebuilt_there_is_read_from_there(store: S3Store) -> None:
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
