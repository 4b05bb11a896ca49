"""DuckDB files: the only code that creates and opens them.

Files are created with `STORAGE_VERSION 'v1.0.0', BLOCK_SIZE 16384`: every DuckDB since 1.0 opens them, and an empty one
is small. Connections use UTC and install no extensions. While a path is open, connecting to it again returns the old
file even if it was replaced, so every version of an object needs a local name of its own.
"""

import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir, mkdtemp
from typing import TYPE_CHECKING, Final
from weakref import finalize

from analyst import logs
from analyst.errors import AnalystError, ContractError, MemoryExhaustedError, UnavailableError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOG = logging.getLogger(f"{logs.ROOT}.duckdb")
_LONGEST_REASON: Final = 2000
_ARRAY: Final = 1 << 21
_LARGE: Final = 1 << 18


_SIZE = re.compile(r"(\d+)\s*([A-Za-z]+)")
_SMALLER = {"KB": "B", "MB": "KB", "GB": "MB", "TB": "GB", "KIB": "B", "MIB": "KB", "GIB": "MB", "TIB": "GB"}
"""A thousandth of a unit of memory, at most."""


def shared(memory_limit: str, count: int) -> str:
    """Return the memory limit of each of several connections that share one."""
    found = _SIZE.fullmatch(memory_limit)
    if found is None or count < 2:  # noqa: PLR2004
        return memory_limit
    return f"{int(found[1]) * 1000 // count}{_SMALLER[found[2].upper()]}"


class _NoPandas:
    """Reports pandas as missing without a search: DuckDB imports it twice for each statement with parameters.

    Searching all of `sys.path` takes 0.12 ms of processor time per statement, of which a publish and rebuild have 40.
    `None` in `sys.modules` would be simpler, but pyarrow takes it for a loaded pandas, and fails to convert
    nanoseconds.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004 - as importlib calls it
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


@cache
def _search_pandas_once() -> None:
    if importlib.util.find_spec("pandas") is None:
        sys.meta_path.insert(0, _NoPandas)


def connect(
    *, memory_limit: str | None = None, threads: int | None = None, temp_dir: Path | None = None
) -> "DuckDBPyConnection":
    """Open an in-memory database, to which files are attached."""
    import duckdb

    _search_pandas_once()
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
        "temp_directory": "" if temp_dir is None else str(temp_dir),
    }
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    if threads is not None:
        config["threads"] = threads
    con = duckdb.connect(":memory:", config=config)
    con.execute("set global TimeZone = 'UTC'")  # of its cursors, too
    con.execute("set enable_progress_bar = false")
    return con


def is_up(con: "DuckDBPyConnection") -> bool:
    """Return whether an instance works: after a fatal error, such as one about a damaged file, every statement fails."""
    import duckdb

    try:
        con.execute("select 1")
    except duckdb.Error:
        return False
    return True


class _Spare:
    """Instances with one thread that nobody uses at the moment, for the next who wants one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[DuckDBPyConnection] = []
        self._pid = os.getpid()

    def take(self) -> "DuckDBPyConnection":
        with self._lock:
            if self._pid == os.getpid() and self._idle:
                return self._idle.pop()
        return connect(threads=1)

    def give_back(self, instance: "DuckDBPyConnection") -> None:
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < _MOST_SPARE:
                self._idle.append(instance)
                return
        instance.close()


_MOST_SPARE: Final = 2
_SPARE: Final = _Spare()


@contextmanager
def lent(*, memory_limit: str | None = None, temp_dir: Path | None = None) -> "Iterator[DuckDBPyConnection]":
    """Lend a connection to an in-memory database with one thread, which nobody else uses in the meantime.

    Opening a database takes 13 ms of processor time, and what DuckDB does when it lists its catalog for the first time
    another 10, so it is kept for the next caller: the files that the block attached are detached, temporary objects and
    cached files are dropped. After an error it is closed. The block must not `confine` it, and must create nothing in
    its `memory` that is not temporary.
    """
    import duckdb

    instance = _SPARE.take()
    try:
        try:
            _limit(instance, memory_limit, temp_dir)
        except duckdb.Error:  # what it has in memory does not fit
            instance.close()
            instance = connect(threads=1)
            _limit(instance, memory_limit, temp_dir)
        with instance.cursor() as con:
            yield con
        _detach_all(instance)
        instance.execute(_AS_NEW)
    except BaseException:
        instance.close()
        raise
    _SPARE.give_back(instance)


