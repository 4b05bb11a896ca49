"""What in a folder is an object, or a folder of some: regular files and folders under names that a key can have.

Neither a pipe nor a link makes anybody wait or wander.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
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
