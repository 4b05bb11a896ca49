"""A store whose answers get lost, and between whose calls others write."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from analyst.errors import UnavailableError
from analyst.store import Condition, Entry, Object, Store, StoreConflictError, UnsureWriteError


class Fault(Enum):
    """What becomes of a write that gets no answer."""

    NEVER = "it does not happen"
    AT_ONCE = "it has happened"
    LATE = "it happens, or conflicts, just before the next write"


@dataclass
class FaultyStore:
    """Wraps a store. Each list holds what befalls the next calls, one item per call; further calls are as they should be.

    `puts`: a fault, or something that somebody else does just before. `reads` (also `head`): whether it fails.
    """

    inner: Store
    puts: list[Fault | Callable[[], object] | None] = field(default_factory=list)
    reads: list[bool] = field(default_factory=list)
    _late: Callable[[], object] | None = None

    @property
    def url(self) -> str:
        return self.inner.url

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self._fail_read(key)
        return self.inner.read(key, unless=unless)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.land()
        fault = self.puts.pop(0) if self.puts else None
        if fault is Fault.NEVER:
            raise UnsureWriteError(f"no answer to writing {key}")
        if fault is Fault.LATE:
            self._late = lambda: self.inner.put(key, data, if_version=if_version)
            raise UnsureWriteError(f"no answer to writing {key}")
        if callable(fault):
            fault()
        version = self.inner.put(key, data, if_version=if_version)
        if fault is Fault.AT_ONCE:
            raise UnsureWriteError(f"no answer to writing {key}")
        return version

    def land(self) -> None:
        """Let a late write happen now, or conflict."""
        late, self._late = self._late, None
        if late is not None:
            try:
                late()
            except StoreConflictError:
                return

    def upload(self, key: str, path: Path) -> str:
        return self.inner.upload(key, path)

    def download(self, key: str, path: Path) -> str:
        return self.inner.download(key, path)

    def list(self, prefix: str) -> Iterable[Entry]:
        return self.inner.list(prefix)

    def list_folders(self, prefix: str) -> Iterable[str]:
        return self.inner.list_folders(prefix)

    def head(self, key: str) -> Entry | None:
        self._fail_read(key)
        return self.inner.head(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        return self.inner.sign(key, expires=expires, filename=filename)

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)

    def _fail_read(self, key: str) -> None:
        if self.reads and self.reads.pop(0):
            raise UnavailableError(f"no answer to reading {key}")
