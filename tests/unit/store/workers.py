"""Processes of the store tests: `python workers.py <what> <bucket> …`."""

import resource
import sys
from collections.abc import Callable
from itertools import count as numbers
from pathlib import Path

from analyst.errors import UnavailableError
from analyst.store import ABSENT, ANY, StoreConflictError
from analyst.store.folder.store import FileStore


def count(store: FileStore, times: str) -> None:
    """Add one to `counter` so many times, by compare-and-swap, once told to; print each version made."""
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(times)):
        print(_add_one(store))


def _add_one(store: FileStore) -> str:
    while True:
        found = store.read("counter")
        data = str(int(found.data) + 1 if found else 1).encode()
        try:
            return store.put("counter", data, if_version=found.version if found else ABSENT)
        except StoreConflictError:
            continue


def write(store: FileStore, local: str) -> None:
    """Write, upload and delete objects of one repeated byte until killed."""
    path = Path(local)
    for number in numbers():
        data = bytes([number % 256]) * (200_000 + number % 1000)
        store.put("pointer", data, if_version=ANY)
        path.write_bytes(data)
        store.upload(f"files/{path.name}-{number}", path)
        store.delete(f"files/{path.name}-{number - 5}")


def overflow(store: FileStore) -> None:
    """Put an object on a disk that takes 1000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        store.put("big", bytes(5000), if_version=ABSENT)
    except UnavailableError as error:
        print(error)


WORK: dict[str, Callable[..., None]] = {"count": count, "write": write, "overflow": overflow}

if __name__ == "__main__":
    WORK[sys.argv[1]](FileStore(Path(sys.argv[2]), lambda: b""), *sys.argv[3:])
