"""The folder of the mirror, and its saved state.

`server/parquet/<source>/<table>/<sha256[:32]>.parquet` is the mirror, `user/duckdb/analytics.duckdb` the user's
database with a view per table, `.da/state.json` what the last sync left there (`da.mirror.state`).
"""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Self

from da.atomic import write_atomically
from da.config import Config
from da.errors import DaError, cause_of
from da.mirror.manifest import File, Table
from da.mirror.state import Saved, State, Tables

LAYOUT = 2
"""Of the database: 2 has a schema per source."""

_OURS = re.compile(r"[0-9a-f]{32}(\.parquet|(\.[0-9]+)?\.part)")
_LONGEST_PATH = 259
"""Characters of a path on Windows (MAX_PATH without the NUL at the end)."""

_LOCKED = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}
"""Errors of a lock that another process has, on any system."""

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with a mirror, or for one."""

    root: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ, start: Path | None = None) -> Self:
        """Find the workspace.

        It is `DA_LOCAL_DIR`, otherwise the nearest parent folder with `.da/`, otherwise the configured one (`da config
        set workspace`), otherwise the current folder.
        """
        if named := environ.get("DA_LOCAL_DIR"):
            return cls(Path(named).expanduser().absolute())
        here = (start or Path.cwd()).absolute()
        mirror = next((folder for folder in (here, *here.parents) if (folder / ".da").is_dir()), None)
        configured = Config.read(environ).workspace
        return cls(mirror or (Path(configured) if configured else here))

    def missing(self, environ: Mapping[str, str] = os.environ) -> DaError:
        """Return the error that there is no mirror here, with where the user's mirror is, if that is known."""
        if elsewhere := self.elsewhere(environ):
            return DaError(f"there is no mirror in '{self.root}'; {elsewhere}")
        return DaError(f"there is no mirror in '{self.root}' yet; to create it, run: da sync")

    def elsewhere(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the advice to change to the folder of the user's mirror; empty if that is here or unknown."""
        last = Config.read(environ).last_workspace
        is_elsewhere = last and Path(last) != self.root and (Path(last) / ".da").is_dir()
        return f"yours is in '{last}': change to that folder first" if is_elsewhere else ""

    @property
    def duckdb(self) -> Path:
        """The user's database."""
        return self.root / "user" / "duckdb" / "analytics.duckdb"

    @property
    def parquet(self) -> Path:
        """The root of the mirror."""
        return self.root / "server" / "parquet"

    def folder(self, table_id: str) -> Path:
        """The folder of a table's files."""
        return self.parquet.joinpath(*map(_as_folder, table_id.split(".")))

    def path(self, table_id: str, file: File) -> Path:
        """The path of one file. It is named after the hash of its content, so it never changes."""
        return _file_path(self.root, table_id, file.sha256)

    def holds(self, table: Table) -> bool:
        """Return whether all files of a table are here."""
        return all(_size(self.path(table.id, file)) == file.size_bytes for file in table.files)

    def holds_all(self, tables: Tables) -> bool:
        """Return whether the files of all tables are here."""
        try:
            return all(os.stat(path).st_size == size for path, size in self._files(tables))  # noqa: PTH116 - three times faster
        except OSError:
            return False

    def files(self, tables: Tables, sources: Collection[str] | None = None) -> set[Path]:
        """List the files of some sources' tables (`None`: all), without reading the tables."""
        return {Path(path) for path, _ in self._files(tables, sources)}

    def _files(self, tables: Tables, sources: Collection[str] | None = None) -> Iterator[tuple[str, int]]:
        root = f"{self.parquet}{os.sep}"
        for table_id, entry in tables.index():
            source, _, name = table_id.partition(".")
            if entry.files and (sources is None or source in sources):
                folder = f"{root}{_as_folder(source)}{os.sep}{_as_folder(name)}{os.sep}"
                for file, size in entry.files:
                    yield f"{folder}{file}.parquet", size

    def state(self) -> State:
        """Read the state of the last sync; an unreadable state counts as empty, and the next sync finds the files again."""
        return State.of(self.saved())

    def saved(self) -> Saved:
        """Read the state of the last sync without its tables."""
        return Saved(self._state_path)

    def save(self, state: State) -> None:
        """Save the state."""
        state.save(self._state_path)

    def doubt(self, state: State) -> None:
        """Mark the mirror as out of date before anything is changed.

        If this run dies, the next one would otherwise send the ETag, be told that nothing changed, and keep half of it.
        """
        if state.etag is not None or state.sources:
            times = self._state_path.stat()
            self.save(replace(state, etag=None, sources={}))
            # The modification time says when the mirror last matched the server; this is no news from the server.
            os.utime(self._state_path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def note_database(self) -> None:
        """Record that the database is as `da` has just written it; that is no news from the server."""
        times = self._state_path.stat()
        self.save(replace(self.state(), database=self.database_stamp()))
        os.utime(self._state_path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def touch(self) -> None:
        """Record that the mirror was up to date now."""
        os.utime(self._state_path)

    def checked_at(self) -> datetime | None:
        """Return when the mirror last matched the server; `None` if never."""
        try:
            return datetime.fromtimestamp(self._state_path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def database_stamp(self) -> tuple[int, ...] | None:
        """Return the size and modification time (ns) of the database, and of its log if any; `None` if there is none."""
        return stamp(self.duckdb)

    def aside_for_readers(self) -> Path:
        """Return a new path for a database that is replaced while another process reads it."""
        return self.root / ".da" / "readers" / f"{time.time_ns()}.duckdb"

    def note_read(self, aside: Path, files: Iterable[Path]) -> None:
        """Record the files that a replaced database refers to while another process reads it."""
        names = sorted(path.relative_to(self.root).as_posix() for path in files)
        write_atomically(aside.with_suffix(".json"), json.dumps(names))

    def has_readers(self) -> bool:
        """Return whether replaced databases are kept for their readers."""
        return any((self.root / ".da" / "readers").glob("*.duckdb"))

    def read_elsewhere(self) -> set[Path]:
        """List the files that readers of replaced databases may still open; databases without readers are deleted."""
        files: set[Path] = set()
        for aside in (self.root / ".da" / "readers").glob("*.duckdb"):
            noted = aside.with_suffix(".json")
            if is_read(aside):
                with suppress(OSError, ValueError):
                    files.update(self.root / name for name in json.loads(noted.read_text(encoding="utf-8")))
            else:
                aside.unlink(missing_ok=True)
                noted.unlink(missing_ok=True)
                _remove_if_empty(aside.parent)
        return files

    def prune(self, keep: Collection[Path], sources: Collection[str] | None = None) -> None:
        """Delete the files of some sources (`None`: all) except those to `keep`, and empty folders.

        Only names that `da` itself gives are touched, and links are not followed.
        """
        names = {str(path) for path in keep}
        theirs = None if sources is None else set(map(_as_folder, sources))
        for source in _folders(self.parquet):
            if theirs is not None and source.name not in theirs:
                continue
            for table in _folders(source):
                files = list(os.scandir(table))
                unneeded = [file.path for file in files if _OURS.fullmatch(file.name) and file.path not in names]
                for path in unneeded:
                    with suppress(PermissionError):  # Windows keeps what is open; the next sync deletes it
                        Path(path).unlink()
                if len(unneeded) == len(files):
                    _remove_if_empty(table)
            _remove_if_empty(source)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out every other `da sync`.

        The lock belongs to the process, not to the content of the file, so that one that died leaves none behind.

        Raises:
            DaError: another sync is running, or the folder is not writable.
        """
        if "?" in str(self.root):
            raise DaError(
                f"can't sync '{self.root}': DuckDB can't write to a folder whose path contains '?'; choose another folder with"
                " DA_LOCAL_DIR"
            )
        try:
            (self.root / ".da").mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / ".da" / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DaError(
                f"can't write to '{self.root}': {cause_of(error)}; choose another folder with DA_LOCAL_DIR"
            ) from None
        try:
            try:
                _lock(handle)
            except OSError as error:
                if error.errno not in _LOCKED:
                    raise DaError(
                        f"can't lock '{self.root / '.da' / 'lock'}': {cause_of(error)}; choose another folder with DA_LOCAL_DIR"
                    ) from None
                raise DaError(
                    f"can't sync '{self.root}': another da sync is running there; wait until it ends"
                ) from None
            self._remove_unfinished()
            yield
        finally:
            os.close(handle)

    def _remove_unfinished(self) -> None:
        """Delete the temporary files of a sync that died while saving its state."""
        for path in self._state_path.parent.glob(f".{self._state_path.name}.*"):
            path.unlink(missing_ok=True)

    @property
    def _state_path(self) -> Path:
        return self.root / ".da" / "state.json"


def stamp(database: Path) -> tuple[int, ...] | None:
    """Return the size and modification time (ns) of a database, and of its log if any; `None` if there is none."""
    found = list[int]()
    for path in (database, Path(f"{database}.wal")):
        try:
            status = path.stat()
        except OSError:
            break
        found += (status.st_size, status.st_mtime_ns)
    return tuple(found) or None


def is_read(database: Path) -> bool:
    """Return whether another process has a DuckDB file open, and therefore a lock on it.

    Windows does not let such a file be replaced in the first place.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    # DuckDB takes a POSIX lock (fcntl) for as long as it has a file open, also when it only reads. Taking the exclusive
    # one fails exactly while somebody reads. It is released when the file is closed here.
    try:
        with database.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in {errno.EACCES, errno.EAGAIN}
    return False


def _as_folder(name: str) -> str:
    """Return the name of a folder: names that are devices on Windows, such as `con`, get an underscore.

    Every system gets the same names, so that a mirror can be copied. Names that look as if they had got an underscore
    get one more, so that no two tables share a folder.
    """
    return f"{name}_" if name.rstrip("_") in _RESERVED else name


def is_too_long(path: PurePath, platform: str = sys.platform) -> bool:
    """Return whether a path is longer than Windows allows to programs that don't ask for long paths.

    DuckDB opens the files under the names in the views; so do other programs.
    """
    return platform == "win32" and len(str(path)) > _LONGEST_PATH


@lru_cache(maxsize=1 << 18)  # a sync asks for each path several times
def _file_path(root: Path, table_id: str, sha256: str) -> Path:
    return Workspace(root).folder(table_id) / f"{sha256[:32]}.parquet"


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [Path(each.path) for each in os.scandir(path) if each.is_dir(follow_symlinks=False)]


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
