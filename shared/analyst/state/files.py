"""The DuckDB file of the system state on this machine: fetched, brought to today's schema, opened."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from analyst import duckdb_files
from analyst.access import CURRENT, StatePointer
from analyst.errors import UnavailableError
from analyst.state.schema import is_current, migrate
from analyst.store import Object, ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEGACY: Final = "state/system.duckdb"
"""Where the reference system kept its state. It is taken over by the first edit, and never written."""

ALIAS: Final = "state"
"""What the file is called in a connection; statements need not say it."""


def read_pointer(current: Object | None) -> StatePointer | None:
    """Read the pointer to the current state, `None` when there is no state.

    Raises:
        UnavailableError: it is damaged.
    """
    try:
        return None if current is None else StatePointer.model_validate_json(current.data)
    except ValidationError as error:
        raise UnavailableError(f"{CURRENT} is damaged: {error}") from error


def fetch_file(store: Store, pointer: StatePointer | None, folder: Path, now: datetime) -> Path:
    """Put the current state into `folder`, in today's schema, and return its path.

    Raises:
        StateTooNewError: a newer program has written it.
        UnavailableError: it is missing or damaged.
        ContractError: it can't be opened.
    """
    fetched = folder / "fetched.duckdb"
    if pointer is not None:
        _download(store, pointer, fetched)
    elif not _download_legacy(store, fetched):
        return _made(folder, now)
    with opened(fetched) as db:
        if is_current(db):
            return fetched
    return _brought_forward(fetched, folder, now)


@contextmanager
def opened(path: Path, *, writable: bool = False) -> "Iterator[DuckDBPyConnection]":
    """Open a state file; what was written is in it when the block has ended.

    Raises:
        ContractError: it can't be opened.
    """
    con = attached(path, writable=writable)
    try:
        yield con
        _let_go(con)
    finally:
        con.close()


def attached(path: Path, *, writable: bool = False) -> "DuckDBPyConnection":
    """Open a state file for as long as the connection is held.

    Raises:
        ContractError: it can't be opened.
    """
    con = duckdb_files.connect(threads=1)
    duckdb_files.attach(con, path, ALIAS, what="the system state", writable=writable)
    con.execute(f"use {ALIAS}")
    return con


def _download(store: Store, pointer: StatePointer, path: Path) -> None:
    try:
        store.download(pointer.system, path)
    except ObjectMissingError as error:
        raise UnavailableError(f"the system state {pointer.system} is missing") from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != pointer.sha256.get("system"):
        raise UnavailableError(f"the system state {pointer.system} is damaged")


def _download_legacy(store: Store, path: Path) -> bool:
    """Fetch the state of the reference system, if there is one, with the log of a file that was not closed."""
    if store.head(LEGACY) is None:
        return False
    store.download(LEGACY, path)
    if store.head(f"{LEGACY}.wal") is not None:
        store.download(f"{LEGACY}.wal", path.with_name(f"{path.name}.wal"))
    return True


def _made(folder: Path, now: datetime) -> Path:
    path = folder / "made.duckdb"
    con = duckdb_files.connect(threads=1)
    try:
        duckdb_files.create(con, path, ALIAS)
        _migrate(con, now)
    finally:
        con.close()
    return path


def _brought_forward(old: Path, folder: Path, now: datetime) -> Path:
    """Copy an older file, whatever storage it has, into one of ours and migrate that."""
    path = folder / "migrated.duckdb"
    con = duckdb_files.connect(threads=1)
    try:
        duckdb_files.attach(con, old, "old", what="the system state")
        duckdb_files.create(con, path, ALIAS)
        con.execute(f"copy from database old to {ALIAS}")
        duckdb_files.detach(con, "old")
        _migrate(con, now)
    finally:
        con.close()
    return path


def _migrate(con: "DuckDBPyConnection", now: datetime) -> None:
    con.execute(f"use {ALIAS}")
    migrate(con, now)
    _let_go(con)


def _let_go(con: "DuckDBPyConnection") -> None:
    con.execute("use memory")
    duckdb_files.detach(con, ALIAS)
