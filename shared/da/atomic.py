"""Write small files atomically: a reader, or the next run after a crash, sees the old or the new content."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a text file atomically. The file never has wider permissions than `mode`, not even for a moment."""
    # Next to the target, because a rename is atomic only within one file system; with the process ID, because two `da`
    # may renew the same login at once.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)  # or a power failure could leave the new name with no content
        fresh.replace(path)
    except OSError as error:  # of a disk that is full, the system does not say which file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        fresh.unlink(missing_ok=True)
