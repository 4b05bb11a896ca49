"""The user's database as a file: changed in place or in a copy, checked, and moved aside if it is damaged.

A few changes are made in place, in one transaction. Many, or those made while another program has the database open, are made
in a copy that then replaces it, so that readers are not disturbed.
"""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import duckdb

from da.errors import DaError, cause_of
from da.mirror.opening import MOST_IN_PLACE, SETTINGS, clean_up, fresh_of, head_of, is_database, log_aside, log_of
from da.mirror.views import (
    Existing,
    Mirrored,
    Published,
    Stage,
    add_views,
    give_views,
    is_new,
    recorded_views,
    relations,
)
from da.mirror.workspace import is_read, stamp
from da.sql import quote_text

_MANY_VIEWS = 4000
_LONGEST_LOG = 1 << 20
"""Bytes. Opening takes as long for a megabyte of log, four changes of 100 tables, as a third of a checkpoint does."""

_ATTEMPTS = 3

_CIRCUMSTANCES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
    *(errno.ENOLCK, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""Errors of the system that say nothing about the content of a database."""


def publish(
    path: Path,
    tables: Sequence[Mirrored],
    aside: Path | None = None,
    changed: Collection[str] | None = None,
    others: Callable[[], Sequence[Mirrored]] = tuple,
    *,
    begun: "InPlace | Draft | None" = None,
    leave: Callable[[Callable[[], None]], object] = lambda close: close(),
) -> Published:
    """Update the views of the database at `path` to match these tables; everything else in it is kept.

    If nobody else has changed the database since the last time, only the views of sources that have `changed` need to be
    compared, and `tables` are theirs; `others` are asked for if the database turns out to be a new one. A few changes are
    made in place; more, or if another program has the database open, in a copy that then replaces it. The replaced one is
    kept at `aside` if another process reads it. A large database, whose file no longer changes then, is passed to `leave` to
    be closed, because that takes a tenth of a second.

    Raises:
        DaError: another program has it open for writing, or it can't be written.
    """
    if begun is None and len(tables) <= MOST_IN_PLACE:
        begun = InPlace.of(path)
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            database = begun or Draft(path)
            stack.callback(database.close)
            if database.finish(tables, aside, changed, others):
                if isinstance(database, InPlace) and database.is_large:
                    stack.pop_all()
                    leave(database.close)
                return database.published
        begun = None
    raise DaError(f"can't update '{path}': another program keeps changing it; close it and run da sync again")


class InPlace:
    """The database itself, changed in one transaction.

    A crash at any point leaves the state before or after it, because DuckDB writes a transaction to its log first.
    """

    def __init__(self, link: Path, connection: duckdb.DuckDBPyConnection, stage: Stage | None = None) -> None:
        self.published = Published()
        self._path = path = Path(os.path.realpath(link))
        self._connection = connection
        self._stage = stage
        # A checkpoint writes the whole catalog: half a second for 20,000 views. The log takes changes of these in
        # milliseconds. Every program that opens the database applies it, and a writer merges it into the file; but DuckDB finds it by
        # the name by which the database is opened.
        recorded = recorded_views(connection)
        self._is_new = recorded is None
        self.is_large = (recorded or 0) > _MANY_VIEWS and _size(log_of(path)) < _LONGEST_LOG and not link.is_symlink()
        """Whether its changes stay in its log."""
        connection.execute(f"pragma {'disable' if self.is_large else 'enable'}_checkpoint_on_shutdown")

    @classmethod
    def of(cls, link: Path) -> Self | None:
        """Open the database; `None` if that is not possible, for a reason that making a copy will explain."""
        path = Path(os.path.realpath(link))
        try:
            if not is_database(path):
                return None
            clean_up(path)
            return cls(link, _connected(path))
        except (OSError, duckdb.Error):
            return None

    def finish(
        self,
        tables: Sequence[Mirrored],
        _aside: Path | None,
        changed: Collection[str] | None,
        others: Callable[[], Sequence[Mirrored]],
    ) -> bool:
        """Make the views match these tables; return whether it is done. If not, a copy will show the reason."""
        if self._is_new and changed is not None:
            tables, changed = [*tables, *others()], None
        name = self._path.stem.lower()
        try:
            give_views(self._connection, list(tables), self.published, name, changed, stage=self._stage)
        except duckdb.Error:
            return False
        return True

    def close(self) -> None:
        """Close the database."""
        if self._stage:
            self._stage.close()
        self._connection.close()


class Draft:
    """A copy of the database, in which views can be created while files are still being downloaded.

    Raises:
        DaError: another program has the database open for writing, or it can't be copied.
    """

    def __init__(self, path: Path) -> None:
        self.published = Published()
        self._path = Path(os.path.realpath(path))
        # In the same folder, so that the rename is atomic.
        self._fresh = fresh_of(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            clean_up(self._path)
            found = stamp(self._path)
            _copy(self._path, self._fresh, self.published, path)
            self._stamp = found if self._path.exists() else None
            self._connection = _connected(self._fresh)
            self._is_new = is_new(self._connection)
        except (OSError, duckdb.Error) as error:
            _discard(self._fresh)
            raise _not_updated(self._path, error) from None
        self._existing: Existing | None = None

    def add(self, tables: Sequence[Mirrored]) -> None:
        """Create the views of some more tables; those that can't be created are left to `finish`."""
        self._existing = self._existing or Existing.of(self._connection)
        add_views(self._connection, tables, self._path.stem.lower(), self._existing)

    def finish(
        self,
        tables: Sequence[Mirrored],
        aside: Path | None,
        changed: Collection[str] | None,
        others: Callable[[], Sequence[Mirrored]],
    ) -> bool:
        """Make the views match these tables, and replace the database; return whether nobody has changed it meanwhile.

        Raises:
            DaError: the copy can't be written, or the database can't be replaced.
        """
        if self._is_new and changed is not None:
            tables, changed = [*tables, *others()], None
        try:
            give_views(self._connection, list(tables), self.published, self._path.stem.lower(), changed)
            # When it is closed, DuckDB does not report that it can't, and leaves the views in the log of the copy.
            self._connection.execute("checkpoint")
            self.close()
            if stamp(self._path) != self._stamp:
                return False
            _replace(self._path, self._fresh, aside)
        except (OSError, duckdb.Error) as error:
            self.close()
            _discard(self._fresh)
            raise _not_updated(self._path, error) from None
        return True

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def is_sound(path: Path) -> bool:
    """Return whether a database can be opened and still has the views that `publish` created.

    A database that another program writes to counts as sound, because it can't be inspected.
    """
    if not path.is_file():
        return False
    try:
        with duckdb.connect(path, read_only=True) as connection:
            there = relations(connection)
            names = "select 'main', view from _da.tables union all select schema, view from _da.qualified"
            return all(name in there for name in connection.execute(names).fetchall())
    except duckdb.Error as error:
        return _is_locked(str(error))


def _copy(path: Path, fresh: Path, published: Published, link: Path) -> None:
    if not path.exists():
        with duckdb.connect() as connection:
            connection.execute(f"attach {quote_text(str(fresh))} as fresh (storage_version 'v1.0.0', block_size 16384)")
        return
    if not path.is_file():
        raise DaError(f"'{path}' is not a regular file; move it away and run da sync again")
    log = log_of(path)
    try:
        with duckdb.connect(path, read_only=True):  # no other program can write to it while this is open
            shutil.copy(path, fresh)
            if log.exists():
                shutil.copy(log, log_of(fresh))
        if log_of(fresh).exists():  # merge it into the copy, which has to be one file when it replaces the database
            with duckdb.connect(fresh) as connection:
                connection.execute("checkpoint")
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException) or _is_circumstance(str(error)):
            raise
        _explain(path, link, str(error))
        _discard(fresh)
        published.notes.append(_moved_aside(path, str(error)))
        _copy(path, fresh, published, link)