def _limit(instance: "DuckDBPyConnection", memory_limit: str | None, temp_dir: Path | None) -> None:
    memory = "reset memory_limit" if memory_limit is None else f"set memory_limit = {quote_text(memory_limit)}"
    folder = "" if temp_dir is None else str(temp_dir)
    instance.execute(f"{memory}; set temp_directory = {quote_text(folder)}")


_AS_NEW: Final = (
    "set threads = 1; set enable_external_file_cache = false; set enable_external_file_cache = true; "
    "reset preserve_insertion_order; reset disabled_optimizers; reset disabled_compression_methods"
)

QUICKLY: Final = "set disabled_compression_methods = 'fsst'"
"""Writes small files faster: looking for substrings that texts share takes more than half of the time.

An extract of 500 tables is 1.0 MB then instead of 0.6 MB; one of a few tables has the same size.
"""
_SAVING: Final = frozenset({"filter_pushdown", "unused_columns"})
_NEEDLESS: Final[list[str]] = []
"""Optimizers that only take time where tables are small and queries simple: a tenth of a publish. The others save reading."""


def expect_small_files(con: "DuckDBPyConnection") -> None:
    """Plan queries and write files in a way that is the fastest for small ones, until the loan ends."""
    con.execute(f"{QUICKLY}; {_plan_quickly(con)}")


@contextmanager
def small_tables(con: "DuckDBPyConnection") -> Iterator[None]:
    """Plan the queries of the block without the optimizers that only take time where tables are small."""
    import duckdb

    con.execute(_plan_quickly(con))
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # after a fatal error, every statement fails
            con.execute("reset disabled_optimizers")


def _plan_quickly(con: "DuckDBPyConnection") -> str:
    if not _NEEDLESS:
        names = {name for (name,) in con.execute("select name from duckdb_optimizers()").fetchall()}
        _NEEDLESS.append(",".join(sorted(names - _SAVING)))
    return f"set disabled_optimizers = {quote_text(_NEEDLESS[0])}"


SMALL: Final = 4 << 20
"""Size in bytes up to which files are opened by `lent_confined`, whose folder is in memory."""

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - creating and flushing files takes no time there
_ROOM: Final = 8 * SMALL
"""Bytes that must be free in memory: Docker and Kubernetes give a container 64 MB by default."""

_OF_CONFINED: Final = "analyst-confined-"
_LEFT_OVER: Final = 86_400.0
"""Seconds after which a folder in memory is no longer used; one that is idle for that long is replaced."""


def memory_folder(folder: Path = _IN_MEMORY, room: int = _ROOM) -> Path:
    """Return a folder in memory if there is one with enough room, else that for temporary files."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):  # not on this system
        return Path(gettempdir())
    is_usable = os.access(folder, os.W_OK) and found.f_bavail * found.f_frsize >= room
    return folder if is_usable else Path(gettempdir())


@contextmanager
def in_memory() -> Iterator[Path]:
    """Create an empty folder, in memory if there is a file system of that kind with room, and delete it afterwards."""
    with TemporaryDirectory(prefix=_OF_CONFINED, dir=memory_folder()) as folder:
        yield Path(folder)


def _new_home() -> Path:
    """Create a folder for an instance, and delete those that processes which were killed have left."""
    place = memory_folder()
    for folder in place.glob(f"{_OF_CONFINED}*"):
        with suppress(OSError):  # somebody else has deleted it, or it is another user's
            if time.time() - folder.stat().st_mtime > _LEFT_OVER:
                shutil.rmtree(folder, ignore_errors=True)
    return Path(mkdtemp(prefix=_OF_CONFINED, dir=place))


class _Confined:
    """Instances that can access only a folder of their own, which nobody uses at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[DuckDBPyConnection, Path]] = []
        self._pid = os.getpid()

    def take(self) -> "tuple[DuckDBPyConnection, Path]":
        place = memory_folder()
        with self._lock:
            while self._pid == os.getpid() and self._idle:
                instance, home = self._idle.pop()
                if home.is_dir() and home.parent == place:  # it moves to the disk while memory is short, and back
                    return instance, home
        home = _new_home()
        instance = connect(threads=1, memory_limit=_CONFINED_MEMORY)
        finalize(instance, _remove, home, os.getpid())
        instance.execute("set enable_external_file_cache = false")
        expect_small_files(instance)
        confine(instance, home)
        return instance, home

    def give_back(self, instance: "DuckDBPyConnection", home: Path) -> None:
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < _MOST_SPARE:
                self._idle.append((instance, home))
                return
        instance.close()


_CONFINED_MEMORY: Final = "1GB"
_CONFINED: Final = _Confined()


