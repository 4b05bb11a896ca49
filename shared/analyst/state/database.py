"""The system state in a bucket: read it, and edit it."""

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ulid import ULID

from analyst import duckdb_files
from analyst.access import CURRENT, SCHEMA_VERSION, StatePointer, parts
from analyst.access.reader import list_text
from analyst.backoff import within
from analyst.names import quote
from analyst.state.files import Attached, Instance, Writer, attach, fetch_file, read_pointer
from analyst.state.projection import LARGEST_WHOLE, project, project_parts, rows_behind, rows_stored
from analyst.state.rows import execute, fetch_one, insert
from analyst.state.schema import is_current
from analyst.store import Object, Store, compare_and_swap, in_parallel, lost_edits
from analyst.store.compare_and_swap import put_once, small_text, swap, upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


T = TypeVar("T")

_Opener = Callable[[Path | None, Path, datetime], AbstractContextManager["DuckDBPyConnection"]]

_RECENT: Final = 100


class Attempts(Generic[T]):
    """The attempts of one edit. Each has an id and a result; the one that was published counts."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        scratch: Path | None,
        writer: Writer,
        change: "Callable[[DuckDBPyConnection], T]",
        *,
        lists: "_Lists",
        sleep: Callable[[float], None],
        base: Path | None = None,
    ) -> None:
        self._store = store
        self._base = base
        self._now = now
        self._scratch = scratch
        self._writer = writer
        self._change = change
        self._lists = lists
        self._sleep = sleep
        self._results: dict[str, T] = {}
        self._published = ""
        self.recent: tuple[str, ...] = ()
        """The ids of the edits before the last attempt, and its own."""
        self.seconds = 0.0
        """The duration of the last attempt."""
        self.built: tuple[str, Attached] | None = None
        """The key of the last file that was built, and the file."""

    @property
    def result(self) -> T:
        """The value that the change returned in the published attempt."""
        return self._results[self._published]

    def next(self, current: Object | None) -> bytes:
        """Build the next pair on the current one, upload it, and return its pointer."""
        # The id is published in the pointer. When the answer to the swap is lost and others have built on it since, its
        # presence in `recent` is the only proof that this attempt succeeded.
        began = time.monotonic()
        before = read_pointer(current)
        recent = before.recent if before else ()
        lost_edits.check(self._store, CURRENT, recent)
        self._published = edit_id = str(ULID())
        with duckdb_files.scratch(self._scratch) as folder:
            path, access = self._attempt(before, edit_id, folder)
            after = _pointer(before, edit_id, path, access)
            self.recent = (*recent, edit_id)
            self.built = after.system, self._writer.written()
            upload_once(self._store, after.system, path, sleep=self._sleep)
        in_parallel(lambda part: put_once(self._store, *part, sleep=self._sleep), access.parts.items())
        put_once(self._store, after.access, access.text, sleep=self._sleep)
        self.seconds = time.monotonic() - began
        return after.model_dump_json().encode()

    def is_in(self, current: Object) -> bool:
        """Return whether an attempt was published after all: its id is in the pointer, even if others have built on it."""
        pointer = read_pointer(current)
        ours = [id_ for id_ in self._results if pointer is not None and id_ in pointer.recent]
        self._published = ours[0] if ours else self._published
        return bool(ours)

    def _attempt(self, before: StatePointer | None, edit_id: str, folder: Path) -> tuple[Path, "_Access"]:
        """Build the next system file and access list, in place, or on a copy if DuckDB fails in place.

        A copy has sound indexes even if the original ones are broken.
        """
        import duckdb

        try:
            return self._edit(self._writer.edited, before, edit_id, folder / "next.duckdb")
        except duckdb.Error:
            # An edit in place fails if an index of the file is damaged, which a copy of its rows repairs. An error of the
            # change itself occurs again there, and is raised.
            return self._edit(self._writer.renewed, before, edit_id, folder / "renewed.duckdb")

    def _edit(self, opened: _Opener, before: StatePointer | None, edit_id: str, path: Path) -> tuple[Path, "_Access"]:
        """Run the change in a file at `path`, and return it with its access list."""
        with opened(self._old(before, path.parent), path, self._now()) as db:
            db.execute("begin")
            self._results[edit_id] = self._change(db)
            insert(db, "_edits", {"id": edit_id, "at": self._now()})
            _forget_edits(db)
            db.execute("commit")
            return path, self._lists.of(db, self._now(), before, edit_id)

    def _old(self, before: StatePointer | None, folder: Path) -> Path | None:
        """Return a local file to build on, which the attempt may move: the current state, or a copy of `base`."""
        if self._base is None:
            return fetch_file(self._store, before, folder)
        return Path(shutil.copyfile(self._base, folder / "fetched.duckdb"))


def _forget_edits(db: "DuckDBPyConnection") -> None:
    """Delete all but the last edits, if there are more: checking that takes a tenth of the time of deleting."""
    counted = fetch_one(db, "select count(*) as edits from _edits")
    if counted is not None and counted["edits"] > _RECENT:
        execute(db, "delete from _edits where id not in (select id from _edits order by id desc limit ?)", [_RECENT])


def _version(before: StatePointer | None) -> int:
    return 1 if before is None else before.version + 1


@dataclass(frozen=True, slots=True)
class _Access:
    """An access list to publish: `text` is the list, or the list of its parts; `parts` are those to write, by key."""

    text: bytes
    hashed: str
    """The name of the hash of `text` in the pointer."""
    parts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Lists:
    """Makes access lists: whole up to a number of rows, else in parts. `in_full` writes all parts again, as if damaged."""

    store: Store
    largest_whole: int
    in_full: bool

    def of(self, db: "DuckDBPyConnection", now: datetime, before: StatePointer | None, edit_id: str) -> _Access:
        version = _version(before)
        stored = rows_stored(db)
        if sum(stored.values()) <= self.largest_whole:  # an upper bound: no need to count exactly
            return _Access(project(db, version, now, stored), "access", {})
        rows = rows_behind(db, now)
        if sum(rows.values()) <= self.largest_whole:
            return _Access(project(db, version, now, stored), "access", {})
        listed, written = project_parts(db, version, now, rows, before=self._parts_of(before), prefix=edit_id.lower())
        return _Access(listed.model_dump_json().encode(), parts.HASHED, written)

    def _parts_of(self, before: StatePointer | None) -> parts.PartList | None:
        if self.in_full or before is None or parts.HASHED not in before.sha256:
            return None
        try:
            return parts.parse_list(list_text(self.store, before), before.access)
        except parts.UnreadableError:
            return None


def _pointer(before: StatePointer | None, edit_id: str, path: Path, access: _Access) -> StatePointer:
    version = _version(before)
    of_list = hashlib.sha256(access.text).hexdigest()
    recent = () if before is None else before.recent
    return StatePointer(
        version=version,
        system=f"state/system-{version}-{edit_id.lower()}.duckdb",
        access=f"state/access-{of_list}.json",
        sha256={"system": hashlib.sha256(path.read_bytes()).hexdigest(), access.hashed: of_list},
        access_text=small_text(access.text),
        recent=(*recent, edit_id)[-_RECENT:],
        schema_version=SCHEMA_VERSION,
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file of a version, and what was read from it."""

    version: str | None
    file: Attached
    derived: dict[object, Any] = field(default_factory=dict)

    def cursor(self) -> "DuckDBPyConnection":
        """Return a connection that can't write, even to a file that an edit has left open for writing."""
        cursor = self.file.con.cursor()
        cursor.execute(f"use {quote(self.file.alias)}; begin transaction read only")
        return cursor

    def is_current(self) -> bool:
        """Return whether it has the schema of this program."""
        cursor = self.cursor()
        try:
            return is_current(cursor)
        finally:
            cursor.close()


