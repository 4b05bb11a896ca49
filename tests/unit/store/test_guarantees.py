"""What a bucket must guarantee is tested on first use, and the proof is remembered."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session

from analyst.context import Process
from analyst.errors import LeaseLostError, SettingsError, UnavailableError
from analyst.lease import acquire
from analyst.settings import read_settings
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group, list_groups
from analyst.store import ABSENT, Condition, Entry, Object, Store, StoreConflictError
from analyst.store.factory import open_store
from analyst.store.gcs.store import GsStore
from analyst.store.guarantees import PREFIX, FileSystem, missing_on_disk, require_guarantees
from analyst.store.s3.client import connect
from analyst.store.s3.store import S3Store
from tests.doubles.gcs import Gcs
from tests.doubles.memory_store import MemoryStore
from tests.doubles.s3 import BUCKET, Drop, FaultyS3, new_store
from tests.doubles.wrapped_store import Around


@dataclass
class Served(Around):
    """A bucket behind a server, which counts what it is asked for."""

    server: str | None = "http://server:9000"
    asked: list[str] = field(default_factory=list)

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self.asked.append("read")
        return super().read(key, unless=unless)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.asked.append("put")
        return super().put(key, data, if_version=if_version)


class IgnoresAbsent(Served):
    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return super().put(key, data, if_version=Condition.ANY if if_version is ABSENT else if_version)


class IgnoresVersion(Served):
    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return super().put(key, data, if_version=Condition.ANY if isinstance(if_version, str) else if_version)


class RefusesVersion(Served):
    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if isinstance(if_version, str):
            raise StoreConflictError(key)
        return super().put(key, data, if_version=if_version)


class ReportsAnotherVersion(Served):
    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        condition = if_version.removesuffix("-") if isinstance(if_version, str) else if_version
        return f"{super().put(key, data, if_version=condition)}-"


class ListsLate(Served):
    def list(self, prefix: str) -> Iterable[Entry]:
        return [*super().list(prefix)][:-1]


class ListsInNoOrder(Served):
    def list(self, prefix: str) -> Iterable[Entry]:
        return [*super().list(prefix)][::-1]


class ReadsLate(Served):
    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        found = super().read(key, unless=unless)
        return found and Object(b"before", found.version, found.age)


class IsOld(Served):
    def head(self, key: str) -> Entry | None:
        found = super().head(key)
        return found and Entry(found.key, found.version, found.size, found.age + 3600)


class KeepsTheDeleted(Served):
    def delete(self, key: str) -> None:
        pass


class IgnoresPatterns(Served):
    def look_into_folders(self, prefix: str, name: str) -> Iterable[Entry]:  # noqa: ARG002
        return self.list(prefix)


class ChecksFirst(Served):
    """Looks at the condition and writes in two steps, between which others write."""

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if "race" in key and if_version is ABSENT:
            return super().put(key, data, if_version=Condition.ANY)
        return super().put(key, data, if_version=if_version)


def now() -> datetime:
    return datetime.now(UTC)


def require(store: Store, at: datetime | None = None) -> None:
    require_guarantees(store, lambda: "id", lambda: at or now())


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (IgnoresAbsent, "requires the object to be absent overwrites it"),
        (IgnoresVersion, "requires a replaced version of the object overwrites it"),
        (RefusesVersion, "requires the current version of the object is rejected"),
        (ReportsAnotherVersion, "not the one that its write returned"),
        (ListsLate, "a listing does not show"),
        (ListsInNoOrder, "in the order of their names"),
        (ReadsLate, "reading an object does not return what was written last"),
        (IsOld, "reported as old"),
        (KeepsTheDeleted, "a deleted object still exists"),
        (IgnoresPatterns, "matchGlob"),
        (ChecksFirst, "8 of 8 concurrent writes"),
    ],
)
def test_a_server_that_lacks_a_guarantee_is_refused_with_its_name(kind: type[Served], missing: str) -> None:
    store = kind(Scheme())
    with pytest.raises(SettingsError, match=f"http://server:9000 can't hold the bucket s3://data: .*{missing}"):
        require(store)
    if kind is not KeepsTheDeleted:
        assert list(Around(store.inner).list("")) == []


class Scheme(MemoryStore):
    @property
    def url(self) -> str:
        return "s3://data"


def test_a_proof_is_remembered_for_later_processes_in_one_read() -> None:
    store = Served(MemoryStore())
    require(store)
    first = len(store.asked)
    store.asked.clear()
    require(store)
    assert (first > 20, store.asked) == (True, ["read"])
    assert [entry.key.startswith(PREFIX) for entry in store.list("")] == [True]


def test_a_proof_of_another_server_or_bucket_or_an_invalid_one_does_not_count() -> None:
    store = Served(MemoryStore())
    require(store)
    store.asked.clear()
    require(Served(store.inner, server="http://server:9001", asked=store.asked))
    assert store.asked.count("put") > 10
    (proof,) = [e.key for e in store.list(PREFIX)][:1]
    for text in (b"{}", b"", b"\xff"):
        store.put(proof, text, if_version=Condition.ANY)
        require(Served(store.inner, server="http://server:9001"))
        require(Served(store.inner))
    assert all(len(found.data) > 20 for e in store.list(PREFIX) if (found := store.read(e.key)))
    aged = Served(MemoryStore(lambda: clock[0]))
    clock = [1_800_000_000.0]
    require(aged, datetime.fromtimestamp(clock[0], UTC))
    clock[0] += timedelta(days=29).total_seconds()
    aged.asked.clear()
    require(aged, datetime.fromtimestamp(clock[0], UTC))
    assert aged.asked == ["read"]
    clock[0] += timedelta(days=2).total_seconds()
    require(aged, datetime.fromtimestamp(clock[0], UTC))
    assert aged.asked.count("put") > 10


def test_a_proof_copied_to_another_server_does_not_count() -> None:
    """The address may stay and the server be replaced, with all objects copied to the new one."""
    old = Served(MemoryStore())
    require(old, now() - timedelta(days=2))
    (proof,) = old.list(PREFIX)
    found = old.read(proof.key)
    assert found is not None
    new = IgnoresVersion(MemoryStore())
    new.put(proof.key, found.data, if_version=ABSENT)
    with pytest.raises(SettingsError, match="overwrites it"):
        require(new)


def test_the_providers_own_servers_are_not_tested() -> None:
    store = Served(MemoryStore(), server=None)
    require(store)
    assert store.asked == []


@pytest.mark.parametrize(
    ("bucket", "endpoint", "is_tested"),
    [
        ("data", "https://s3.eu-central-1.amazonaws.com", False),
        ("data", "https://s3.cn-north-1.amazonaws.com.cn", False),
        ("data--use1-az4--x-s3", "https://s3.us-east-1.amazonaws.com", True),
        ("data", "https://amazonaws.com.example.com", True),
        ("data", "http://minio:9000", True),
    ],
)
def test_only_the_server_of_amazon_itself_is_trusted(bucket: str, endpoint: str, *, is_tested: bool) -> None:
    store = S3Store(bucket, "", connect(endpoint, session=Session("key", "secret", region_name="us-east-1")))
    assert (store.server is not None) == is_tested


class Careless:
    """Stands before an S3 server and ignores a condition of a write."""

    def __init__(self, server: FaultyS3, header: str) -> None:
        self._app, self._header = server.app, header

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            environ.pop(self._header, None)
        return self._app(environ, start)


@pytest.mark.parametrize(
    ("header", "missing"),
    [("HTTP_IF_NONE_MATCH", r"If-None-Match: \*"), ("HTTP_IF_MATCH", "ignores If-Match"), (None, None)],
)
def test_the_real_client_detects_what_an_s3_server_ignores(
    server: FaultyS3, header: str | None, missing: str | None
) -> None:
    store, app = new_store(server), server.app
    if header is None:
        require(store)
        server.requests.clear()
        require(store)
        assert [method for method, _ in server.requests] == ["GET"]
        return
    server.app = Careless(server, header)
    try:
        with pytest.raises(SettingsError, match=missing):
            require(store)
    finally:
        server.app = app


class Gateway:
    """Stands before an S3 server and does to requests and answers what `behave` does."""

    def __init__(self, server: FaultyS3, behave: "Callable[[Gateway, dict[str, Any], Any], Any]") -> None:
        self.app, self._behave, self.number = server.app, behave, 0

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            self.number += 1
        return self._behave(self, environ, start)


def without_conditions(environ: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environ.items() if name not in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")}


def ignores_them_of_large_objects(gateway: Gateway, environ: dict[str, Any], start: Any) -> Any:
    is_large = int(environ.get("CONTENT_LENGTH") or 0) > 1 << 20
    return gateway.app(without_conditions(environ) if is_large else environ, start)


def ignores_them_at_every_second_address(gateway: Gateway, environ: dict[str, Any], start: Any) -> Any:
    return gateway.app(without_conditions(environ) if gateway.number % 2 else environ, start)


def answers_200_to_a_failed_condition(gateway: Gateway, environ: dict[str, Any], start: Any) -> Any:
    answered: list[Any] = []
    body = list(gateway.app(environ, lambda *answer: answered.extend(answer)))
    if answered[0].startswith("412"):
        start("200 OK", [("ETag", '"1"'), ("Content-Length", "0")])
        return []
    start(*answered)
    return body


def answers_412_although_it_wrote(gateway: Gateway, environ: dict[str, Any], start: Any) -> Any:
    is_conditional = environ["REQUEST_METHOD"] == "PUT" and without_conditions(environ) != environ
    body = list(gateway.app(without_conditions(environ), (lambda *_: None) if is_conditional else start))
    if not is_conditional:
        return body
    text = b"<Error><Code>PreconditionFailed</Code></Error>"
    start("412 Precondition Failed", [("Content-Length", str(len(text)))])
    return [text]


def changed_etags(methods: tuple[str, ...], change: "Callable[[str], str]") -> Any:
    def behave(gateway: Gateway, environ: dict[str, Any], start: Any) -> Any:
        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            changed = [(name, change(value) if name.lower() == "etag" else value) for name, value in headers]
            return start(status, changed, *rest)

        return gateway.app(environ, started if environ["REQUEST_METHOD"] in methods else start)

    return behave


@pytest.mark.parametrize(
    ("behave", "missing"),
    [
        (ignores_them_of_large_objects, "a large write .* overwrites it"),
        (ignores_them_at_every_second_address, "overwrites it|concurrent writes"),
        (answers_200_to_a_failed_condition, "overwrites it"),
        (answers_412_although_it_wrote, "requires an absent object to be absent is rejected"),
        (changed_etags(("GET",), lambda tag: f'{tag[:-1]}-gzip"'), "gateway that compresses"),
        (changed_etags(("GET", "HEAD", "PUT"), lambda tag: f"W/{tag}"), "requires the current version .* is rejected"),
        (changed_etags(("HEAD",), lambda tag: f"W/{tag}"), "gateway that compresses"),
    ],
)
def test_a_gateway_that_breaks_conditions_or_versions_is_refused(server: FaultyS3, behave: Any, missing: str) -> None:
    app = server.app
    server.app = Gateway(server, behave)
    try:
        with pytest.raises(SettingsError, match=missing):
            require(new_store(server))
    finally:
        server.app = app


def test_no_function_is_served_on_a_server_that_ignores_conditions(
    server: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings = {"DATA_URL": f"s3://{BUCKET}/careless", "S3_ENDPOINT": server.url}
    app = server.app
    server.app = Careless(server, "HTTP_IF_MATCH")
    try:
        process = Process(settings)
        for _ in range(2):
            with pytest.raises(SettingsError, match="can't hold the bucket"):
                _ = process.store
        server.app = app
        assert process.store.read("a") is None
    finally:
        server.app = app


def test_a_server_of_others_that_speaks_the_protocol_of_google_is_tested(gcs: Gcs, client: Any) -> None:
    store = GsStore("bucket", "", client)
    assert store.server == gcs.address
    require(store)
    gcs.counts.clear()
    require(store)
    assert sum(gcs.counts.values()) == 1


def test_a_server_that_does_not_answer_proves_nothing(server: FaultyS3) -> None:
    server.faults.extend([Drop.BEFORE] * 4)
    with pytest.raises(UnavailableError):
        require(new_store(server))
    server.faults.clear()


class CaseInsensitive(FileSystem):
    def exists(self, path: Path) -> bool:
        return path.with_name(path.name.lower()).exists()


class Coarse(FileSystem):
    def set_mtime(self, descriptor: int, us: int) -> int:
        return super().set_mtime(descriptor, us // 2_000_000 * 2_000_000)


class Lockless(FileSystem):
    def lock(self, descriptor: int) -> bool:  # noqa: ARG002
        return True


@pytest.mark.parametrize(
    ("system", "missing"),
    [
        (FileSystem(), None),
        (CaseInsensitive(), "upper and lower case"),
        (Coarse(), "microseconds"),
        (Lockless(), "locked again"),
    ],
)
def test_a_file_system_that_lacks_something_is_refused(tmp_path: Path, system: FileSystem, missing: str | None) -> None:
    found = missing_on_disk(tmp_path / "test", system)
    assert found is None if missing is None else missing in str(found)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_tested_when_a_process_opens_it(tmp_path: Path) -> None:
    process = Process({"DATA_URL": (tmp_path / "bucket").as_uri()})
    assert list(process.store.list("")) == []
    assert list((tmp_path / "bucket/.store").iterdir()) == []
    read_only = tmp_path / "taken"
    read_only.mkdir()
    (read_only / ".store").touch()  # nothing can be written: nobody can damage anything either
    require(open_store(read_settings({"DATA_URL": read_only.as_uri()})))


@dataclass
class Failing(Served):
    """A server that stops keeping conditions."""

    place: str = "s3://data"
    is_broken: bool = False
    late: list[Object] = field(default_factory=list)
    """What the next reads of the state return."""

    @property
    def url(self) -> str:
        return self.place

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        found = super().read(key, unless=unless)
        return self.late.pop() if self.late and key == "state/current.json" else found

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return super().put(key, data, if_version=Condition.ANY if self.is_broken else if_version)


def changed(store: Store, name: str) -> None:
    State(store, now).edit(lambda db: create_group(db, Actor(None, now()), NewGroup(name=name)))


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_state_that_lost_an_acknowledged_edit_triggers_a_new_test_of_the_server(*, is_broken: bool) -> None:
    """Another process has written it on the one before. Or somebody has put an earlier one back, if conditions are kept."""
    store = Failing(MemoryStore(), place=f"s3://lost-edit-{is_broken}")
    require(store)
    changed(store, "one")
    before = store.read("state/current.json")
    assert before is not None
    changed(store, "acknowledged")
    other = json.loads(before.data)
    other["recent"].append("01M8JM8RRTVM4JK0EBMTR9MEV7")
    store.put("state/current.json", json.dumps(other).encode(), if_version=Condition.ANY)
    store.is_broken = is_broken
    if is_broken:
        with pytest.raises(SettingsError, match=r"no longer holds the bucket s3://lost-edit.*overwrites it"):
            changed(store, "later")
        assert not list(store.list(PREFIX)), "every process tests it again"
    else:
        changed(store, "later")
        with State(store, now).read() as db:
            assert [group.name for group in list_groups(db)] == ["later", "one"]


def test_a_read_overtaken_by_an_edit_of_another_thread_triggers_no_test() -> None:
    store = Failing(MemoryStore(), place="s3://overtaken")
    changed(store, "one")
    before = store.read("state/current.json")
    assert before is not None
    changed(store, "two")
    store.late.append(before)
    store.asked.clear()
    changed(store, "three")
    assert not store.late
    assert store.asked.count("put") < 10, "the server is not tested"
    with State(store, now).read() as db:
        assert [group.name for group in list_groups(db)] == ["one", "three", "two"]


def test_noticing_a_lost_condition_takes_edits_no_further_request() -> None:
    store = Failing(MemoryStore(), place="s3://kept")
    changed(store, "one")
    store.asked.clear()
    changed(store, "two")
    assert store.asked.count("read") <= 3
    assert not any(key.key.startswith(PREFIX) for key in store.list(""))


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_lease_taken_over_too_early_triggers_a_new_test_of_the_server(*, is_broken: bool) -> None:
    store = Failing(MemoryStore(), place="s3://lost-lease")
    lease = acquire(store, "rebuild")
    assert lease is not None
    found = store.read("locks/rebuild.json")
    assert found is not None
    store.is_broken = is_broken
    taken = found.data.replace(b'"id":"', b'"id":"another ')
    store.put("locks/rebuild.json", taken, if_version=Condition.ANY)
    with pytest.raises(SettingsError if is_broken else LeaseLostError):
        lease.check()
    lease.release()
