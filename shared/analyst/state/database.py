"""The system state in a bucket: read it, and edit it."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from analyst import duckdb_files
from analyst.access import CURRENT
from analyst.backoff import within
from analyst.state.attempts import Attempts
from analyst.state.files import ALIAS, attached, fetch_file, read_pointer, renewed
from analyst.state.schema import is_current
from analyst.store import Object, Store, compare_and_swap
from analyst.store.compare_and_swap import swap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file. It is closed when nobody holds this any more."""

    version: str | None
    con: "DuckDBPyConnection"

    def cursor(self) -> "DuckDBPyConnection":
        cursor = self.con.cursor()
        cursor.execute(f"use {ALIAS}")
        return cursor


class StateReader:
    """Opens the current state for readers; a version stays open until the next one is asked for and its readers end."""

    def __init__(self, store: Store, now: Callable[[], datetime], scratch: Path | None) -> None:
        self._store = store
        self._now = now
        self._scratch = scratch
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @contextmanager
    def open(self) -> "Iterator[DuckDBPyConnection]":
        """Lend a connection to the state as it is now."""
        with self._lock:
            newest = self._newest()  # held to the end: it closes when nobody holds it
            cursor = newest.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _newest(self) -> _Opened:
        known = self._opened
        current = self._store.read(CURRENT, unless=known.version if known else None)
        version = current.version if current else None
        if known is None or known.version != version:
            known = self._opened = self._open(current, version)
        return known

    def _open(self, current: Object | None, version: str | None) -> _Opened:
        """Open the file; its name may go at once, the connection holds it."""
        with duckdb_files.scratch(self._scratch) as folder:
            fetched = fetch_file(self._store, read_pointer(current), folder)
            return _Opened(version, self._current(fetched, folder / "renewed.duckdb"))

    def _current(self, fetched: Path | None, path: Path) -> "DuckDBPyConnection":
        """Open the fetched file, or where it is missing or older a new one with what is in it."""
        if fetched is not None:
            con = attached(fetched)
            if is_current(con):
                return con
            con.close()
        with renewed(fetched, path, self._now()):
            pass
        return attached(path)


T = TypeVar("T")

_PATIENCE: Final = 60.0
_DOUBLED: Final = 5
"""How often the pauses between attempts grow."""


class State:
    """The system state in a bucket.

    `now` is the clock, `published` is called after each edit of this process (see `AccessReader.expire`), `sleep` waits
    before an edit, or a write of it, is tried again.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        *,
        published: Callable[[], None] = lambda: None,
        scratch: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._now = now
        self._published = published
        self._scratch = scratch
        self._sleep = sleep
        self._reader = StateReader(store, now, scratch)
        self._editing = threading.Lock()

    def read(self) -> "AbstractContextManager[DuckDBPyConnection]":
        """Open the state as it is now, for reading only.

        Raises:
            UnavailableError: the store does not answer, or the state is damaged.
            StateTooNewError: a newer program has written it.
        """
        return self._reader.open()

    def edit(self, change: "Callable[[DuckDBPyConnection], T]") -> T:
        """Change the state, publish it with the access list that follows from it, and return what `change` returned.

        `change` runs again, on what others wrote, whenever they came between: all it does goes through the connection
        it is given. Whatever it raises ends the edit, and nothing is changed.

        Raises:
            UnavailableError: the store does not answer, others came between all the time, or the state is damaged.
            UnsureWriteError: a write got no answer and can't be read back; the change may have been made.
            StateTooNewError: a newer program has written the state.
        """
        attempts = Attempts(self._store, self._now, self._scratch, change, self._sleep)
        with self._editing:  # one at a time in this process: they would only come between each other
            try:
                pauses = self._pauses(attempts)
                swap(self._store, CURRENT, attempts.next, done=attempts.is_in, pauses=pauses, sleep=self._sleep)
            finally:
                self._published()
        return attempts.result

    def _pauses(self, attempts: Attempts[T]) -> Iterator[float]:
        """Yield pauses in proportion to what an attempt takes.

        With pauses shorter than an attempt, every writer would read, build for a second, and find that another one has
        published meanwhile: of many attempts side by side, only one succeeds.
        """

        def longer() -> Iterator[float]:
            for tries, pause in enumerate(compare_and_swap.pauses_for(self._store)):
                spread = attempts.seconds * 2 ** min(tries, _DOUBLED)
                yield max(pause, random.uniform(0.0, spread))  # noqa: S311 - only spreads the contenders

        return within(longer(), _PATIENCE)
