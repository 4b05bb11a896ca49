"""A store that passes every call on to another one, for subclasses that change one of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from analyst.store import Condition, Entry, Object, Store


@dataclass
class Around:
    """Does what the inner store does."""

    inner: Store

    @property
    def url(self) -> str:
        return self.inner.url

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        return self.inner.read(key, unless=unless)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return self.inner.put(key, data, if_version=if_version)

    def upload(self, key: str, path: Path) -> str:
        return self.inner.upload(key, path)

    def download(self, key: str, path: Path) -> str:
        return self.inner.download(key, path)

    def list(self, prefix: str) -> Iterable[Entry]:
        return self.inner.list(prefix)

    def list_folders(self, prefix: str) -> Iterable[str]:
        return self.inner.list_folders(prefix)

    def head(self, key: str) -> Entry | None:
        return self.inner.head(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        return self.inner.sign(key, expires=expires, filename=filename)

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)


@dataclass
class RetoldStore(Around):
    """Reports other ages than the inner store does."""

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        found = super().read(key, unless=unless)
        return None if found is None else replace(found, age=self.age(key, found.version, found.age))

    def list(self, prefix: str) -> Iterable[Entry]:
        return [replace(entry, age=self.age(entry.key, entry.version, entry.age)) for entry in super().list(prefix)]

    def head(self, key: str) -> Entry | None:
        found = super().head(key)
        return None if found is None else replace(found, age=self.age(key, found.version, found.age))

    def age(self, key: str, version: str, age: float) -> float:
        """Return the age of an object that has this one."""
        raise NotImplementedError


@dataclass
class AgedStore(RetoldStore):
    """Reports ages so many seconds greater, of all objects or of those at a version: so lapsed leases look."""

    by: float = 1e9
    version: str | None = None

    def age(self, key: str, version: str, age: float) -> float:  # noqa: ARG002
        return age + self.by if self.version in (None, version) else age


@dataclass
class ClockedStore(RetoldStore):
    """Reports ages by a clock of the test's, in seconds; they count from when an object was written through this."""

    clock: Callable[[], float] = lambda: 0.0
    _written: dict[str, float] = field(default_factory=dict)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        version = super().put(key, data, if_version=if_version)
        self._written[key] = self.clock()
        return version

    def upload(self, key: str, path: Path) -> str:
        version = super().upload(key, path)
        self._written[key] = self.clock()
        return version

    def age(self, key: str, version: str, age: float) -> float:  # noqa: ARG002
        now = self.clock()
        return max(0.0, now - self._written.get(key, now))
