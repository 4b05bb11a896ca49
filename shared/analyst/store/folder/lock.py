"""The lock of a bucket in a folder, and the versions that are given out under it.

A version is a time in µs, and every one is greater than all before it, whatever the clock does: the greatest stands as
the lock file's own mtime, so it outlives the objects and the processes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamps:
    """Gives out versions while the lock is held. `descriptor` is the lock file's; `clock` tells seconds."""

    descriptor: int
    clock: Callable[[], float]

    def next(self, current: int | None) -> int:
        """Give out a version that no object has had; `current` is the one that is replaced."""
        now = int(self.clock() * 1_000_000)
        stamp = max(now, self._last() + 1, (current or 0) + 1)
        self._remember(stamp, durably=stamp > now)
        return stamp

    def outlive(self, version: int) -> None:
        """Make sure that no later version is this one, whose object is about to go."""
        if version > self._last():
            self._remember(version, durably=True)

    def _last(self) -> int:
        return mtime_us(os.fstat(self.descriptor))

    def _remember(self, stamp: int, *, durably: bool) -> None:
        os.utime(self.descriptor, ns=(stamp * 1000, stamp * 1000))
        if durably:  # else the clock itself is past it when the machine comes up again
            os.fsync(self.descriptor)


def mtime_us(status: os.stat_result) -> int:
    """Tell a file's mtime in whole µs."""
    return status.st_mtime_ns // 1000


@contextmanager
def locked(path: Path, clock: Callable[[], float]) -> Iterator[Stamps]:
    """Hold the lock: one holder among all threads and processes of this host. Waits as long as it takes."""
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
    """Tell whether the path leads to the locked file: somebody may have removed it while we waited."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
