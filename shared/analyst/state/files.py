"""The local DuckDB file of the system state: fetched, migrated to the current schema, opened."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import finalize

from analyst import duckdb_files
from analyst.access import DamagedStateError, StatePointer, parse_pointer
from analyst.names import quote, quote_text
from analyst.state.migrations import create, migrate
from analyst.state.rows import fetch_one
from analyst.state.schema import is_current
from analyst.store import Object, ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEGACY: Final = "state/system.duckdb"
"""The location of an older system's state. The first edit migrates it, and it is never written."""

ALIAS: Final = "state"
"""How the aliases of files begin; statements omit them."""

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


class Instance:
    """The DuckDB instance to which readers and writers of the state attach their files: opening one takes longer than most edits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._con: DuckDBPyConnection | None = None
        self._numbers = count()

    def cursor(self) -> "DuckDBPyConnection":
        """Connect to the instance, which is opened first if there is none or if a fatal error has broken it."""
        with self._lock:
            if self._con is None or not duckdb_files.is_up(self._con):
                self._con = duckdb_files.connect(threads=1)
            return self._con.cursor()

    def alias(self) -> str:
        """Return a name for a file that no other one has."""
        return f"{ALIAS}_{next(self._numbers)}"

    def replace(self) -> None:
        """Use another instance from now on; this one closes when nothing refers to it any more."""
        with self._lock:
            self._con = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Attached:
    """A file in an instance. It is detached when nothing refers to it any more."""

    con: "DuckDBPyConnection"
    alias: str

    def __post_init__(self) -> None:
        finalize(self, _let_go, self.con, self.alias).atexit = False


def _let_go(con: "DuckDBPyConnection", alias: str) -> None:
    if duckdb_files.is_up(con):
        duckdb_files.detach(con, alias)


class Writer:
    """Opens files for edits in an instance, by default in one of its own."""

    def __init__(self, instance: Instance | None = None) -> None:
        self._instance = instance or Instance()
        self._written: list[Attached] = []

    def written(self) -> Attached:
        """Return the last file, once: readers use it, because it takes longer than most edits to attach it again."""
        return self._written.pop()

    @contextmanager
    def renewed(self, old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
        """Copy the old file to `path` in the current schema, and open it for writing.

        When the block ends, everything is in the file.

        Raises:
            StateTooNewError: the old file was written by a newer version.
            ContractError: it can't be opened.
        """
        with self._opened(path) as file:
            file.renew(old, path, now)
            yield file.con

    @contextmanager
    def edited(self, old: Path | None, path: Path, now: datetime) -> "Iterator[DuckDBPyConnection]":
        """Move the old file to `path` and open it for writing, in a time that does not grow with its size.

        It is copied instead if its schema is older, or if most of it is free space from earlier edits.

        Raises:
            StateTooNewError: the old file was written by a newer version.
            ContractError: it can't be opened.
        """
        with self._opened(path) as file:
            if old is None or not file.opens(old, path):
                file.renew(old, path, now)
            yield file.con

    @contextmanager
    def _opened(self, path: Path) -> "Iterator[_File]":
        """Lend a connection; the file that the block attaches, at `path`, is complete afterwards, and is `written`.

        After an error that leaves the file attached, or breaks the instance, the next block gets another instance.
        """
        con = self._instance.cursor()
        file = _File(con, self._instance.alias())
        self._written.clear()
        try:
            yield file
            is_small = path.stat().st_size <= duckdb_files.SMALL
            con.execute(duckdb_files.QUICKLY if is_small else "reset disabled_compression_methods")
            con.execute(f"use memory; checkpoint {quote(file.alias)}")
        except BaseException:
            if not file.is_let_go():
                self._instance.replace()
            con.close()
            raise
        self._written.append(Attached(con, file.alias))


def attach(con: "DuckDBPyConnection", path: Path, alias: str) -> None:
    """Open a file for reading as `alias`.

    Raises:
        ContractError: it can't be opened.
    """
    duckdb_files.attach(con, path, alias, what=_WHAT)


@dataclass(frozen=True, slots=True)
class _File:
    """A connection, and the alias under which it attaches a file to edit."""

    con: "DuckDBPyConnection"
    alias: str

    def renew(self, old: Path | None, path: Path, now: datetime) -> None:
        duckdb_files.create(self.con, path, self.alias)
        if old is not None:
            before = f"{self.alias}_{_OLD}"
            duckdb_files.attach(self.con, old, before, what=_WHAT)
            try:
                self.con.execute(f"copy from database {quote(before)} to {quote(self.alias)}")
            finally:
                duckdb_files.detach(self.con, before)
        self.con.execute(f"use {quote(self.alias)}")
        if old is None:
            create(self.con, now)
        else:
            migrate(self.con, now)

    def opens(self, old: Path, path: Path) -> bool:
        """Open an old file at `path` if it can be edited in place; return whether it was."""
        old.replace(path)
        duckdb_files.attach(self.con, path, self.alias, what=_WHAT, writable=True)
        self.con.execute(f"use {quote(self.alias)}")
        enough = (
            f"from pragma_database_size() where database_name = {quote_text(self.alias)} and free_blocks <= used_blocks"
        )
        if fetch_one(self.con, enough) is not None and is_current(self.con):
            return True
        self.leave()
        path.replace(old)
        return False

    def leave(self) -> None:
        """Detach the file, which writes its log into it."""
        self.con.execute("use memory")
        duckdb_files.detach(self.con, self.alias)

    def is_let_go(self) -> bool:
        """Roll back and detach the file after an error; return whether the instance is usable as before."""
        import duckdb

        try:
            with suppress(duckdb.TransactionException):  # there is none
                self.con.execute("rollback")
            self.con.execute("use memory")
            self.con.execute(f"detach database if exists {quote(self.alias)}")
        except duckdb.Error:
            return False
        return True


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
