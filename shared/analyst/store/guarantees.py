"""The guarantees that a bucket must give, tested on first use: a store that ignores a condition loses acknowledged writes.

AWS and Google document these guarantees. Any other server with their protocol, and any folder, is tested before a process
uses it. The proof for a server is stored in the bucket, so later processes need one read. It is bound to the server's
address and the bucket, and is renewed after a month, or if its object was not written at the time it states: then the
bucket was copied from another server. A state that only a lost condition explains triggers a new test of the server at
once; see `store.lost_edits` and `lease`.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst.errors import SettingsError
from analyst.store.interface import ABSENT, ANY, Condition, Object, Store, StoreConflictError
from analyst.store.transfer import FolderLooker

PREFIX: Final = "state/store/"
"""Prefix of the proofs and of the objects of a test."""

_TESTS: Final = 2
"""Version of the tests: a proof of an earlier version does not count."""

_RENEWED_AFTER: Final = timedelta(days=30)
_SKEW: Final = timedelta(hours=1)
_FRESH: Final = 300.0
_AT_ONCE: Final = 8
_ROUNDS: Final = 2
_LARGE: Final = b"A large text. " * 450_000
"""6 MB, which some servers store in parts and some gateways compress."""
_SOME_TIME: Final = 1_000_000_123_456_789
"""In µs: the year 2001."""


@runtime_checkable
class Served(Protocol):
    """A store behind a server that may not be the provider's own."""

    @property
    def server(self) -> str | None:
        """The server's address; `None` if the provider guarantees them itself."""


@runtime_checkable
class OnDisk(Protocol):
    """A store in a folder of this host."""

    def own_folder(self) -> Path:
        """Create the folder of the store's own files, and return it."""


class _Proof(BaseModel):
    """`state/store/<hash of server and bucket>.json`."""

    model_config = ConfigDict(frozen=True)

    server: str
    url: str
    tests: int
    proven_at: AwareDatetime


def require_guarantees(store: Store, new_id: Callable[[], str], now: Callable[[], datetime]) -> None:
    """Check the guarantees of a bucket; `new_id` names the objects of the test.

    Raises:
        SettingsError: one is not kept; the message names it and what to do.
        UnavailableError: the store does not respond.
    """
    if isinstance(store, OnDisk):
        require_file_system(store)
        return
    server = store.server if isinstance(store, Served) else None
    if server is None:
        return
    key = _key_of(server, store.url)
    known = store.read(key)
    if known is not None and _holds(known, server, store.url, now()):
        return
    failed = _Test(store, f"{PREFIX}test-{new_id()}/").failure()
    if failed is not None:
        raise SettingsError(f"DATA_URL: the server {server} can't hold the bucket {store.url}: {failed}. {_REMEDY}")
    proof = _Proof(server=server, url=store.url, tests=_TESTS, proven_at=now())
    store.put(key, proof.model_dump_json().encode(), if_version=ANY)  # another process that proved it wrote the same


def require_again(store: Store) -> None:
    """Check again the guarantees of a bucket that seems to break them, although it passed before; delete a wrong proof.

    Raises:
        SettingsError: one is not kept.
        UnavailableError: the store does not respond.
    """
    server = store.server if isinstance(store, Served) else None
    if server is None:
        return
    failed = _Test(store, f"{PREFIX}test-{os.urandom(8).hex()}/").failure()
    if failed is not None:
        store.delete(_key_of(server, store.url))
        raise SettingsError(
            f"DATA_URL: the server {server} no longer holds the bucket {store.url} as it did: {failed}. {_REMEDY}"
        )


def _key_of(server: str, url: str) -> str:
    digest = hashlib.sha256(f"{server}\n{url}".encode()).hexdigest()[:32]
    return f"{PREFIX}{digest}.json"


_REMEDY: Final = (
    "Acknowledged changes would be lost. Use a server with atomic conditional writes "
    "(Amazon S3, Google Cloud Storage, MinIO, Cloudflare R2), or a folder on a disk of this host (file:///…)"
)