def _explain(path: Path, link: Path, reason: str) -> None:
    """Raise an error that the user can fix; return if this DuckDB can't read the file as a database."""
    if _is_locked(reason):
        holder = re.search(r"\(PID (\d+)\)", reason)
        who = f"process {holder[1]}" if holder else "another program"
        raise DaError(f"can't update '{path}': {who} has it open for writing; close it and run da sync again") from None
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise DaError(f"can't read '{path}': {cause_of(error)}; fix that and run da sync again") from None
    if link.is_symlink() or not path.is_file():  # not a file of ours: don't move it
        raise DaError(
            f"'{link}' is a link to '{path}', which is not a DuckDB database; remove the link and run da sync again"
        )


def _is_circumstance(reason: str) -> bool:
    """Return whether DuckDB failed for a reason outside of the file: a full disk, or a file system without locks."""
    return any(sign in reason for sign in ("not enough space on the disk", *map(os.strerror, _CIRCUMSTANCES)))


def _not_updated(path: Path, error: OSError | duckdb.Error) -> DaError:
    reason = cause_of(error) if isinstance(error, OSError) else str(error).splitlines()[0]
    advice = "free some space" if os.strerror(errno.ENOSPC).lower() in reason.lower() else "fix that"
    return DaError(f"can't update '{path}': {reason}; {advice} and run da sync again")


