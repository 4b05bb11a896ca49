"""Work on the database of a mirror that is done while its changes are requested and downloaded."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from time import monotonic
from typing import TYPE_CHECKING

from da.errors import DaError
from da.mirror.plan import Plan

if TYPE_CHECKING:
    from da.mirror.database import Draft, InPlace
    from da.mirror.views import Mirrored

_MANY, _FEW_BYTES = 100, 16 << 20
LARGE = 2000
"""Tables of a database that takes long to open."""

_BATCH, _BATCHES = 200, 4
"""Tables whose views are created at once, and batches of fewer tables."""

_LONGEST_LOCK = 1.0
"""Seconds for which other programs can't open the database because of a download."""


def _database_modules() -> None:
    """Import what threads need of DuckDB.

    That is done before they start, and Ctrl-C waits for it: if it interrupts an import, Python may keep the lock of all
    imports, for which the thread would wait forever, and DuckDB's module can't be imported a second time.
    """
    with _without_interruption():
        import da.mirror.database
        import da.mirror.views  # noqa: F401


@contextmanager
def _without_interruption() -> Iterator[None]:
    """Hold Ctrl-C back until this ends."""
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


class Opening:
    """Opens a large database in a thread, because that takes a third of a second, while its changes are requested.

    It is closed again if they take long, because no other program can open it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: InPlace | None = None
        self._wanted = Event()
        _database_modules()
        self._thread = Thread(target=self._open, daemon=True)
        self._thread.start()

    def opened(self) -> "InPlace | None":
        """Wait for the database; `None` if it can't be opened, or has been closed again."""
        self._wanted.set()
        self._thread.join()
        opened, self._opened = self._opened, None
        return opened

    def _open(self) -> None:
        from da.mirror.database import InPlace

        if database := InPlace.of(self._path):
            if self._wanted.wait(_LONGEST_LOCK):
                self._opened = database
            else:
                database.close()


class EarlyViews:
    """The work on the database that is done in a thread while files are downloaded.

    Of many tables, and for a new database, the views of those that are complete are created in a copy. A large database is
    opened for a few changes that will not take long to arrive. A small one is not: other programs can open it until the
    files are there. An error stays for the work that follows.
    """

    def __init__(self, path: Path, todo: Plan, mirrored: int, opening: Opening | None) -> None:
        self._path, self._count = path, len(todo.chosen)
        self._is_new = not path.exists()
        self._is_opened = mirrored > LARGE and todo.size_bytes <= _FEW_BYTES
        self._opening = opening
        self._complete: SimpleQueue[list[Mirrored] | None] = SimpleQueue()
        self._begun: InPlace | Draft | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the work."""
        _database_modules()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, tables: "list[Mirrored]") -> None:
        """Take tables whose files have all arrived."""
        self._complete.put(tables)

    def finished(self) -> "InPlace | Draft | None":
        """Wait for the work to end; return what it was done to."""
        self._complete.put(None)
        if self._thread:
            self._thread.join()
        return self._begun

    def _work(self) -> None:
        from da.mirror.database import MOST_IN_PLACE, InPlace

        opened = self._opening and self._opening.opened()
        if opened and not self._is_opened:
            opened.close()
        elif self._is_opened and self._count <= MOST_IN_PLACE and (opened := opened or InPlace.of(self._path)):
            if self._is_ending(within=_LONGEST_LOCK):
                self._begun = opened
            else:
                opened.close()
            return
        if self._is_new or self._count >= _MANY:
            self._create()

    def _create(self) -> None:
        import duckdb

        from da.mirror.database import Draft

        least = min(_BATCH, -(-self._count // _BATCHES))
        draft: Draft | None = None
        batch: list[Mirrored] = []
        tables: list[Mirrored] | None = []
        try:
            while tables is not None:
                tables = self._complete.get()
                batch += tables or ()
                if batch and (tables is None or len(batch) >= least):
                    draft = draft or Draft(self._path)
                    draft.add(batch)
                    batch = []
        except (DaError, duckdb.Error):
            if draft:
                draft.close()
        else:
            self._begun = draft

    def _is_ending(self, within: float) -> bool:
        """Return whether the download ends in time."""
        ends = monotonic() + within
        with suppress(Empty):
            while self._complete.get(timeout=max(0.0, ends - monotonic())) is not None:
                pass
            return True
        return False
