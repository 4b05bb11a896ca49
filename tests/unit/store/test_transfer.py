from pathlib import Path

import pytest

from analyst.store import ABSENT, ObjectMissingError
from analyst.store.folder.store import FileStore
from analyst.store.transfer import local_copy
from tests.doubles.memory_store import MemoryStore


def test_local_files_are_not_copied(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "bucket", lambda: b"secret")
    store.put("a/b", b"1", if_version=ABSENT)
    copy = tmp_path / "copy"
    assert local_copy(store, "a/b", copy).read_bytes() == b"1"
    assert not copy.exists()


def test_remote_files_are_copied_once(tmp_path: Path) -> None:
    store = MemoryStore()
    store.put("a/b", b"1", if_version=ABSENT)
    copy = tmp_path / "deep" / "down" / "copy"
    assert local_copy(store, "a/b", copy) == copy
    store.delete("a/b")
    assert local_copy(store, "a/b", copy).read_bytes() == b"1"


def test_a_missing_object_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissingError):
        local_copy(MemoryStore(), "a/b", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
