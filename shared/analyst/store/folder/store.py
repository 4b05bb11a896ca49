"""A bucket in a folder of this host.

An object is a file at the path of its key, its version the file's mtime in µs. A write goes to a staged file, which is
renamed to its place under a single lock, so readers need no lock and see only whole objects. Other programs may put
files there as well; symbolic links are never followed, and only regular files are objects.

An age counts from the file's ctime, which the system sets at the rename and nobody can set otherwise. The mtime can't
serve for both: versions must run ahead of a clock that was set back, ages must not.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from analyst.errors import InvalidInputError, UnavailableError
from analyst.store import signing
from analyst.store.folder.files import (
    Staged,
    copy_all,
    entries,
    listed_name,
    open_regular,
    staged,
    status_of,
    sweep,
    write_all,
)
from analyst.store.folder.lock import Stamps, locked, mtime_us
from analyst.store.interface import ABSENT, Condition, Entry, Object, ObjectMissingError, UnsureWriteError, require
from analyst.store.keys import OWN_FOLDER, check_folder, check_key, check_prefix

_STAGING = "staging"
_NO_KEYS = (OWN_FOLDER, "lost+found")


class FileStore:
    """The store of `file:///…`. Nothing, not even a folder, is created before the first write.

    Args:
        root: the bucket's folder, on a file system of this host (`factory` checks that).
        sign_key: returns the secret that signs URLs; called when one is signed or verified.
        clock: returns seconds since 1970.
    """

    def __init__(self, root: Path, sign_key: Callable[[], bytes], *, clock: Callable[[], float] = time.time) -> None:
        self._url = f"file://{root.absolute().as_posix()}"  # not percent-encoded: DuckDB does not decode it
        self._root = root.resolve()
        self._own = self._root / OWN_FOLDER
        self._sign_key = sign_key
        self._clock = clock

    @property
    def url(self) -> str:
        """The `DATA_URL` of the bucket, without a trailing slash."""
        return self._url

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read a whole object; `None` if it does not exist, without its data if it is still at version `unless`."""
        with _answering(f"reading {key}"), self._opened(key) as descriptor:
            if descriptor is None:
                return None
            status = os.fstat(descriptor)
            version = _version(status)
            data = b"" if version == unless else _read_all(descriptor, status.st_size)
            return Object(data, version, max(0.0, self._clock() - status.st_ctime))

    def put(self, key: str, data: bytes, *, if_version: str | Condition, mode: int = 0o666) -> str:
        """Write a whole object and return its new version. `mode` is that of the file, before the umask.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
            UnsureWriteError: the object is written, but may not survive a power failure.
        """
        with _answering(f"writing {key}"):
            path = self._path(key)
            require(key, _version_at(path), if_version)
            with self._staged(mode) as file:
                write_all(file.descriptor, data)
                return self._publish(file, key, path, if_version)

    def upload(self, key: str, path: Path) -> str:
        """Copy a local file to a new object and return its version. Blocks are shared if the file system supports it.

        Raises:
            StoreConflictError: the object already exists.
            UnsureWriteError: the object is written, but may not survive a power failure.
        """
        with path.open("rb", buffering=0) as source, _answering(f"writing {key}"):
            target = self._path(key)
            require(key, _version_at(target), ABSENT)
            sweep(self._own / _STAGING, self._clock())
            with self._staged(0o666) as file:
                copy_all(source.fileno(), file.descriptor)
                return self._publish(file, key, target, ABSENT)

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file and return its version. A broken download leaves no file.

        Raises:
            ObjectMissingError: no object has this key.
        """
        with _answering(f"reading {key}"), self._opened(key) as source:
            if source is None:
                raise ObjectMissingError(f"{key!r} does not exist in the bucket")
            version = _version(os.fstat(source))  # before copying: another program may write to the file in place
            with staged(path.parent, 0o666) as file:
                copy_all(source, file.descriptor)
                file.path.replace(path)
            return version

    def list(self, prefix: str) -> Iterable[Entry]:
        """List the objects whose keys start with `prefix`, in the order of their keys."""
        folder, slash, start = check_prefix(prefix).rpartition("/")
        return self._walk(folder + slash, start, self._clock())

    def list_folders(self, prefix: str) -> Iterable[str]:
        """List the names of the folders directly under `prefix` that contain objects, sorted."""
        folders = [name for name, _ in self._scan(check_folder(prefix)) if name.endswith("/")]
        return sorted(name[:-1] for name in folders if next(self._walk(prefix + name, "", 0.0), None))

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object without reading it; `None` if it does not exist."""
        with _answering(f"reading {key}"):
            status = status_of(self._path(key))
            return None if status is None else self._entry(key, status, self._clock())

    def delete(self, key: str) -> None:
        """Delete an object and the folders that become empty; a missing object is no error."""
        with _answering(f"deleting {key}"):
            path = self._path(key)
            if status_of(path) is None:
                return
            with self._locked() as stamps:
                if (status := status_of(path)) is None:
                    return
                stamps.outlive(mtime_us(status))
                path.unlink()
            _sync_nearest(path.parent)
            self._prune(path.parent)

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL, relative to our own functions, that reads this object for `expires` seconds."""
        until = int(self._clock()) + expires
        return signing.sign(self._sign_key(), check_key(key), expires=until, filename=filename)

    def verify(self, key: str, parameters: Mapping[str, str]) -> None:
        """Check a request for a signed URL; `parameters` are those of its query.

        Raises:
            ForbiddenError: the URL was not signed by this store for this key, or has expired.
        """
        signing.verify(self._sign_key(), key, parameters, now=self._clock())

    def local_path(self, key: str) -> Path:
        """Return the path of the object, whether it exists or not."""
        with _answering(f"reading {key}"):
            return self._path(key)

    def own_folder(self) -> Path:
        """Create the folder of the store's own files, and return it."""
        self._own.mkdir(parents=True, exist_ok=True)
        return self._own

    def _staged(self, mode: int) -> AbstractContextManager[Staged]:
        folder = self._own / _STAGING
        folder.mkdir(parents=True, exist_ok=True)
        return staged(folder, mode)

    def _locked(self) -> AbstractContextManager[Stamps]:
        self._own.mkdir(parents=True, exist_ok=True)
        return locked(self._own / "lock", self._clock)

    def _publish(self, file: Staged, key: str, path: Path, if_version: str | Condition) -> str:
        """Give a staged file its version and move it to its place.

        The condition is checked again under the lock: what `put` checked before writing the bytes only saves the work.
        The version is set before the rename, so no reader ever sees the object with another one.
        """
        os.fsync(file.descriptor)
        with self._locked() as stamps:
            current = status_of(path)
            require(key, None if current is None else _version(current), if_version)
            stamp = stamps.next(None if current is None else mtime_us(current))
            _set_mtime(file.descriptor, stamp)
            self._make_folder(path.parent)
            file.path.replace(path)
        _sync_placed(key, path.parent)  # outside the lock: the disk combines the syncs of several writers
        return str(stamp)

    def _make_folder(self, folder: Path) -> None:
        if folder == self._root or folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _prune(self, folder: Path) -> None:
        """Remove empty folders; under the lock, so that no writer creates its folder here in between."""
        with suppress(OSError), os.scandir(folder) as left:
            if next(left, None) is not None:
                return
        with self._locked(), suppress(OSError):  # ends at the first folder that is not empty
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def _path(self, key: str) -> Path:
        path = self._root
        for part in check_key(key).split("/"):
            path /= part
            if path.is_symlink():
                raise InvalidInputError(
                    f"{key!r} can't be used: '{path}' is a symbolic link; replace it with the file or folder it "
                    "points to"
                )
        return path

    @contextmanager
    def _opened(self, key: str) -> Iterator[int | None]:
        descriptor = open_regular(self._path(key))
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _walk(self, folder: str, start: str, now: float) -> Iterator[Entry]:
        """Walk a folder (empty, or ending in a slash), limited to names that start with `start`."""
        for name, entry in self._scan(folder):
            if not name.startswith(start):
                continue
            if name.endswith("/"):
                yield from self._walk(folder + name, "", now)
            else:
                with suppress(FileNotFoundError):
                    yield self._entry(folder + name, entry.stat(follow_symlinks=False), now)

    def _scan(self, folder: str) -> "Sequence[tuple[str, os.DirEntry[str]]]":
        """Return a folder's entries in the order of keys; the name of a folder ends in a slash."""
        path = self._path(folder[:-1]) if folder else self._root
        no_keys = _NO_KEYS if not folder else ()
        with _answering(f"listing {folder or 'the bucket'}"):
            return sorted({listed_name(entry): entry for entry in entries(path) if entry.name not in no_keys}.items())

    def _entry(self, key: str, status: os.stat_result, now: float) -> Entry:
        return Entry(key, _version(status), status.st_size, max(0.0, now - status.st_ctime))


