"""A bucket in memory, for tests of what is built on a store."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from analyst.store import signing
from analyst.store.interface import ABSENT, Condition, Entry, Object, ObjectMissingError, require
from analyst.store.keys import check_folder, check_key, check_prefix


@dataclass(frozen=True, slots=True)
class _Held:
    data: bytes
    version: str
    at: float


class MemoryStore:
    """A store that lives as long as this object. `clock` is the store's, in seconds; versions don't depend on it."""

    def __init__(self, clock: Callable[[], float] = time.time, *, sign_key: bytes = b"only for tests") -> None:
        self._clock = clock
        self._sign_key = sign_key
        self._objects: dict[str, _Held] = {}
        self._writes = 0
        self._lock = threading.Lock()

    def hold(self, another: "MemoryStore") -> None:
        """Hold what another bucket holds, at the same versions, and nothing else."""
        self._objects, self._writes = {**another._objects}, another._writes

    @property
    def url(self) -> str:
        """The address of the bucket, which leads nowhere."""
        return "memory://bucket"

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read an object whole, `None` if there is none; without its data if it is still at version `unless`."""
        held = self._objects.get(check_key(key))
        if held is None:
            return None
        data = b"" if held.version == unless else held.data
        return Object(data, held.version, self._age(held))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        """Write an object whole and return its new version.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
        """
        check_key(key)
        with self._lock:
            held = self._objects.get(key)
            require(key, None if held is None else held.version, if_version)
            self._writes += 1
            self._objects[key] = _Held(bytes(data), str(self._writes), self._clock())
            return self._objects[key].version

    def upload(self, key: str, path: Path) -> str:
        """Write a local file as a new object and return its version.

        Raises:
            StoreConflictError: the key is taken.
        """
        return self.put(key, path.read_bytes(), if_version=ABSENT)

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file and return its version.

        Raises:
            ObjectMissingError: no object has this key.
        """
        found = self.read(key)
        if found is None:
            raise ObjectMissingError(f"{key!r} does not exist in the bucket")
        path.write_bytes(found.data)
        return found.version

    def list(self, prefix: str) -> Iterable[Entry]:
        """List the objects whose keys start with `prefix`, in the order of their keys."""
        check_prefix(prefix)
        with self._lock:
            found = sorted((key, held) for key, held in self._objects.items() if key.startswith(prefix))
        return iter([Entry(key, held.version, len(held.data), self._age(held)) for key, held in found])

    def list_folders(self, prefix: str) -> Iterable[str]:
        """List the names that stand directly under `prefix` and have objects below them, in their order."""
        below = (entry.key[len(prefix) :].split("/", 1) for entry in self.list(check_folder(prefix)))
        return sorted({name for name, *rest in below if rest})

    def head(self, key: str) -> Entry | None:
        """Look at one object without reading it, `None` if there is none."""
        held = self._objects.get(check_key(key))
        return None if held is None else Entry(key, held.version, len(held.data), self._age(held))

    def delete(self, key: str) -> None:
        """Delete an object; deleting none is no error."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL as that of a folder's store is."""
        until = int(self._clock()) + expires
        return signing.sign(self._sign_key, check_key(key), expires=until, filename=filename)

    def verify(self, key: str, parameters: Mapping[str, str]) -> None:
        """Let a request for a signed URL through.

        Raises:
            ForbiddenError: the URL was not signed here, or not for this, or it has expired.
        """
        signing.verify(self._sign_key, key, parameters, now=self._clock())

    def local_path(self, key: str) -> Path | None:
        """Report that no object lies on a disk."""
        check_key(key)
        return None

    def _age(self, held: _Held) -> float:
        return max(0.0, self._clock() - held.at)