class StateReader:
    """Opens the current state for readers.

    A version stays open until the next one is requested and its readers are done.
    """

    def __init__(self, store: Store, now: Callable[[], datetime], scratch: Path | None, instance: Instance) -> None:
        self._store = store
        self._now = now
        self._scratch = scratch
        self._instance = instance
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._offered: tuple[str, Attached] | None = None

    def offer(self, key: str, file: Attached) -> None:
        """Use a file of this instance if the object that was written from it is the current state.

        Fetching it, comparing its hash and attaching it again would take half as long as an edit.
        """
        with self._lock:
            self._offered = (key, file)

    @contextmanager
    def open(self) -> "Iterator[DuckDBPyConnection]":
        """Lend a connection to the current state."""
        with self._lock:
            newest = self._newest()  # referenced to the end: it closes when nothing refers to it
            cursor = newest.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def derived(self, make: "Callable[[DuckDBPyConnection], T]") -> T:
        """Return what a function reads from the current state, from memory if it was read from this version before."""
        with self._lock:
            newest = self._newest()
            cursor = newest.cursor()
        try:
            if make not in newest.derived:
                newest.derived[make] = make(cursor)
            made: T = newest.derived[make]
            return made
        finally:
            cursor.close()

    def _newest(self) -> _Opened:
        known = self._opened
        # an edit on the same instance may have met a fatal error
        if known is not None and not duckdb_files.is_up(known.file.con):
            known = None
        current = self._store.read(CURRENT, unless=known.version if known else None)
        version = current.version if current else None
        if known is None or known.version != version:
            known = self._opened = self._open(current, version)
        return known

    def _open(self, current: Object | None, version: str | None) -> _Opened:
        """Open the file, or a migrated copy if it is missing or older.

        Its name may disappear at once, because the connection holds it open.
        """
        pointer = read_pointer(current)
        offered, self._offered = self._offered, None
        if offered and pointer and offered[0] == pointer.system and duckdb_files.is_up(offered[1].con):
            return _Opened(version, offered[1])
        with duckdb_files.scratch(self._scratch) as folder:
            fetched = fetch_file(self._store, pointer, folder)
            opened = None if fetched is None else self._attached(version, fetched)
            if opened is None or not opened.is_current():
                writer = Writer(self._instance)
                with writer.renewed(fetched, folder / "renewed.duckdb", self._now()):
                    pass
                opened = _Opened(version, writer.written())
            return opened

    def _attached(self, version: str | None, path: Path) -> _Opened:
        con, alias = self._instance.cursor(), self._instance.alias()
        attach(con, path, alias)
        return _Opened(version, Attached(con, alias))


