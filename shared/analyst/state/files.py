"""The local DuckDB file of the system state: fetched, migrated to the current schema, opened."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyst import duckdb_files
from analyst.access import DamagedStateError, StatePointer, parse_pointer
from analyst.state.migrations import migrate
from analyst.state.rows import fetch_one
from analyst.state.schema import is_current
from analyst.store import Object, ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEGACY: Final = "state/system.duckdb"
"""The location of an older system's state. The first edit migrates it, and it is never written."""

ALIAS: Final = "state"
"""The alias of a file in a connection, or how it begins; statements omit it."""

_OLD: Final = "old"
_REMEDY: Final = "restore it from a backup or an earlier object version"
_WHAT: Final = "the system state"


def read_pointer(current: Object | None) -> StatePointer | None:
    """Read the pointer to the current state; `None` if there is no state.

    Raises:
        DamagedStateError: it is damaged.
    """
    return None if current is None else parse_pointer(current.data)


def fetch_file(store: Store, pointer: StatePointer | None, folder: Path) -> Path | None:
    """Download the current state to `folder` and return its path; `None` if there is no state.

    Raises:
        DamagedStateError: it is missing or damaged.
    """
    path = folder / "fetched.duckdb"
    if pointer is not None:
        _download(store, pointer, path)
        return path
    return path if _download_legacy(store, path) else None


class Writer:
    """The connection in which edits open their files, one after the other: to open one takes longer than most edits."""

    def __init__(self) -> None:
        self._idle: DuckDBPyConnection | None = None

    @contextmanager
    def renewed(self, old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
        """Copy the old file to `path` in the current schema, and open it for writing.

        When the block ends, everything is in the file.

        Raises:
            StateTooNewError: the old file was written by a newer version.
            ContractError: it can't be opened.
        """
        with self._connected() as con:
            _renew(con, old, path, now)
            yield con

    @contextmanager
    def edited(self, old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
        """Move the old file to `path` and open it for writing, in a time that does not grow with its size.

        It is copied instead if its schema is older, or if most of it is free space from earlier edits.

        Raises:
            StateTooNewError: the old file was written by a newer version.
            ContractError: it can't be opened.
        """
        with self._connected() as con:
            if old is None or not _opens(con, old, path):
                _renew(con, old, path, now)
            yield con

    @contextmanager
    def _connected(self) -> "Iterator[DuckDBPyConnection]":
        """Lend the connection; the block attaches a file as `ALIAS`. After an error, the next block gets a new one."""
        con, self._idle = self._idle or duckdb_files.connect(threads=1), None
        try:
            yield con
            _leave(con)
        except BaseException:
            con.close()
            raise
        self._idle = con


def attach(con: "DuckDBPyConnection", path: Path, alias: str) -> None:
    """Open a file for reading as `alias`.

    Raises:
        ContractError: it can't be opened.
    """
    duckdb_files.attach(con, path, alias, what=_WHAT)


def _renew(con: "DuckDBPyConnection", old: Path | None, path: Path, now: datetime) -> None:
    duckdb_files.create(con, path, ALIAS)
    if old is not None:
        duckdb_files.attach(con, old, _OLD, what=_WHAT)
        con.execute(f"copy from database {_OLD} to {ALIAS}")
        duckdb_files.detach(con, _OLD)
    con.execute(f"use {ALIAS}")
    migrate(con, now)


def _opens(con: "DuckDBPyConnection", old: Path, path: Path) -> bool:
    """Open an old file at `path` if it can be edited in place; return whether it was."""
    old.replace(path)
    duckdb_files.attach(con, path, ALIAS, what=_WHAT, writable=True)
    con.execute(f"use {ALIAS}")
    used = fetch_one(con, "from pragma_database_size() where database_name = ? and free_blocks <= used_blocks", [ALIAS])
    if used is not None and is_current(con):
        return True
    _leave(con)
    path.replace(old)
    return False


def _leave(con: "DuckDBPyConnection") -> None:
    """Detach the file, which writes its log into it."""
    con.execute("use memory")
    duckdb_files.detach(con, ALIAS)


def _download(store: Store, pointer: StatePointer, path: Path) -> None:
    try:
        store.download(pointer.system, path)
    except ObjectMissingError as error:
        raise DamagedStateError(f"the object {pointer.system!r} of the system state is missing; {_REMEDY}") from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != pointer.sha256.get("system"):
        raise DamagedStateError(f"the object {pointer.system!r} of the system state is damaged; {_REMEDY}")


def _download_legacy(store: Store, path: Path) -> bool:
    """Download the state of the reference system if it exists, with its write-ahead log."""
    if store.head(LEGACY) is None:
        return False
    store.download(LEGACY, path)
    if store.head(f"{LEGACY}.wal") is not None:
        store.download(f"{LEGACY}.wal", path.with_name(f"{path.name}.wal"))
    return True