def _remove(home: Path, pid: int) -> None:
    """Delete the folder of an instance, unless this is a fork of the process that it belongs to."""
    if pid == os.getpid():
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def lent_confined() -> "Iterator[tuple[DuckDBPyConnection, Path]]":
    """Lend a connection with one thread to an in-memory database, and an empty folder: the only one that it can access.

    It is for small files that somebody else wrote, see `confine`. Opening an instance, confining it and listing its
    catalog for the first time take some 25 ms, so it is kept for the next caller: what was attached is detached, and
    the folder is deleted. Its configuration is locked, and nothing else in an instance outlives the connection but the
    log of DuckDB, which a function can enable nevertheless. Such an instance is closed, as one is after an error.
    """
    import duckdb

    instance, home = _CONFINED.take()
    try:
        folder = Path(mkdtemp(dir=home))  # always another: while a path is open, DuckDB would return the old file
        with instance.cursor() as con:
            yield con, folder
    except BaseException:
        instance.close()
        shutil.rmtree(home, ignore_errors=True)
        raise
    try:
        is_as_new = _detach_all(instance)
    except duckdb.Error:  # after a fatal error, every statement fails
        is_as_new = False
    if is_as_new:
        shutil.rmtree(folder, ignore_errors=True)  # first: the next user of the instance could read it
        _CONFINED.give_back(instance, home)
    else:
        instance.close()
        shutil.rmtree(home, ignore_errors=True)


_DATABASES: Final = "select database_name, current_setting('enable_logging') from duckdb_databases()"
_ITS_OWN: Final = frozenset({"memory", "system", "temp"})


def _detach_all(instance: "DuckDBPyConnection") -> bool:
    """Detach what was attached to an instance; return whether it logs nothing, as at first."""
    found = instance.execute(_DATABASES).fetchall()
    for name, _is_logging in found:
        if name not in _ITS_OWN:
            detach(instance, name)
    return not any(is_logging for _name, is_logging in found)