_PATIENCE: Final = 60.0
_DOUBLED: Final = 5
"""The factor by which the pauses between attempts grow."""


class State:
    """The system state in a bucket.

    `now` is the clock, `published` is called after each edit of this process (see `AccessReader.expire`), `sleep` waits
    before an edit, or one of its writes, is repeated. `largest_whole` is the number of rows from which on the access list
    is written in parts.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        *,
        published: Callable[[], None] = lambda: None,
        scratch: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        largest_whole: int = LARGEST_WHOLE,
    ) -> None:
        self._store = store
        self._now = now
        self._published = published
        self._scratch = scratch
        self._sleep = sleep
        self._largest_whole = largest_whole
        instance = Instance()
        self._reader = StateReader(store, now, scratch, instance)
        self._editing = threading.Lock()
        self._writer = Writer(instance)

    def read(self) -> "AbstractContextManager[DuckDBPyConnection]":
        """Open the current state for reading only.

        Raises:
            UnavailableError: the store does not respond, or the state is damaged.
            StateTooNewError: it was written by a newer version.
        """
        return self._reader.open()

    def derived(self, make: "Callable[[DuckDBPyConnection], T]") -> T:
        """Return what a function reads from the current state; it is called once for each version.

        `make` is a function of a module, which reads only the state, and its result is not changed.

        Raises:
            UnavailableError, StateTooNewError: see `read`.
        """
        return self._reader.derived(make)

    def edit(self, change: "Callable[[DuckDBPyConnection], T]") -> T:
        """Change the state, publish it with the resulting access list, and return the result of `change`.

        `change` runs again on the new state whenever another writer was faster, so it may act only through its connection.
        If it raises, the edit ends and nothing is changed.

        Raises:
            UnavailableError: the store does not respond, others were always faster, or the state is damaged.
            UnsureWriteError: a write got no response and can't be read back; the change may have been made.
            StateTooNewError: the state was written by a newer version.
        """
        return self._publish(change)

    def renew(self) -> None:
        """Publish the state and all of its access list again; an older state is migrated to the current schema.

        Raises:
            UnavailableError, UnsureWriteError, StateTooNewError: see `edit`.
        """
        self._publish(lambda _db: None, in_full=True)

    def replace(self, file: Path, change: "Callable[[DuckDBPyConnection], T]") -> T:
        """Publish a copy of another state in place of the current one, with a change; otherwise like `edit`.

        `file` may have an older schema. Edits that others make in the meantime are replaced as well.
        """
        return self._publish(change, base=file, in_full=True)

    def _publish(
        self, change: "Callable[[DuckDBPyConnection], T]", *, base: Path | None = None, in_full: bool = False
    ) -> T:
        lists = _Lists(self._store, self._largest_whole, in_full)
        attempts = Attempts(
            self._store, self._now, self._scratch, self._writer, change, lists=lists, sleep=self._sleep, base=base
        )
        with self._editing:  # one at a time in this process: they would only conflict with each other
            try:
                pauses = self._pauses(attempts)
                swap(self._store, CURRENT, attempts.next, done=attempts.is_in, pauses=pauses, sleep=self._sleep)
            finally:
                self._published()
                if attempts.built is not None:
                    self._reader.offer(*attempts.built)
        lost_edits.made(self._store, CURRENT, attempts.recent)
        return attempts.result

    def _pauses(self, attempts: Attempts[T]) -> Iterator[float]:
        """Yield pauses in proportion to the duration of an attempt.

        With pauses shorter than an attempt, every writer would read, build for a second, and find that another one has
        published in the meantime: of many concurrent attempts, only one succeeds.
        """

        def longer() -> Iterator[float]:
            for tries, pause in enumerate(compare_and_swap.pauses_for(self._store)):
                spread = attempts.seconds * 2 ** min(tries, _DOUBLED)
                yield max(pause, random.uniform(0.0, spread))  # noqa: S311 - only spreads the contenders

        return within(longer(), _PATIENCE)
