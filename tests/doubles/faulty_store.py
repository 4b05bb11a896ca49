"""A store whose answers get lost, and between whose calls others write."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from analyst.errors import UnavailableError
from analyst.store import ABSENT, Condition, Entry, Object, StoreConflictError, UnsureWriteError
from tests.doubles.wrapped_store import Around


class Fault(Enum):
    """What becomes of a write that gets no answer."""

    NEVER = "it does not happen"
    AT_ONCE = "it has happened"
    LATE = "it happens, or conflicts, just before the next write"


Befalling = list[Fault | Callable[[], object] | None]
"""What befalls the next calls, one item per call."""


@dataclass
class FaultyStore(Around):
    """Wraps a store. Each list holds what befalls the next calls, one item per call; further calls are as they should be.

    `puts` and `uploads`: a fault, or something that somebody else does just before. `reads` (also `head`): whether it fails.
    """

    puts: Befalling = field(default_factory=list)
    reads: list[bool] = field(default_factory=list)
    uploads: Befalling = field(default_factory=list)
    _late: Callable[[], object] | None = None

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self._fail_read(key)
        return super().read(key, unless=unless)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return self._write(self.puts, key, lambda: self.inner.put(key, data, if_version=if_version))

    def land(self) -> None:
        """Let a late write happen now, or conflict."""
        late, self._late = self._late, None
        if late is not None:
            try:
                late()
            except StoreConflictError:
                return

    def upload(self, key: str, path: Path) -> str:
        data = path.read_bytes()  # the file may be gone when a late upload comes
        return self._write(self.uploads, key, lambda: self.inner.put(key, data, if_version=ABSENT))

    def head(self, key: str) -> Entry | None:
        self._fail_read(key)
        return super().head(key)

    def _write(self, faults: Befalling, key: str, write: Callable[[], str]) -> str:
        self.land()
        fault = faults.pop(0) if faults else None
        if fault is Fault.NEVER:
            raise UnsureWriteError(f"no answer to writing {key}")
        if fault is Fault.LATE:
            self._late = write
            raise UnsureWriteError(f"no answer to writing {key}")
        if callable(fault):
            fault()
        version = write()
        if fault is Fault.AT_ONCE:
            raise UnsureWriteError(f"no answer to writing {key}")
        return version

    def _fail_read(self, key: str) -> None:
        if self.reads and self.reads.pop(0):
            raise UnavailableError(f"no answer to reading {key}")
