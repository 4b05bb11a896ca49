"""Files that are being written and belong to no key yet, in a folder of the store's own.

Each is locked by its writer for as long as it writes. The lock goes with the process, so what a killed writer left
behind is told from what is in the making, across containers too.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from analyst.store.keys import is_part


def open_regular(path: Path) -> int | None:
    """Open a regular file, `None` if there is none; neither a pipe nor a link makes it wait or wander."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def entries(path: Path) -> "Iterator[os.DirEntry[str]]":
    """Read what of a folder can be an object or a folder of some; a folder that is not there is empty."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as found:
        for entry in found:
            if is_part(entry.name) and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                yield entry


def listed_name(entry: "os.DirEntry[str]") -> str:
    """Tell a name as keys are ordered by: that of a folder ends in a slash."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def status_of(path: Path) -> os.stat_result | None:
    """Look at a regular file, `None` if there is none."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


_LEFT_AFTER = 3600.0
_AT_ONCE = 1 << 30


@dataclass(frozen=True, slots=True)
class Staged:
    """A file in the making. `descriptor` is open for writing."""

    path: Path
    descriptor: int


@contextmanager
def staged(folder: Path, mode: int) -> Iterator[Staged]:
    """Lend a new file; it is gone afterwards unless it was renamed."""
    path = folder / os.urandom(16).hex()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Staged(path, descriptor)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def sweep(folder: Path, now: float) -> None:
    """Remove the files that killed writers left more than an hour ago."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # in the making, gone already, or somebody else's: never the end of an upload
                if now - entry.stat(follow_symlinks=False).st_mtime > _LEFT_AFTER:
                    _remove_unlocked(Path(entry.path))


def _remove_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes, however many the system takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def copy_all(source: int, target: int) -> None:
    """Copy what is left of a file, in the kernel where it can: sharing blocks, else without passing through here.

    Each way goes on where the one before it stopped; the last one says what is wrong.
    """
    with suppress(OSError, AttributeError):
        while os.copy_file_range(source, target, _AT_ONCE):
            pass
    with suppress(OSError, AttributeError, TypeError):  # macOS wants an offset, and a socket
        while os.sendfile(target, source, None, _AT_ONCE):
            pass
    while chunk := os.read(source, 1 << 20):
        write_all(target, chunk)
