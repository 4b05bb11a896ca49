"""Opening a large database in a thread, while its changes are requested and the rest of `da` is loaded.

It takes longer than everything else that a change needs, so this module imports little, and of DuckDB only the library.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any

from da.sql import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LARGE = 2000
"""Tables of a database that takes long to open."""

MOST_IN_PLACE = 500
"""Tables that are changed in place: while that lasts, up to half a second, no other program can open the database."""

_LONGEST_LOCK = 1.0
"""Seconds for which other programs can't open the database because of a request or a download."""

SETTINGS = (
    # each file has two views
    "set TimeZone = 'UTC'; set parquet_metadata_cache = true;"
    # For thousands of small statements, other threads would only be woken up, and nothing of them can be optimized.
    "set threads = 1; pragma disable_optimizer"
)


@contextmanager
def without_interruption() -> Iterator[None]:
    """Hold Ctrl-C back until this ends.

    If it interrupts an import, Python may keep the lock of all imports, for which a thread would wait forever, and DuckDB's
    module can't be imported a second time.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or current_thread() is not main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def _library() -> Any:
    """Import the library of DuckDB without its package for Python, which takes longer."""
    with without_interruption():
        try:
            import _duckdb
        except ImportError:
            import duckdb

            return duckdb
    return _duckdb


class Opening:
    """Attaches a database to a DuckDB in memory, in which views for it can be created meanwhile.

    It is detached again if nobody asks for it in time, because no other program can open it until then.
    """

    def __init__(self, link: Path) -> None:
        library = _library()
        self._error = library.Error
        self._path = Path(os.path.realpath(link))
        self.memory: DuckDBPyConnection = library.connect()
        self._connection: DuckDBPyConnection = self.memory.cursor()
        self._is_open = self._is_taken = False
        self._wanted = Event()
        self._thread = Thread(target=self._open, daemon=True)
        self._thread.start()

    def opened(self) -> "DuckDBPyConnection | None":
        """Wait for the database; `None` if it can't be opened, or has been closed again or returned before.

        To close it, the connection to the memory has to be closed, too.
        """
        self._wanted.set()
        self._thread.join()
        if self._is_taken:
            return None
        self._is_taken = True
        if self._is_open:
            return self._connection
        self._connection.close()
        self.memory.close()
        return None

    def close(self) -> None:
        """Close the database, unless it has been returned."""
        if opened := self.opened():
            opened.close()
            self.memory.close()

    def _open(self) -> None:
        name = quote(self._path.stem)
        try:
            if not is_database(self._path):
                return
            clean_up(self._path)
            # A checkpoint, which only a change may need, would take longer than opening it has.
            self._connection.execute(f"pragma disable_checkpoint_on_shutdown; {SETTINGS}")
            self._connection.execute(f"set temp_directory = {quote_text(f'{self._path}.tmp')}")
            self._connection.execute(f"attach {quote_text(str(self._path))} as {name}")
            if self._wanted.wait(_LONGEST_LOCK):
                self._connection.execute(f"use {name}.main")
                self._is_open = True
            else:
                self._connection.execute(f"detach {name}")
        except (OSError, self._error):
            return


def is_database(path: Path) -> bool:
    """Return whether a file is a database. DuckDB would make one of an empty file, and a device may never end."""
    return path.is_file() and head_of(path)[8:12] == b"DUCK"


def head_of(path: Path) -> bytes:
    """Read the header of a database."""
    with path.open("rb") as file:
        return file.read(84)


def log_of(path: Path) -> Path:
    """Return the path of the log of a database."""
    return Path(f"{path}.wal")


def log_aside(path: Path) -> Path:
    """Return where the log of a database is while the database is being replaced."""
    found = path.stat() if path.exists() else None
    return path.with_name(f".{path.name}.{found.st_size}-{found.st_mtime_ns}.wal" if found else f".{path.name}.0.wal")


def fresh_of(path: Path) -> Path:
    """Return the path of the copy that replaces a database."""
    return path.with_name(f".{path.name}.new")


def clean_up(path: Path) -> None:
    """Remove what a sync that died left beside the database, and put the log back that it had taken away."""
    log, aside = log_of(path), log_aside(path)
    if aside.exists() and not log.exists():
        aside.replace(log)
    for stale in (fresh_of(path), *path.parent.glob(f".{path.name}.*.wal")):
        stale.unlink(missing_ok=True)
