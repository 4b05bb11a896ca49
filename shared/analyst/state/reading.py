"""Reading the system state: the current file, opened once per version."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.access import CURRENT
from analyst.state.files import ALIAS, attached, fetch_file, read_pointer, renewed
from analyst.state.schema import is_current
from analyst.store import Object, Store

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
