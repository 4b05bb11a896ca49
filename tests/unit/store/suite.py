"""What every store must do. A test module of a backend subclasses `StoreSuite` and gives `new_store`."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.errors import ForbiddenError
from analyst.store import ABSENT, ANY, ObjectMissingError, Store, StoreConflictError
from tests.examples import examples
from tests.unit.store.key_suite import KeySuite, NewStore

_steps = st.lists(
    st.tuples(st.sampled_from(["put", "swap", "stale", "absent", "delete"]), st.sampled_from(["a", "b/c"])), max_size=30
)


class _Model:
    """What a store should hold after the steps taken."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.live: dict[str, tuple[str, bytes]] = {}
        self.seen: dict[str, list[str]] = {"a": [], "b/c": []}

    def take(self, step: str, key: str, data: bytes) -> None:
        if step == "delete":
            self.store.delete(key)
            self.live.pop(key, None)
            return
        current = self.live[key][0] if key in self.live else None
        stale = next((version for version in reversed(self.seen[key]) if version != current), "0")
        condition = {"put": ANY, "swap": current or ABSENT, "stale": stale, "absent": ABSENT}[step]
        if step == "stale" or (step == "absent" and current is not None):
            with pytest.raises(StoreConflictError):
                self.store.put(key, data, if_version=condition)
            return
        version = self.store.put(key, data, if_version=condition)
        assert version not in self.seen[key]
        self.seen[key].append(version)
        self.live[key] = (version, data)

    def compare(self) -> None:
        assert {e.key: e.version for e in self.store.list("")} == {k: version for k, (version, _) in self.live.items()}
        for key, (version, data) in self.live.items():
            found = self.store.read(key)
            assert found is not None
            assert (found.version, found.data) == (version, data)