def _holds(known: Object, server: str, url: str, now: datetime) -> bool:
    try:
        proof = _Proof.model_validate_json(known.data)
    except ValidationError:
        return False
    written = now - timedelta(seconds=known.age)
    is_from_here = (proof.server, proof.url) == (server, url) and abs(written - proof.proven_at) < _SKEW
    return is_from_here and proof.tests >= _TESTS and known.age < _RENEWED_AFTER.total_seconds()


class _MissingError(Exception):
    """A guarantee that is not kept."""


@dataclass(frozen=True, slots=True)
class _Test:
    """Tests a store in a folder of its own, and leaves nothing there."""

    store: Store
    folder: str

    def failure(self) -> str | None:
        """Return the first guarantee that is not kept, `None` if all are."""
        keys = [f"{self.folder}{name}" for name in ("object", "other", "large", *(f"race-{n}" for n in range(_ROUNDS)))]
        try:
            self._writes(keys[0], keys[1])
            self._writes_much(keys[2])
            for key in keys[3:]:
                self._races(key)
            self._deletes(keys[0])
        except _MissingError as missing:
            return str(missing)
        finally:
            for key in keys:
                self.store.delete(key)
        return None

    def _writes(self, key: str, other: str) -> None:
        first = self._accepts(key, b"first", ABSENT)
        self._refuses(key, ABSENT, "a write that requires the object to be absent overwrites it")
        second = self._accepts(key, b"second", first)
        self._refuses(key, first, "a write that requires a replaced version of the object overwrites it")
        third = self._accepts(key, b"third", second)
        if len({first, second, third}) < 3:  # noqa: PLR2004
            raise _MissingError("different contents of an object have the same version")
        self._shows(key, other, b"third", third)

    def _writes_much(self, key: str) -> None:
        """Test the conditions of a large object, which a server may write in another way than a small one."""
        first = self._accepts(key, _LARGE, ABSENT)
        self._refuses(key, ABSENT, "a large write that requires the object to be absent overwrites it", _LARGE)
        second = self._accepts(key, _LARGE + b"2", first)
        self._refuses(key, first, "a large write that requires a replaced version of the object overwrites it", _LARGE)
        found, head = self.store.read(key), self.store.head(key)
        if found is None or head is None or found.data != _LARGE + b"2":
            raise _MissingError("reading a large object does not return what was written last")
        if {found.version, head.version} != {second}:
            raise _MissingError(_OTHER_VERSION)

    def _shows(self, key: str, other: str, data: bytes, version: str) -> None:
        """Compare all ways to read an object with what was written last."""
        self._accepts(other, b"other", ABSENT)
        read, head, listed = self.store.read(key), self.store.head(key), list(self.store.list(self.folder))
        if read is None or read.data != data:
            raise _MissingError("reading an object does not return what was written last")
        if head is None or {read.version, head.version} != {version}:
            raise _MissingError(_OTHER_VERSION)
        if [entry.key for entry in listed] != [key, other] or listed[0].version != version:
            raise _MissingError("a listing does not show the last writes in the order of their names")
        if max(read.age, head.age, listed[0].age) > _FRESH:
            raise _MissingError("an object that was just written is reported as old")
        same = self.store.read(key, unless=version)
        if same is None or same.version != version:
            raise _MissingError("reading an object unless it is at its own version does not find it unchanged")
        if isinstance(self.store, FolderLooker):
            found = {entry.key for entry in self.store.look_into_folders(PREFIX, "object")}
            if key not in found or other in found:
                raise _MissingError("a listing by a pattern of names (matchGlob) ignores the pattern")

    def _races(self, key: str) -> None:
        """Write concurrently with one condition: exactly one write must succeed, and its content must be there."""
        last = self._one_wins(key, ABSENT)
        self._one_wins(key, last)

    def _one_wins(self, key: str, condition: str | Condition) -> str:
        bodies = [f"{condition} {number}".encode() for number in range(_AT_ONCE)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            won = [found for found in pool.map(partial(self._try, key, condition), bodies) if found is not None]
        found = self.store.read(key)
        if len(won) != 1 or found is None or found.data != won[0][0]:
            raise _MissingError(f"{len(won)} of {_AT_ONCE} concurrent writes with the same condition report success")
        return found.version

    def _deletes(self, key: str) -> None:
        found = self.store.head(key)
        self.store.delete(key)
        if self.store.head(key) is not None or any(entry.key == key for entry in self.store.list(self.folder)):
            raise _MissingError("a deleted object still exists")
        if found is not None:
            self._refuses(
                key,
                found.version,
                "a write that requires a version of an object succeeds although the object does not exist",
            )

    def _try(self, key: str, condition: str | Condition, body: bytes) -> tuple[bytes, str] | None:
        try:
            return body, self.store.put(key, body, if_version=condition)
        except StoreConflictError:
            return None

    def _accepts(self, key: str, data: bytes, condition: str | Condition) -> str:
        try:
            return self.store.put(key, data, if_version=condition)
        except StoreConflictError:
            wanted = "an absent object to be absent" if condition is ABSENT else "the current version of the object"
            raise _MissingError(f"a write that requires {wanted} is rejected") from None

    def _refuses(self, key: str, condition: str | Condition, missing: str, body: bytes = b"refused") -> None:
        if self._try(key, condition, body) is not None:
            ignored = _HEADERS.get((self.store.url.partition(":")[0], condition is ABSENT), "the condition")
            raise _MissingError(f"{missing} (it ignores {ignored})")


_OTHER_VERSION: Final = (
    "the version of an object (ETag) is not the one that its write returned; a gateway that compresses changes it"
)
_HEADERS: Final = {
    ("s3", True): "If-None-Match: *",
    ("s3", False): "If-Match",
    ("gs", True): "ifGenerationMatch=0",
    ("gs", False): "ifGenerationMatch",
}


def require_file_system(store: OnDisk) -> None:
    """Check that the file system of a bucket distinguishes case in names, locks files and stores times in µs.

    A folder that this process can't write to is not tested: nothing in it can be damaged.

    Raises:
        SettingsError: it does not.
    """
    with suppress(OSError):
        folder = store.own_folder()
        missing = missing_on_disk(folder / f"test-{os.urandom(8).hex()}", FileSystem())
        if missing is not None:
            raise SettingsError(
                f"DATA_URL: the file system of {folder.parent} can't hold a bucket: {missing}. "
                "Use a folder on ext4, xfs, btrfs or tmpfs of this host"
            )


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The operations under test, on a file that was just created."""

    def exists(self, path: Path) -> bool:
        """Return whether a file of this name exists."""
        return path.exists()

    def set_mtime(self, descriptor: int, us: int) -> int:
        """Set the mtime of a file, in µs, and return what was stored."""
        os.utime(descriptor, ns=(us * 1000, us * 1000))
        return os.fstat(descriptor).st_mtime_ns // 1000

    def lock(self, descriptor: int) -> bool:
        """Lock a file; return whether nobody else holds the lock."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def missing_on_disk(path: Path, system: FileSystem) -> str | None:
    """Return what a file system does not support, `None` if it is suitable. Creates a file at `path`, and removes it.

    Raises:
        OSError: nothing can be written there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if system.exists(path.with_name(path.name.upper())):
            return "it does not distinguish upper and lower case in names"
        if system.set_mtime(descriptor, _SOME_TIME) != _SOME_TIME:
            return "it does not store times in microseconds"
        return None if _locks(descriptor, path, system) else "a file that is locked can be locked again"
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _locks(descriptor: int, path: Path, system: FileSystem) -> bool:
    other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return system.lock(descriptor) and not system.lock(other)
    finally:
        os.close(other)