@contextmanager
def _answering(doing: str) -> Iterator[None]:
    """Translate errors of the operating system."""
    try:
        yield
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise InvalidInputError(f"{doing} failed: a key can't be both an object and a folder of others") from error
    except PermissionError as error:
        remedy = "the bucket's folder and everything in it must belong to the user of this process"
        raise UnavailableError(f"{doing} failed: {error}; {remedy}") from error
    except OSError as error:
        raise UnavailableError(f"{doing} failed: {error}; check the bucket's disk") from error


def _version(status: os.stat_result) -> str:
    return str(mtime_us(status))


def _version_at(path: Path) -> str | None:
    status = status_of(path)
    return None if status is None else _version(status)


def _read_all(descriptor: int, size: int) -> bytes:
    return b"".join(iter(lambda: os.read(descriptor, size + 1), b""))


def _set_mtime(descriptor: int, stamp: int) -> None:
    os.utime(descriptor, ns=(stamp * 1000, stamp * 1000))
    if mtime_us(os.fstat(descriptor)) != stamp:
        raise UnavailableError(
            "the bucket's file system does not store times in microseconds; use ext4, xfs, btrfs or tmpfs"
        )


def _sync_placed(key: str, folder: Path) -> None:
    try:
        _sync_folder(folder)
    except FileNotFoundError:
        pass  # another process has already deleted the object, and the folder with it
    except OSError as error:
        raise UnsureWriteError(
            f"{key!r} is written, but may not survive a power failure: {error.strerror}; check the bucket's disk"
        ) from error


def _sync_nearest(folder: Path) -> None:
    """Sync a folder from which something was deleted; if the folder is gone as well, its nearest parent."""
    try:
        _sync_folder(folder)
    except FileNotFoundError:
        _sync_nearest(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
