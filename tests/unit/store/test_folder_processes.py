"""A folder as a bucket of processes that race, are killed, or find no room on the disk."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from analyst.store import ANY
from analyst.store.folder.lock import locked
from analyst.store.folder.store import FileStore

WORKERS = Path(__file__).with_name("workers.py")


@pytest.fixture
def store(root: Path) -> FileStore:
    return FileStore(root, lambda: b"secret")


def start(what: str, root: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WORKERS), what, str(root), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_full_disk_is_an_error_of_the_store_and_leaves_no_file(root: Path, store: FileStore) -> None:
    worker = start("overflow", root)
    assert "writing big failed" in worker.communicate()[0]
    assert list(store.list("")) == []
    assert list((root / ".store/staging").iterdir()) == []


def test_processes_that_count_by_compare_and_swap_lose_no_count(root: Path, store: FileStore) -> None:
    workers = [start("count", root, "50") for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    versions = [version for worker in workers for version in worker.communicate()[0].split()]
    found = store.read("counter")
    assert found is not None
    assert found.data == b"200"
    assert len(set(versions)) == 200
    assert max(versions, key=int) == found.version


def objects(store: FileStore) -> Iterator[bytes]:
    for entry in store.list(""):
        if (found := store.read(entry.key)) is not None:
            yield found.data


def test_readers_see_whole_objects_while_writers_are_killed(root: Path, store: FileStore, tmp_path: Path) -> None:
    for round_ in range(4):
        worker = start("write", root, str(tmp_path / f"local{round_}"))
        seen: set[int] = set()
        while len(seen) < 3 + round_:
            for data in objects(store):
                assert len(set(data)) == 1
                assert len(data) >= 200_000
                seen.add(data[0])
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        assert {entry.key.split("/")[0] for entry in store.list("")} <= {"pointer", "files"}
    store.put("pointer", b"the lock is free", if_version=ANY)


def test_leftovers_of_killed_writers_are_removed_and_files_in_progress_kept(
    root: Path, store: FileStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"1")
    store.upload("a", tmp_path / "file")
    (root / ".store/staging/left").write_bytes(b"half")
    with store._staged(0o666) as file:
        store.upload("b", tmp_path / "file")
        assert (root / ".store/staging/left").exists()
        later = FileStore(root, lambda: b"", clock=lambda: time.time() + 4000)
        later.upload("c", tmp_path / "file")
        assert list((root / ".store/staging").iterdir()) == [file.path]


def test_a_removed_lock_is_created_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def hold() -> bool:
        with locked(path, time.time), path.open() as another, suppress(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        return True

    with ThreadPoolExecutor(1) as pool:
        with locked(path, time.time):
            holding = pool.submit(hold)
            while sum(1 for entry in Path("/proc/self/fd").iterdir() if _leads_to(entry, path)) < 2:
                pass
            path.unlink()
        assert holding.result(), "who waited for the removed one holds the one that is there"


def _leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except FileNotFoundError:
        return False
