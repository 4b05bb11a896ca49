"""The files of tables on the disk of a server whose bucket is in a cloud."""

import hashlib
import os
from pathlib import Path

import pytest

from analyst.catalog import File
from analyst.errors import UnavailableError
from analyst.query.file_cache import FileCache, private_folder
from analyst.store import ANY
from tests.doubles.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, name: str, data: bytes) -> File:
    store.put(name, data, if_version=ANY)
    return File(path=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), rows=1)


def cached(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_fetched_once_and_completely(store: MemoryStore, tmp_path: Path) -> None:
    cache, file = FileCache(store, tmp_path, 1000), put(store, "a", b"parquet")
    with cache.held([file, file]) as paths:
        assert [path and path.read_bytes() for path in paths] == [b"parquet"] * 2
    store.delete("a")
    with FileCache(store, tmp_path, 1000).held([file]) as [path]:
        assert path is not None
        assert path.read_bytes() == b"parquet"


def test_the_least_recently_used_files_are_removed_first(store: MemoryStore, tmp_path: Path) -> None:
    cache = FileCache(store, tmp_path, 250)
    first, second, third = (put(store, name, name.encode() * 100) for name in "abc")
    for age, file in ((30, first), (20, second)):
        with cache.held([file]) as [path]:
            assert path is not None
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    with cache.held([first]):
        pass
    with cache.held([third]):
        pass
    assert cached(tmp_path) == {first.sha256, third.sha256}


def test_a_file_in_use_stays(store: MemoryStore, tmp_path: Path) -> None:
    cache = FileCache(store, tmp_path, 250)
    first, second, third = (put(store, name, name.encode() * 100) for name in "abc")
    with cache.held([first]) as [path]:
        for file in (second, third):
            with cache.held([file]):
                pass
        assert path is not None
        assert path.exists()


def test_a_damaged_or_missing_file_is_not_kept(store: MemoryStore, tmp_path: Path) -> None:
    cache, file = FileCache(store, tmp_path, 1000), put(store, "a", b"parquet")
    store.put("a", b"partial", if_version=ANY)
    with pytest.raises(UnavailableError, match="damaged"), cache.held([file]):
        pass
    store.delete("a")
    with pytest.raises(UnavailableError, match="no longer in the bucket"), cache.held([file]):
        pass
    assert cached(tmp_path) == set()


def test_of_files_larger_than_the_cache_only_cached_ones_are_local(store: MemoryStore, tmp_path: Path) -> None:
    files = [put(store, name, name.encode() * 100) for name in "abc"]
    cache = FileCache(store, tmp_path, 250)
    with cache.held(files[:1]):
        pass
    with cache.held(files) as paths:
        assert [path is not None for path in paths] == [True, False, False]
    assert cached(tmp_path) == {files[0].sha256}


def test_the_folder_is_ours_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(UnavailableError, match="open to other users"):
        private_folder(tmp_path)
