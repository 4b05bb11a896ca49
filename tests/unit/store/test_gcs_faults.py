import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from google.auth import exceptions

from analyst.errors import SettingsError, UnavailableError
from analyst.store import ABSENT, StoreConflictError, UnsureWriteError
from analyst.store.compare_and_swap import swap
from analyst.store.gcs.client import PACE, Pace
from analyst.store.gcs.store import GsStore
from tests.doubles.gcs import Fault, Gcs, running
from tests.doubles.gcs_accounts import Running

AT_ONCE = Pace(read=0.0, write=0.0, longest=0.0)
BIG = bytes(range(256)) * (9 << 12) + b"the end"  # more than one chunk


@pytest.fixture
def store(client: Any) -> GsStore:
    return GsStore("bucket", "", client, pace=AT_ONCE)


LOST = [Fault("insert", 500), Fault("insert", 503), Fault("insert"), Fault("insert", after=True)]
lost = pytest.mark.parametrize("fault", LOST, ids=["500", "503", "before", "after"])


@lost
def test_a_write_without_an_answer_is_unsure_and_never_repeated(gcs: Gcs, store: GsStore, fault: Fault) -> None:
    gcs.faults.append(fault)
    with pytest.raises(UnsureWriteError, match="state/current"):
        store.put("state/current.json", b"1", if_version=ABSENT)
    assert gcs.counts["insert"] == 1
    assert (store.head("state/current.json") is not None) == fault.after


@lost
@pytest.mark.parametrize("again", [None, *LOST], ids=["", "500", "503", "before", "after"])
def test_a_swap_whose_answer_was_lost_happens_once(gcs: Gcs, store: GsStore, fault: Fault, again: Fault | None) -> None:
    gcs.faults += [fault, *([again] if again else [])]

    def add(name: str) -> str:
        return swap(
            store,
            "state/current.json",
            lambda current: json.dumps([*(json.loads(current.data) if current else []), name]).encode(),
            done=lambda current: name in json.loads(current.data),
            pauses=[0.0] * 3,
        )

    first, second = add("one"), add("two")
    found = store.read("state/current.json")
    assert found is not None
    assert (json.loads(found.data), found.version) == (["one", "two"], second)
    assert first != second


def test_a_write_that_comes_too_soon_after_another_waits(gcs: Gcs, client: Any) -> None:
    waits = list[float]()
    store = GsStore("bucket", "", client, sleep=waits.append)
    gcs.faults += [Fault("insert", 429), Fault("insert", 429)]
    store.put("a", b"1", if_version=ABSENT)
    assert len(waits) == 2
    assert all(1.0 <= wait <= 8.0 for wait in waits)


def test_a_write_that_is_always_rate_limited_fails_in_the_end(gcs: Gcs, store: GsStore) -> None:
    gcs.faults += [Fault("insert", 429)] * 100
    with pytest.raises(UnavailableError, match="limits the rate of requests") as caught:
        store.put("a", b"1", if_version=ABSENT)
    assert not isinstance(caught.value, UnsureWriteError)
    assert gcs.counts["insert"] == AT_ONCE.attempts


def test_a_write_that_was_never_sent_is_repeated_and_not_unsure(tmp_path: Path) -> None:
    with running(Gcs()) as gcs:
        client = gcs.client()
    (tmp_path / "file").write_bytes(b"1")
    waits = list[float]()
    store = GsStore("bucket", "", client, sleep=waits.append)
    calls: list[Callable[[], str]] = [
        lambda: store.put("a", b"1", if_version=ABSENT),
        lambda: store.upload("a", tmp_path / "file"),
    ]
    for call in calls:
        with pytest.raises(UnavailableError, match="no response") as caught:
            call()
        assert not isinstance(caught.value, UnsureWriteError)
    assert len(waits) == 2 * (PACE.attempts - 1)


def test_pauses_grow_and_the_retries_end() -> None:
    for _ in range(100):
        pauses = list(islice(PACE.pauses(), 100))
        assert all(1.0 <= pause <= 8.0 for pause in pauses)
        assert len(pauses) == PACE.attempts - 1


BREAKS: dict[str, tuple[str, Callable[[Any, Path], bool]]] = {
    "read": ("media", lambda store, _: store.read("a/b").data == b"12345"),
    "download": ("media", lambda store, path: store.download("a/b", path) and path.read_bytes() == b"12345"),
    "head": ("get", lambda store, _: store.head("a/b").size == 5),
    "list": ("list", lambda store, _: [entry.key for entry in store.list("")] == ["a/b"]),
    "folders": ("list", lambda store, _: list(store.list_folders("")) == ["a"]),
    "delete": ("delete", lambda store, _: store.delete("a/b") or store.read("a/b") is None),
}


@pytest.mark.parametrize("call", BREAKS)
@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {}, {"after": True}, {"cut": 3}])
def test_idempotent_requests_are_retried(
    gcs: Gcs, store: GsStore, tmp_path: Path, call: str, fault: dict[str, Any]
) -> None:
    store.put("a/b", b"12345", if_version=ABSENT)
    kind, works = BREAKS[call]
    gcs.counts.clear()
    gcs.faults += [Fault(kind, **fault), Fault(kind, **fault)]
    assert works(store, tmp_path / "copy")
    assert gcs.faults == [] or (kind, fault) == ("delete", {"cut": 3})  # its answer has nothing to cut


