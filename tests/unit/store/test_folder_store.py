"""A folder as a bucket: what every store does, and what files, links and clocks do to it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from analyst.errors import ForbiddenError, InvalidInputError
from analyst.store import ABSENT, ANY, Store
from analyst.store.folder.files import copy_all
from analyst.store.folder.store import FileStore
from tests.unit.store.suite import StoreSuite


class TestFileStore(StoreSuite):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[], Store]:
        buckets = (tmp_path / f"bucket{number}" for number in count())
        return lambda: FileStore(next(buckets), lambda: b"secret")


class TestFileStoreOnAClockThatStands(StoreSuite):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[], Store]:
        buckets = (tmp_path / f"bucket{number}" for number in count())
        return lambda: FileStore(next(buckets), lambda: b"secret", clock=lambda: 1_700_000_000.0)


@pytest.fixture
def store(root: Path) -> FileStore:
    return FileStore(root, lambda: b"secret")


def test_a_version_is_the_mtime_of_the_file_in_microseconds_and_never_goes_back(root: Path) -> None:
    now = [2_000_000_000.0]
    store = FileStore(root, lambda: b"", clock=lambda: now[0])
    first = store.put("a", b"1", if_version=ABSENT)
    now[0] -= 3600
    second = store.put("a", b"2", if_version=first)
    again = FileStore(root, lambda: b"", clock=lambda: now[0])
    again.delete("a")
    third = again.put("a", b"1", if_version=ABSENT)
    assert [first, second, third] == ["2000000000000000", "2000000000000001", "2000000000000002"]
    assert (root / "a").stat().st_mtime_ns == 2_000_000_000_000_002_000


def test_a_version_is_later_than_that_of_a_file_written_by_others(root: Path, store: FileStore) -> None:
    root.mkdir()
    ahead = int(time.time() + 1000) * 1_000_000
    for key in ("a", "b"):
        (root / key).write_bytes(b"theirs")
        os.utime(root / key, ns=(ahead * 1000, ahead * 1000))
    replaced = int(store.put("a", b"1", if_version=str(ahead)))
    os.utime(root / "b", ns=(ahead * 2000, ahead * 2000))
    store.delete("b")
    assert ahead < replaced < 2 * ahead < int(store.put("b", b"1", if_version=ABSENT))


def test_ages_do_not_depend_on_versions_that_ran_ahead(root: Path) -> None:
    fast = FileStore(root, lambda: b"", clock=lambda: time.time() + 86400)
    fast.put("a", b"1", if_version=ABSENT)
    now = [time.time()]
    store = FileStore(root, lambda: b"", clock=lambda: now[0])
    store.put("b", b"1", if_version=ABSENT)
    now[0] += 60
    for entry in store.list(""):
        assert 55 < entry.age < 65
    found = store.read("a")
    assert found is not None
    assert 55 < found.age < 65


def test_a_read_writes_nothing(root: Path, store: FileStore) -> None:
    assert store.read("a") is None
    assert store.head("a") is None
    assert list(store.list("")) == []
    assert list(store.list_folders("")) == []
    store.delete("a")
    assert not root.exists()


def test_internal_files_are_not_listed(root: Path, store: FileStore) -> None:
    store.put("a", b"1", if_version=ABSENT)
    (root / ".store/staging/left").write_bytes(b"half")
    (root / "lost+found").mkdir()
    (root / "lost+found/1").touch()
    assert [entry.key for entry in store.list("")] == ["a"]
    assert list(store.list_folders("")) == []


def test_a_file_that_another_program_puts_there_is_an_object(root: Path, store: FileStore) -> None:
    (root / "extracts/theirs/data").mkdir(parents=True)
    (root / "extracts/theirs/extract.duckdb").write_bytes(b"db")
    assert list(store.list_folders("extracts/")) == ["theirs"]
    head = store.head("extracts/theirs/extract.duckdb")
    assert head is not None
    store.put("extracts/theirs/extract.duckdb", b"mine", if_version=head.version)


def test_files_without_a_valid_key_are_not_objects(root: Path, store: FileStore) -> None:
    root.mkdir()
    (root / "back\\slash").touch()
    (root / "new\nline").touch()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch()
    os.mkfifo(root / "pipe")
    (root / "empty").mkdir()
    assert list(store.list("")) == []
    assert list(store.list_folders("")) == []
    assert store.read("pipe") is None
    assert store.read("empty") is None


def test_symbolic_links_are_neither_followed_nor_listed(root: Path, store: FileStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "around").symlink_to(root)
    assert list(store.list("")) == []
    assert list(store.list_folders("")) == []
    for key in ("file", "folder/secret", "folder/new", "around/file"):
        for call in (
            lambda key=key: store.read(key),
            lambda key=key: store.put(key, b"1", if_version=ANY),
            lambda key=key: store.delete(key),
            lambda key=key: store.local_path(key),
            lambda key=key: list(store.list(f"{key.split('/')[0]}/")),
        ):
            with pytest.raises(InvalidInputError, match="symbolic link"):
                call()
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


def test_the_bucket_itself_may_be_a_symbolic_link(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    store = FileStore(tmp_path / "link", lambda: b"")
    store.put("a", b"1", if_version=ABSENT)
    assert (root / "a").read_bytes() == b"1"
    assert store.url == f"file://{tmp_path}/link"


def test_a_key_that_is_a_folder_is_refused_with_the_reason(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store.put("a/b", b"1", if_version=ABSENT)
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(InvalidInputError, match="both an object and a folder"):
            store.put(key, b"2", if_version=ABSENT)
        with pytest.raises(InvalidInputError, match="both an object and a folder"):
            store.upload(key, tmp_path / "file")
    store.delete("a/b")
    store.put("a", b"3", if_version=ABSENT)


def test_an_object_has_the_requested_mode(root: Path, store: FileStore) -> None:
    store.put("private", b"1", if_version=ABSENT, mode=0o600)
    assert (root / "private").stat().st_mode & 0o777 == 0o600
    assert store.local_path("private") == root / "private"


def test_files_that_the_kernel_cannot_copy_are_copied_by_the_store(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    with (tmp_path / "copy").open("wb") as copy, os.fdopen(reading) as pipe:
        copy_all(pipe.fileno(), copy.fileno())
    assert (tmp_path / "copy").read_bytes() == b"through a pipe"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")
def test_a_file_on_another_file_system_is_uploaded(store: FileStore, tmp_path: Path) -> None:
    path = Path("/dev/shm") / f"store-test-{os.getpid()}"
    try:
        path.write_bytes(bytes(range(256)) * 9000)
        store.upload("a", path)
        assert (tmp_path / "bucket/a").read_bytes() == path.read_bytes()
    finally:
        path.unlink()


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, analyst.store.folder.store; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "duckdb", "fsspec", "shutil", "tempfile", "socket", "ssl"} & set(loaded)


def test_urls_of_the_store_are_verified_by_its_own_clock(root: Path) -> None:
    now = [1_700_000_000.0]
    store = FileStore(root, lambda: b"secret", clock=lambda: now[0])
    url = store.sign("a", expires=60, filename="f")
    parameters = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    store.verify("a", parameters)
    now[0] += 61
    with pytest.raises(ForbiddenError, match="expired"):
        store.verify("a", parameters)


def test_folders_created_and_deleted_with_their_objects_disturb_no_writer(root: Path) -> None:
    store = FileStore(root, lambda: b"")

    def come_and_go(name: str) -> None:
        for number in range(20):
            store.put(f"inbox/minute/{name}-{number}", b"x", if_version=ABSENT)
            store.delete(f"inbox/minute/{name}-{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, "abcd"))
    assert list(store.list("")) == []
    assert not (root / "inbox").exists()
