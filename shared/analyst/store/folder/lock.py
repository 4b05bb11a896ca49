"""The lock of a bucket in a folder, and the versions that are assigned under it.

A version is a time in µs, and every version is greater than all before it, whatever the clock does. The greatest one is
the lock file's own mtime, so it survives the objects and the processes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamps:
    """Assigns versions while the lock is held. `descriptor` is the lock file's; `clock` returns seconds."""

    descriptor: int
    clock: Callable[[], float]

    def next(self, current: int | None) -> int:
        """Return a version that no object ever had; `current` is the version that is replaced.

        The clock alone is not enough: two writes may fall into one µs, and a clock may be set back. Then a version would
        come twice, and a writer that read the earlier one would overwrite the later one.
        """
        now = int(self.clock() * 1_000_000)
        stamp = max(now, self._last() + 1, (current or 0) + 1)
        self._remember(stamp, durably=stamp > now)
        return stamp

    def outlive(self, version: int) -> None:
        """Make sure that no later version equals this one, whose object is about to be deleted.

        Without this, an object that is deleted and written again could get its old version back, and a writer that
        still holds that version would overwrite content it has never seen.
        """
        if version > self._last():
            self._remember(version, durably=True)

    def _last(self) -> int:
        return mtime_us(os.fstat(self.descriptor))

    def _remember(self, stamp: int, *, durably: bool) -> None:
        os.utime(self.descriptor, ns=(stamp * 1000, stamp * 1000))
        if durably:  # otherwise the clock itself is past the stamp when the machine has restarted
            os.fsync(self.descriptor)


def mtime_us(status: os.stat_result) -> int:
    """Return a file's mtime in whole µs."""
    return status.st_mtime_ns // 1000


@contextmanager
def locked(path: Path, clock: Callable[[], float]) -> Iterator[Stamps]:
    """Hold the lock, which excludes all threads and processes of this host. Waits without a limit."""
    descriptor = _acquire(path)
    try:
        yield Stamps(descriptor, clock)
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether the path still is the locked file: another process may have removed it while we waited."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