class _Plain:
    """Files of which this process knows that they have only tables and views of ours, because it wrote them.

    DuckDB has no other way to find the functions of a database than to list the 3,000 of the system with them, which
    takes 15 ms. A file is recognized by its SHA-256, so one that somebody else has changed is not known.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: dict[bytes, None] = {}

    def add(self, path: Path) -> None:
        """Remember a file that this process wrote from nothing, or from one that is known, and has closed."""
        if path.stat().st_size <= SMALL:
            with self._lock:
                self._digests[digest_of(path.read_bytes())] = None
                if len(self._digests) > _MOST_KNOWN:
                    del self._digests[next(iter(self._digests))]

    def __contains__(self, path: Path) -> bool:
        """Return whether a file is known."""
        return bool(self._digests) and path.stat().st_size <= SMALL and digest_of(path.read_bytes()) in self._digests


_MOST_KNOWN: Final = 4096
PLAIN: Final = _Plain()


def digest_of(data: bytes) -> bytes:
    """Return the hash by which a file is recognized: its SHA-256."""
    return hashlib.sha256(data).digest()


def create(con: "DuckDBPyConnection", path: Path, alias: str) -> None:
    """Create a database file and attach it as `alias`."""
    con.execute(f"attach {quote_text(str(path))} as {quote(alias)} (storage_version 'v1.0.0', block_size 16384)")


def attach(con: "DuckDBPyConnection", path: Path, alias: str, *, what: str, writable: bool = False) -> None:
    """Attach an existing file as `alias`, read-only unless it is `writable`.

    Raises:
        ContractError: the file is not a DuckDB database of a readable version; `what` names it in the message.
    """
    # with the type, because DuckDB would otherwise load an extension by the content of the file
    mode = "(type duckdb)" if writable else "(type duckdb, read_only)"
    with raised_as(ContractError, f"{what} can't be opened as a DuckDB database: ", hide=path):
        con.execute(f"attach {quote_text(str(path))} as {quote(alias)} {mode}")


def confine(con: "DuckDBPyConnection", *folders: Path) -> None:
    """Permanently deny a connection all files and the network, except for what is attached and some folders.

    After this, nothing in a foreign file can read or write anything else on this machine.
    """
    listed = ", ".join(quote_text(f"{folder}/") for folder in folders)
    con.execute(
        f"set allowed_directories = [{listed}]; set enable_external_access = false; set lock_configuration = true"
    )


@contextmanager
def time_limit(con: "DuckDBPyConnection", seconds: float) -> Iterator[None]:
    """Interrupt a connection after `seconds`; DuckDB then raises `InterruptException`."""
    watchdog = threading.Timer(seconds, con.interrupt)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


@contextmanager
def raised_as(error: type[AnalystError], label: str = "", *, hide: Path | None = None) -> Iterator[None]:
    """Translate errors of DuckDB: the message is the label and the first line, without the path to `hide`.

    Raises:
        MemoryExhaustedError: memory or the disk space of its temporary files ran out, whatever `error` is.
        UnavailableError: the disk is full.
        duckdb.InterruptException: it took too long; see `time_limit`.
    """
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.OutOfMemoryException as failure:
        raise MemoryExhaustedError(
            f"memory or temporary disk space ran out: {reason_of(failure)}; increase MEMORY_LIMIT"
        ) from failure
    except (duckdb.Error, UnicodeDecodeError) as failure:
        reason = reason_of(failure)
        if "No space left on device" in str(failure):
            raise UnavailableError(f"the disk is full: {reason}; free space on the disk of SCRATCH_DIR") from failure
        if hide is not None:
            reason = reason.replace(f'"{hide}"', "it").replace(str(hide), "it")
        raise error(label + reason) from failure


_BROKEN: Final = (
    "DuckDB met an internal error (see the log), most likely because a file is damaged; write the file again"
)


def reason_of(failure: Exception) -> str:
    """Return only the reason for an error of DuckDB; those that our own SQL raises start with 'Invalid Input Error'.

    What DuckDB says of its own failures, which make an instance unusable, explains nothing to anybody else: it is logged.
    """
    import duckdb

    if isinstance(failure, duckdb.InternalException | duckdb.FatalException):
        _LOG.warning("an internal error of DuckDB", extra={"fields": {"reason": str(failure)[:_LONGEST_REASON]}})
        return _BROKEN
    return str(failure).split("\n")[0].removeprefix("Invalid Input Error: ")


def detach(con: "DuckDBPyConnection", alias: str) -> None:
    """Detach a file, which writes its log into it."""
    con.execute(f"detach {quote(alias)}")


def insert(con: "DuckDBPyConnection", table: str, columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> None:
    """Insert rows whose values are JSON values or UTC times; `columns` maps the table's columns to their types.

    They are passed as JSON parameters of a few MB: DuckDB's Python client takes about 0.1 ms for each single value, and
    40 times the size of such a text in memory, whatever its limit is.
    """
    if len(rows) == 1 and _is_simple(columns, rows[0]):
        _insert_one(con, table, columns, rows[0])
        return
    shape = json.dumps([dict(columns)])
    small: list[str] = []
    is_plain = not any(kind.upper() == "JSON" for kind in columns.values())  # a text has another meaning as JSON
    for row in rows:
        text = _JSON.encode(dict(zip(columns, row, strict=True)))
        if len(text) > _LARGE and is_plain and not any(isinstance(value, dict | list | tuple) for value in row):
            _insert_one(con, table, columns, row)
        else:
            small.append(text)
    for text in _arrays(small):
        con.execute(f"insert into {table} by name select unnest(from_json(?, ?), recursive := true)", [text, shape])


def _is_simple(columns: Mapping[str, str], row: Sequence[object]) -> bool:
    """Return whether a row is inserted faster value by value; a text has another meaning as JSON."""
    is_plain = len(row) <= _MOST_VALUES and not any(kind.upper() == "JSON" for kind in columns.values())
    return is_plain and all(value is None or isinstance(value, str | int | datetime) for value in row)


_MOST_VALUES: Final = 12
"""The number of values up to which a single row takes two thirds of the time that it takes as JSON, most of it for planning."""


def _insert_one(con: "DuckDBPyConnection", table: str, columns: Mapping[str, str], row: Sequence[object]) -> None:
    """Insert a row value by value. Of a row with a long text, JSON would be too large: 24 MB do not fit into 300 MB then."""
    values = [_utc(value) if isinstance(value, datetime) else value for value in row]
    names = ", ".join(map(quote, columns))
    casts = ", ".join(f"?::{checked_type(kind)}" for kind in columns.values())
    con.execute(f"insert into {table} ({names}) values ({casts})", values)


def _arrays(members: Iterable[str]) -> Iterator[str]:
    """Yield JSON arrays of about 2 MB."""
    some: list[str] = []
    size = 0
    for member in members:
        some.append(member)
        size += len(member)
        if size > _ARRAY:
            yield f"[{','.join(some)}]"
            some, size = [], 0
    if some:
        yield f"[{','.join(some)}]"


def _utc(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=_utc)


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Create an empty local folder, and delete it afterwards."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="analyst-", dir=parent) as folder:
        yield Path(folder)
