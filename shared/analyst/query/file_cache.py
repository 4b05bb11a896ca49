"""The files of tables on this machine's disk: those of a bucket in a folder as they are, others in a cache by content.

A data file never changes and its name in the cache is its hash, so a cached file is never wrong. The files that were used
least recently are deleted first. Files in use are held, so that a statement does not lose one between two steps.
"""

import hashlib
import os
import stat
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from analyst.catalog import File
from analyst.errors import UnavailableError
from analyst.http_client import HttpClient
from analyst.query.ranges import Ranges
from analyst.store import ObjectMissingError, Store, in_parallel

_AT_ONCE: Final = 8
_BLOCK: Final = 1 << 20


def private_folder(parent: Path | None) -> Path:
    """Create a folder that only this user can open, for files of queries.

    Raises:
        UnavailableError: another user has created it.
    """
    folder = (parent or Path(tempfile.gettempdir())) / f"ai-data-analyst-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != stat.S_IRWXU or not stat.S_ISDIR(status.st_mode):
        raise UnavailableError(
            f"the folder '{folder}' is open to other users; delete it, or set SCRATCH_DIR to another folder"
        )
    return folder


class FileCache:
    """Files of a bucket, at most `size` bytes of copies in `folder`. Thread-safe; processes may share the folder."""

    def __init__(self, store: Store, folder: Path, size: int, http: HttpClient | None = None) -> None:
        self._store = store
        self._ranges = Ranges(store, http or HttpClient())
        self._folder = folder
        self._size = size
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._fetching: dict[str, threading.Lock] = {}

    @contextmanager
    def held(self, files: Sequence[File]) -> Iterator[list[Path | None]]:
        """Return the local paths of files, in their order, which stay until the block ends.

        If they are larger than the cache, only those in it have one; the others are read by ranges (`read`).

        Raises:
            UnavailableError: a file is missing or damaged, or the store does not respond.
        """
        local = [self._store.local_path(file.path) for file in files]
        if all(path is not None for path in local):
            yield [*local]
            return
        distinct = {file.sha256: file for file in files}
        total = sum(file.size_bytes for file in distinct.values())
        is_whole = total <= self._size
        with self._lock:
            self._held.update(distinct.keys())
        try:
            if is_whole:
                in_parallel(self._fetch, distinct.values(), _AT_ONCE)
            yield [path if is_whole or path.exists() else None for path in (self._path(file.sha256) for file in files)]
        finally:
            with self._lock:
                self._held.subtract(distinct.keys())
                self._held = +self._held
            self._evict()

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Return a range of a file of the bucket.

        Raises:
            UnavailableError: the file is gone, or the store does not respond.
        """
        return self._ranges.read(file, offset, size)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _fetch(self, file: File) -> None:
        path = self._path(file.sha256)
        with self._lock:
            turn = self._fetching.setdefault(file.sha256, threading.Lock())
        with turn:
            try:
                os.utime(path)  # used now
            except FileNotFoundError:
                self._download(file, path)
        with self._lock:
            self._fetching.pop(file.sha256, None)

    def _download(self, file: File, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            self._store.download(file.path, part)
            with part.open("rb") as copy:
                found = hashlib.file_digest(copy, "sha256").hexdigest()
            if found != file.sha256:
                raise UnavailableError("a file of a table in this statement is damaged; sync the table's source again")
            part.replace(path)
        except ObjectMissingError as error:
            raise UnavailableError(
                "a file of a table in this statement is no longer in the bucket; ask again for the newest snapshot, or sync "
                "the table's source again"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Delete the files that were used least recently, until the rest fits."""
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("??/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _time, size, _path in found) - self._size
        for _time, size, path in sorted(found):
            if excess <= 0:
                return
            with self._lock:
                if self._held[path.name.partition(".")[0]]:
                    continue
                path.unlink(missing_ok=True)
            excess -= size