@pytest.mark.parametrize("call", BREAKS)
def test_persistent_failures_end_as_unavailable(gcs: Gcs, client: Any, tmp_path: Path, call: str) -> None:
    store = GsStore("bucket", "", client, pace=Pace(0.0, 0.0, 0.0, patience=0.05))
    store.put("a/b", b"12345", if_version=ABSENT)
    kind, works = BREAKS[call]
    gcs.faults += [Fault(kind, 503)] * 1000
    with pytest.raises(UnavailableError):
        works(store, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("faults", [[Fault("media", flip=True)], [Fault("media", cut=9), Fault("media", flip=True)]])
def test_damaged_content_is_never_returned(gcs: Gcs, store: GsStore, tmp_path: Path, faults: list[Fault]) -> None:
    store.put("a", b"0123456789" * 9, if_version=ABSENT)
    for call in (lambda: store.read("a"), lambda: store.download("a", tmp_path / "copy")):
        gcs.faults += faults
        with pytest.raises(UnavailableError, match="checksum"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=["empty", "small", "big"])
@pytest.mark.parametrize("fault", [*LOST, Fault("insert", 429)], ids=["500", "503", "before", "after", "429"])
def test_an_upload_whose_answer_was_lost_happens_once(
    gcs: Gcs, store: GsStore, tmp_path: Path, data: bytes, fault: Fault
) -> None:
    (tmp_path / "file").write_bytes(data)
    gcs.faults += [fault, fault]
    version = store.upload("a", tmp_path / "file")
    found = store.read("a")
    assert found is not None
    assert (found.data, found.version) == (data, version)


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("status", [None, 404, 410, 503])
def test_a_large_upload_that_is_interrupted_happens_once(
    gcs: Gcs, store: GsStore, tmp_path: Path, chunk: int, status: int | None
) -> None:
    (tmp_path / "file").write_bytes(BIG)
    fault = Fault("insert", after=True, skip=chunk) if status is None else Fault("insert", status, skip=chunk)
    gcs.faults.append(fault)
    version = store.upload("a", tmp_path / "file")
    assert gcs.faults == []
    found = store.read("a")
    assert found is not None
    assert (found.data, found.version) == (BIG, version)


@pytest.mark.parametrize("data", [b"1", BIG], ids=["small", "big"])
def test_an_upload_whose_answer_was_lost_still_replaces_nothing(
    gcs: Gcs, store: GsStore, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "file").write_bytes(data)
    version = store.put("a", data, if_version=ABSENT)
    gcs.faults += [Fault("insert", 503), Fault("insert", after=True)]
    with pytest.raises(StoreConflictError, match="absent"):
        store.upload("a", tmp_path / "file")
    head = store.head("a")
    assert head is not None
    assert head.version == version


def test_wrong_settings_are_reported_with_the_remedy(gcs: Gcs, client: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")

    def refusals(store: GsStore) -> Iterator[str]:
        for call in (
            lambda: store.read("a"),
            lambda: store.head("a"),
            lambda: store.put("a", b"1", if_version=ABSENT),
            lambda: store.upload("a", tmp_path / "file"),
            lambda: store.download("a", tmp_path / "copy"),
            lambda: list(store.list("")),
            lambda: list(store.list_folders("")),
            lambda: store.delete("a"),
        ):
            with pytest.raises(SettingsError, match="DATA_URL") as caught:
                call()
            yield str(caught.value)

    assert all("gs://none does not exist; create it" in text for text in refusals(GsStore("none", "", client)))
    account = Running()
    account.token = "another"
    with gcs.client(account) as stranger:
        assert all("GOOGLE_APPLICATION" in text for text in refusals(GsStore("bucket", "", stranger, pace=AT_ONCE)))
    gcs.forbidden = True
    assert all("Storage Object Admin" in text for text in refusals(GsStore("bucket", "", client)))


auth: Any = exceptions


class Tokenless(Running):
    """An account that gets no token, for a reason."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.token = None
        self.reason = reason

    def refresh(self, request: object) -> None:  # noqa: ARG002
        raise self.reason


def caused(cause: Exception) -> Any:
    error = auth.RefreshError(cause)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (auth.TransportError("refused"), UnavailableError),
        (auth.RefreshError("Service Unavailable", retryable=True), UnavailableError),
        (caused(auth.TransportError("the metadata server answers 503")), UnavailableError),
        (auth.RefreshError("invalid_grant: Invalid JWT Signature."), SettingsError),
    ],
)
def test_the_token_server_may_be_unavailable_for_a_while(
    gcs: Gcs, reason: Exception, expected: type[Exception]
) -> None:
    with gcs.client(Tokenless(reason)) as client:
        store = GsStore("bucket", "", client, pace=AT_ONCE)
        calls: list[Callable[[], object]] = [
            lambda: store.read("a"),
            lambda: store.put("a", b"", if_version=ABSENT),
            store.duckdb_secret,
        ]
        for call in calls:
            with pytest.raises(expected) as caught:
                call()
            assert not isinstance(caught.value, UnsureWriteError)


def test_without_credentials_the_message_says_how_to_get_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    store = GsStore("bucket", "some/where")
    assert store.url == "gs://bucket/some/where"
    with pytest.raises(SettingsError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        store.read("a")
