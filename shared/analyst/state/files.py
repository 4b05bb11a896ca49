"""The DuckDB file of the system state on this machine: fetched, brought to today's schema, opened."""

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
"""Where the reference system kept its state. It is taken over by the first edit, and never written."""

ALIAS: Final = "state"
"""What the file is called in a connection; statements need not say it."""

_OLD: Final = "old"
_REMEDY: Final = "restore it from a backup or an earlier object version"
_WHAT: Final = "the system state"


def read_pointer(current: Object | None) -> StatePointer | None:
    """Read the pointer to the current state, `None` when there is no state.

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


@contextmanager
def renewed(old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
    """Copy the old file to `path` in the current schema, and open it for writing.

    When the block ends, all is in the file.

    Raises:
        StateTooNewError: a newer program has written the old file.
        ContractError: it can't be opened.
    """
    with _writing() as con:
        _renew(con, old, path, now)
        yield con


@contextmanager
def edited(old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
    """Move the old file to `path` and open it for writing, in a time that does not grow with its size.

    It is copied instead if its schema is older, or if most of it is free space from earlier edits.

    Raises:
        StateTooNewError: a newer program has written the old file.
        ContractError: it can't be opened.
    """
    with _writing() as con:
        if old is None or not _is_fit(con, old):
            _renew(con, old, path, now)
        else:
            old.replace(path)
            duckdb_files.attach(con, path, ALIAS, what=_WHAT, writable=True)
            con.execute(f"use {ALIAS}")
        yield con


def attached(path: Path) -> "DuckDBPyConnection":
    """Open a file for reading, for as long as the connection is held.

    Raises:
        ContractError: it can't be opened.
    """
    con = duckdb_files.connect(threads=1)
    duckdb_files.attach(con, path, ALIAS, what=_WHAT)
    con.execute(f"use {ALIAS}")
    return con


@contextmanager
def _writing() -> "Iterator[DuckDBPyConnection]":
    """Lend a connection, in which the block opens a file; when it ends well, all is in the file."""
    con = duckdb_files.connect(threads=1)
    try:
        yield con
        con.execute("use memory")
        duckdb_files.detach(con, ALIAS)
    finally:
        con.close()


def _renew(con: "DuckDBPyConnection", old: Path | None, path: Path, now: datetime) -> None:
    duckdb_files.create(con, path, ALIAS)
    if old is not None:
        duckdb_files.attach(con, old, _OLD, what=_WHAT)
        con.execute(f"copy from database {_OLD} to {ALIAS}")
        duckdb_files.detach(con, _OLD)
    con.execute(f"use {ALIAS}")
    migrate(con, now)


def _is_fit(con: "DuckDBPyConnection", old: Path) -> bool:
    """Return whether a file can be edited as it is."""
    duckdb_files.attach(con, old, _OLD, what=_WHAT)
    con.execute(f"use {_OLD}")
    used = fetch_one(con, "from pragma_database_size() where database_name = ? and free_blocks <= used_blocks", [_OLD])
    fit = used is not None and is_current(con)
    con.execute("use memory")
    duckdb_files.detach(con, _OLD)
    return fit


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
