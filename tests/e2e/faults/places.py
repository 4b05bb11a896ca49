"""Buckets of each kind on this machine, which can be set back to what they held."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from analyst.store import ANY, Condition, Store
from analyst.store.folder.store import FileStore
from tests.doubles.wrapped_store import RetoldStore


class Place(Protocol):
    """A bucket of one kind."""

    kind: str

    @property
    def address(self) -> str:
        """Return how another process finds it (see `open_at`)."""

    def open(self, ahead: float = 0.0) -> Store:
        """Open the bucket; its clock is so many seconds ahead of ours from now on."""

    def save(self) -> Any:
        """Keep what it holds."""

    def restore(self, saved: Any) -> None:
        """Set it back."""


@dataclass
class _FileStoreAhead(RetoldStore):
    """A folder of a host whose clock is ahead: both that of the system, which ages count from, and that of versions."""

    writer: Store
    ahead: float
    written: dict[str, float]

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        version = self.writer.put(key, data, if_version=if_version)
        self.written[key] = self.ahead
        return version

    def age(self, key: str, version: str, age: float) -> float:  # noqa: ARG002
        return max(0.0, age + self.ahead - self.written.get(key, self.ahead))


@dataclass
class FilePlace:
    folder: Path
    kind: str = "file"
    saves: int = 0
    ahead: dict[str, float] = field(default_factory=dict)
    """By key, how far the clock was ahead when an object got its file's times, which only the system sets."""

    @property
    def address(self) -> str:
        return str(self.folder / "bucket")

    def open(self, ahead: float = 0.0) -> Store:
        right, wrong = self._store(0.0), self._store(ahead)
        return _FileStoreAhead(right, wrong, ahead, self.ahead) if ahead else right

    def _store(self, ahead: float) -> Store:
        return FileStore(self.folder / "bucket", lambda: b"s" * 32, clock=lambda: time.time() + ahead)

    def save(self) -> Path:
        self.saves += 1
        saved = self.folder / f"saved-{self.saves}"
        shutil.copytree(self.folder / "bucket", saved)
        return saved

    def restore(self, saved: Path) -> None:
        shutil.rmtree(self.folder / "bucket")
        shutil.copytree(saved, self.folder / "bucket")


@dataclass
class GsPlace:
    gcs: Any
    client: Any
    kind: str = "gs"

    @property
    def address(self) -> str:
        return str(self.gcs.address)

    def open(self, ahead: float = 0.0) -> Store:
        self.gcs.ahead = ahead
        return gs_store(self.client)

    def save(self) -> Any:
        return dict(self.gcs.buckets["bucket"])

    def restore(self, saved: Any) -> None:
        self.gcs.buckets["bucket"] = dict(saved)


@dataclass
class S3Place:
    server: Any
    prefix: str = field(default_factory=lambda: uuid4().hex)  # all servers of a process have one bucket
    kind: str = "s3"

    @property
    def address(self) -> str:
        return f"{self.server.url} {self.prefix}"

    def open(self, ahead: float = 0.0) -> Store:
        self.server.ahead = ahead
        return s3_store(self.address)

    def save(self) -> "dict[str, tuple[str, bytes, datetime]]":
        store, keys = self.open(), self._keys()
        found = {entry.key: store.read(entry.key) for entry in store.list("")}
        return {
            key: (stored.version, stored.data, keys[f"{self.prefix}/{key}"].last_modified)
            for key, stored in found.items()
            if stored is not None
        }

    def restore(self, saved: "dict[str, tuple[str, bytes, datetime]]") -> None:
        store, keys = self.open(), self._keys()
        there = {entry.key: entry.version for entry in store.list("")}
        for key in there.keys() - saved.keys():
            store.delete(key)
        for key, (version, data, modified) in saved.items():
            if there.get(key) != version:
                store.put(key, data, if_version=ANY)
            keys[f"{self.prefix}/{key}"].last_modified = modified

    @staticmethod
    def _keys() -> Any:
        from tests.doubles.s3 import keys

        return keys()


def gs_store(client: Any) -> Store:
    from analyst.store.gcs.client import Pace
    from analyst.store.gcs.store import GsStore

    return GsStore("bucket", "", client, pace=Pace(read=0.0, write=0.0, longest=0.0))


def s3_store(address: str) -> Store:
    from analyst.store.s3.store import S3Store
    from tests.doubles.s3 import BUCKET, _clients

    url, prefix = address.split()
    return S3Store(BUCKET, prefix, _clients(url, None), sleep=lambda _: None)


def open_at(kind: str, address: str, pem: str | None = None) -> Store:
    """Open a bucket from another process; on gs, URLs are signed with the key that is given."""
    if kind == "file":
        return FileStore(Path(address), lambda: b"s" * 32)
    if kind == "s3":
        return s3_store(address)
    from tests.doubles.gcs import Gcs
    from tests.doubles.gcs_accounts import Keyed

    return gs_store(Gcs(address=address).client(Keyed(pem)))


@contextmanager
def _file(folder: Path) -> Iterator[Place]:
    (folder / "bucket").mkdir(parents=True)
    yield FilePlace(folder)


@contextmanager
def _gs(_folder: Path) -> Iterator[Place]:
    from tests.doubles.gcs import Gcs, running

    with running(Gcs()) as gcs, gcs.client() as client:
        yield GsPlace(gcs, client)


@contextmanager
def _s3(_folder: Path) -> Iterator[Place]:
    from tests.doubles.s3 import serving

    with serving() as server:
        yield S3Place(server)


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {"file": _file, "gs": _gs, "s3": _s3}
"""Each makes a place for as long as it is held."""
