"""Answers of S3 that are lost, cut off or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analyst.errors import SettingsError, UnavailableError
from analyst.store import ABSENT, ANY, Object, Store, StoreConflictError, UnsureWriteError
from analyst.store.compare_and_swap import swap
from analyst.store.s3.store import S3Store
from tests.doubles.s3 import Drop, Fault, FaultyS3, Refusal, clients_of, new_store

SLOW_DOWN = Refusal(503, "SlowDown")
RACE = Refusal(409, "ConditionalRequestConflict")
TOO_MANY = Refusal(429, "TooManyRequests")
LOST: list[Fault] = [Drop.BEFORE, Drop.AFTER, SLOW_DOWN, Refusal(500, "InternalError", after=True)]


@pytest.fixture
def store(server: FaultyS3) -> S3Store:
    return new_store(server)


def held(store: Store, key: str) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("start", [None, b"1"])
def test_a_write_without_an_answer_is_sent_once_and_is_unsure(
    store: S3Store, faulty: FaultyS3, fault: Fault, start: bytes | None
) -> None:
    version = ABSENT if start is None else store.put("a", start, if_version=ABSENT)
    faulty.requests.clear()
    faulty.faults.append(fault)
    with pytest.raises(UnsureWriteError, match="writing a "):
        store.put("a", b"2", if_version=version)
    assert [method for method, _ in faulty.requests] == ["PUT"]
    happened = fault is Drop.AFTER or (isinstance(fault, Refusal) and fault.after)
    assert held(store, "a") == (b"2" if happened else start)


def test_a_write_that_was_never_sent_is_repeated_and_not_unsure(server: FaultyS3) -> None:
    waits = list[float]()
    with pytest.raises(UnavailableError) as caught:
        new_store(server, endpoint="http://127.0.0.1:1", sleep=waits.append).put("a", b"1", if_version=ABSENT)
    assert not isinstance(caught.value, UnsureWriteError)
    assert len(waits) == 3


@pytest.mark.parametrize("fault", [RACE, TOO_MANY])
def test_a_write_that_did_not_happen_is_sent_again(faulty: FaultyS3, fault: Fault) -> None:
    waits = list[float]()
    store = new_store(faulty, sleep=waits.append)
    faulty.faults.extend([fault, fault])
    version = store.put("a", b"1", if_version=ABSENT)
    faulty.faults.append(fault)
    store.put("a", b"2", if_version=version)
    assert held(store, "a") == b"2"
    assert len(waits) == 3
    assert all(0.1 < wait < 1 for wait in waits)


def test_a_write_that_always_conflicts_fails_and_did_not_happen(store: S3Store, faulty: FaultyS3) -> None:
    faulty.faults.extend([RACE] * 4)
    with pytest.raises(UnavailableError, match="other processes write to it") as caught:
        store.put("a", b"1", if_version=ABSENT)
    assert not isinstance(caught.value, UnsureWriteError)
    assert held(store, "a") is None


@pytest.mark.parametrize("fault", [*LOST, RACE])
def test_an_upload_without_an_answer_is_looked_up(
    store: S3Store, faulty: FaultyS3, tmp_path: Path, fault: Fault
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 999)
    faulty.faults.extend([fault, fault] if fault is not Drop.AFTER else [fault])
    version = store.upload("a", tmp_path / "file")
    found = store.read("a")
    assert found is not None
    assert (found.data, found.version) == (bytes(range(256)) * 999, version)


def test_an_upload_overtaken_by_another_is_a_conflict(faulty: FaultyS3, tmp_path: Path) -> None:
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


def test_reading_resumes_when_an_answer_is_lost_or_cut(store: S3Store, faulty: FaultyS3, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    store.put("a", data, if_version=ABSENT)
    faulty.faults.extend([SLOW_DOWN, Drop.WITHIN, Drop.WITHIN])
    assert held(store, "a") == data
    faulty.faults.extend([Drop.WITHIN, Drop.WITHIN])
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_an_unreachable_server_is_unavailable(server: FaultyS3) -> None:
    waits = list[float]()
    with pytest.raises(UnavailableError, match="reading a failed"):
        new_store(server, endpoint="http://127.0.0.1:1", sleep=waits.append).read("a")
    assert waits == []


def test_a_download_that_breaks_off_each_time_leaves_the_earlier_file(
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
def test_a_missing_bucket_is_an_error_of_the_settings(server: FaultyS3, call: Callable[[S3Store], object]) -> None:
    with pytest.raises(SettingsError, match=r"DATA_URL: .* s3://nowhere failed \(NoSuchBucket\): .* create it"):
        call(S3Store("nowhere", "", clients_of(server)))


@pytest.mark.parametrize("call", [*CALLS, lambda store: store.delete("a"), lambda store: store.head("a")])
def test_refused_access_is_an_error_of_the_settings(
    store: S3Store, faulty: FaultyS3, call: Callable[[S3Store], object]
) -> None:
    faulty.faults.append(Refusal(403, "AccessDenied"))
    with pytest.raises(SettingsError, match=r"DATA_URL: .* access is denied \((AccessDenied|403)\); .* s3:PutObject"):
        call(store)


def test_a_server_without_conditional_writes_is_refused(store: S3Store, faulty: FaultyS3) -> None:
    faulty.faults.append(Refusal(501, "NotImplemented"))
    with pytest.raises(SettingsError, match="does not support conditional writes"):
        store.put("a", b"1", if_version=ABSENT)


def test_a_change_whose_answer_was_lost_is_found(store: S3Store, faulty: FaultyS3) -> None:
    def add(current: Object | None) -> bytes:
        return (current.data if current else b"") + b"mine;"

    for fault in LOST:
        faulty.faults.extend([None, fault])
        before = held(store, "a") or b""
        swap(store, "a", add, done=lambda found, before=before: found.data == before + b"mine;", pauses=[0.0] * 3)  # type: ignore[misc]
    assert held(store, "a") == b"mine;" * len(LOST)
