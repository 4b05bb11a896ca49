"""Regular files, and staged files: those being written, which belong to no key yet and are in the store's own folder.

A writer locks its staged file while it writes. The lock ends with the process, so a file that a killed writer left can
be distinguished from one in progress, even across containers, where process ids mean nothing.
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
    """Open a regular file; `None` if it does not exist. Never blocks on a pipe or follows a symbolic link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def entries(path: Path) -> "Iterator[os.DirEntry[str]]":
    """Yield the entries of a folder that can be objects or folders; a missing folder has none."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as found:
        for entry in found:
            if is_part(entry.name) and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                yield entry


def listed_name(entry: "os.DirEntry[str]") -> str:
    """Return a name by which keys are ordered: that of a folder ends in a slash."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of a regular file; `None` if it does not exist."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


_LEFT_AFTER = 3600.0
_AT_ONCE = 1 << 30


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged file. `descriptor` is open for writing."""

    path: Path
    descriptor: int


@contextmanager
def staged(folder: Path, mode: int) -> Iterator[Staged]:
    """Create a staged file, and delete it afterwards unless it was renamed."""
    path = folder / os.urandom(16).hex()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Staged(path, descriptor)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def sweep(folder: Path, now: float) -> None:
    """Remove the staged files that killed writers left more than an hour ago."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # in progress, already gone, or another user's: no reason to fail an upload
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
    """Write all bytes, in as many system calls as it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def copy_all(source: int, target: int) -> None:
    """Copy the rest of a file, in the kernel where possible: by sharing blocks, else without passing through this process.

    Each method continues where the previous one stopped; the last one raises the error.
    """
    with suppress(OSError, AttributeError):
        while os.copy_file_range(source, target, _AT_ONCE):
            pass
    with suppress(OSError, AttributeError, TypeError):  # macOS requires an offset, and a socket
        while os.sendfile(target, source, None, _AT_ONCE):
            pass
    while chunk := os.read(source, 1 << 20):
        write_all(target, chunk)