def _discard(fresh: Path) -> None:
    for half in (fresh, log_of(fresh)):
        with suppress(OSError):
            half.unlink(missing_ok=True)


def _is_locked(reason: str) -> bool:
    signs = ("Could not set lock", "being used by another process", "Unique file handle conflict")
    return any(sign in reason for sign in signs)


def _moved_aside(path: Path, reason: str) -> str:
    """Rename a database and its log; return a note for the user. Nothing is deleted."""
    newer = _newer_version(path, reason)
    word, stamp = ("newer" if newer else "broken"), time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.stem}.{word}-{stamp}{n}{path.suffix}") for n in ("", *(f"-{i}" for i in range(99))))
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    if (log := log_of(path)).exists():
        log.replace(log_of(aside))
    if newer:
        what = f"was written by {newer}, which is newer than the installed DuckDB {duckdb.__version__}"
        how = "open that file with the newer DuckDB"
    else:
        what, how = f"was damaged ({reason.splitlines()[0]})", "try to open that file with DuckDB"
    return (
        f"{path} {what}; it was renamed to {aside.name} and replaced by a new database."
        f" To recover your own tables, {how} and run: copy TABLE to 'TABLE.parquet'"
    )


def _newer_version(path: Path, reason: str) -> str | None:
    """Return the name of the DuckDB that wrote a file, if this DuckDB can't read its newer storage format.

    A database starts with a checksum of 8 bytes, `DUCK`, the version of the format (8 bytes, little endian) and, at
    byte 52, the version of the library.
    """
    head = head_of(path)
    if head[8:12] != b"DUCK" or len(head) < 84:  # noqa: PLR2004
        return None
    library = head[52:84].rstrip(b"\0").decode("ascii", "replace")
    name = f"DuckDB {library}" if re.fullmatch(r"v\d[\w.+-]*", library) else "a DuckDB"
    if "version number" in reason or "newer version" in reason:
        return name
    return name if int.from_bytes(head[12:20], "little") > _newest_format() else None


def _newest_format() -> int:
    """Return the newest storage format that this DuckDB writes."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        sample = Path(folder) / "sample.duckdb"
        connection.execute(f"attach {quote_text(str(sample))} as sample (storage_version 'latest')")
        connection.execute("create table sample.t(i integer); detach sample")
        return int.from_bytes(sample.read_bytes()[12:20], "little")


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path)
    connection.execute(SETTINGS)
    return connection


def _replace(path: Path, fresh: Path, aside: Path | None) -> None:
    # Readers keep the old file open by its inode, so they are not disturbed by the rename, but the views in it refer to
    # parquet files that a later sync deletes. A second name for the inode lets a later sync ask whether it is still in
    # use. The name is made before the rename: afterwards, the old file has none and can't be found any more.
    if aside and path.exists():
        aside.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(path, aside)
    # A log belongs to its database, and would be applied to the new one, too. It goes first, under a name by which it can
    # be put back if the rename fails, or this process dies before it.
    log, aside_log = log_of(path), log_aside(path)
    if log.exists():
        log.replace(aside_log)
    try:
        fresh.replace(path)
    except OSError as error:
        if aside_log.exists():
            aside_log.replace(log)
        if not isinstance(error, PermissionError):  # Windows does not replace what somebody has open
            raise
        raise DaError(f"can't replace '{path}': another program has it open; close it and run da sync again") from None
    else:
        aside_log.unlink(missing_ok=True)
    finally:
        # Checked only after the rename: until then, a new reader could still open the old file.
        if aside and not is_read(aside):
            aside.unlink(missing_ok=True)
            with suppress(OSError):
                aside.parent.rmdir()