class StoreSuite(KeySuite):
    content_names_versions = False
    """Whether a version is a hash of the content: that of the same bytes is the same, and comes back with them."""
    signed_by = "X-Goog-Credential"
    """The parameter by which Delta Sharing readers know that a URL is signed."""
    examples = 20
    """How many random sequences of steps are tried."""

    @pytest.fixture
    def store(self, new_store: NewStore) -> Store:
        return new_store()

    def test_an_object_is_read_as_it_was_written(self, store: Store) -> None:
        for data in (b"", b"1", bytes(range(256)) * 5000):
            version = store.put("a/b", data, if_version=ANY)
            found = store.read("a/b")
            assert found is not None
            assert (found.data, found.version) == (data, version)

    def test_an_object_that_is_not_there_is_none(self, store: Store) -> None:
        store.put("a/b", b"1", if_version=ABSENT)
        for key in ("a", "a/b/c", "b", "a/c"):
            assert store.read(key) is None
            assert store.head(key) is None

    def test_an_object_that_the_caller_has_comes_without_its_data(self, store: Store) -> None:
        first = store.put("a", b"1", if_version=ABSENT)
        second = store.put("a", b"2", if_version=first)
        had, new = store.read("a", unless=second), store.read("a", unless=first)
        assert had is not None
        assert new is not None
        assert (had.data, had.version, new.data) == (b"", second, b"2")

    def test_a_write_on_another_version_conflicts_and_changes_nothing(self, store: Store) -> None:
        first = store.put("a", b"1", if_version=ABSENT)
        second = store.put("a", b"2", if_version=first)
        for condition in (first, ABSENT, "0", ""):
            with pytest.raises(StoreConflictError, match=r"^'a' .*read it again and repeat"):
                store.put("a", b"3", if_version=condition)
        found = store.read("a")
        assert found is not None
        assert (found.data, found.version) == (b"2", second)

    def test_a_write_on_an_object_that_is_gone_conflicts(self, store: Store) -> None:
        version = store.put("a", b"1", if_version=ABSENT)
        store.delete("a")
        with pytest.raises(StoreConflictError):
            store.put("a", b"2", if_version=version)
        assert store.read("a") is None

    def test_a_write_of_the_same_bytes_is_a_new_version(self, store: Store) -> None:
        first = store.put("a", b"1", if_version=ABSENT)
        assert (store.put("a", b"1", if_version=first) == first) == self.content_names_versions

    def test_an_object_that_comes_after_a_delete_has_a_version_of_its_own(self, store: Store) -> None:
        first = store.put("a", b"1", if_version=ABSENT)
        store.delete("a")
        assert store.put("a", b"2", if_version=ABSENT) != first
        store.delete("a")
        assert (store.put("a", b"1", if_version=ABSENT) == first) == self.content_names_versions

    def test_deleting_removes_the_object_and_deleting_none_is_not_an_error(self, store: Store) -> None:
        store.put("a/b/c", b"1", if_version=ABSENT)
        store.put("a/d", b"1", if_version=ABSENT)
        for _ in range(2):
            store.delete("a/b/c")
            assert [entry.key for entry in store.list("")] == ["a/d"]
        store.delete("a")
        assert store.head("a/d") is not None

    def test_an_upload_is_a_copy_that_later_writes_to_the_file_do_not_change(
        self, store: Store, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        for key, data in (("empty", b""), ("data/full.parquet", bytes(range(256)) * 9000)):
            path.write_bytes(data)
            version = store.upload(key, path)
            with path.open("r+b") as file:
                file.write(b"something else")
            path.unlink()
            found = store.read(key)
            assert found is not None
            assert (found.data, found.version) == (data, version)

    def test_an_upload_never_replaces(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"2")
        version = store.put("a", b"1", if_version=ABSENT)
        with pytest.raises(StoreConflictError):
            store.upload("a", tmp_path / "file")
        found = store.read("a")
        assert found is not None
        assert (found.data, found.version) == (b"1", version)

    def test_an_upload_of_no_file_is_the_callers_fault(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.upload("a", tmp_path / "none")

    def test_a_download_is_a_copy_that_may_be_written_to(self, store: Store, tmp_path: Path) -> None:
        data = bytes(range(256)) * 9000
        version = store.put("a/b", data, if_version=ABSENT)
        copy = tmp_path / "copy"
        copy.write_bytes(b"older")
        assert store.download("a/b", copy) == version
        assert copy.read_bytes() == data
        copy.write_bytes(b"mine")
        found = store.read("a/b")
        assert found is not None
        assert found.data == data

    def test_a_download_of_nothing_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        folder = tmp_path / "downloads"
        folder.mkdir()
        with pytest.raises(ObjectMissingError, match="'a' does not exist in"):
            store.download("a", folder / "copy")
        assert list(folder.iterdir()) == []

    def test_a_signed_url_reads_this_object_until_it_expires(self, store: Store) -> None:
        url = urlsplit(store.sign("extracts/shop/data/a b.parquet", expires=60, filename="orders č.parquet"))
        assert self.signed_by in parse_qs(url.query)

    def test_no_url_is_signed_for_the_systems_state(self, store: Store) -> None:
        for key in ("state/secret.key", "locks/rebuild.json"):
            with pytest.raises(ForbiddenError):
                store.sign(key, expires=60, filename="f")

    def test_no_version_comes_twice_whatever_is_written_and_deleted(self, new_store: NewStore) -> None:
        @settings(max_examples=examples(self.examples), deadline=None)
        @given(steps=_steps)
        def check(steps: list[tuple[str, str]]) -> None:
            model = _Model(new_store())
            for number, (step, key) in enumerate(steps):
                model.take(step, key, str(number).encode())
                model.compare()

        check()

    def test_threads_that_count_by_compare_and_swap_lose_no_count(self, store: Store) -> None:
        def count(_: int) -> None:
            while True:
                found = store.read("counter")
                data = str(int(found.data) + 1 if found else 1).encode()
                try:
                    store.put("counter", data, if_version=found.version if found else ABSENT)
                except StoreConflictError:
                    continue
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(count, range(16)))
        found = store.read("counter")
        assert found is not None
        assert found.data == b"16"

    def test_of_simultaneous_creations_one_succeeds(self, store: Store, tmp_path: Path) -> None:
        barrier = threading.Barrier(8)

        def create(number: int) -> int | None:
            path = tmp_path / str(number)
            path.write_bytes(str(number).encode())
            barrier.wait()
            try:
                store.upload("one", path) if number % 2 else store.put("one", path.read_bytes(), if_version=ABSENT)
            except StoreConflictError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            (winner,) = {number for number in pool.map(create, range(8)) if number is not None}
        found = store.read("one")
        assert found is not None
        assert found.data == str(winner).encode()
