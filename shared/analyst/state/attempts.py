"""The attempts of one edit: each builds the next pair of system file and access list on what is current."""

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ulid import ULID

from analyst import duckdb_files
from analyst.access import StatePointer
from analyst.state.files import edited, fetch_file, read_pointer, renewed
from analyst.state.projection import project
from analyst.state.rows import execute, insert
from analyst.store import Object, Store
from analyst.store.compare_and_swap import put_once, small_text, upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

_Opened = Callable[[Path | None, Path, datetime], AbstractContextManager["DuckDBPyConnection"]]

_RECENT: Final = 100


class Attempts(Generic[T]):
    """The attempts of one edit. Each has an id and a result: of several, the one that was published counts."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        scratch: Path | None,
        change: "Callable[[DuckDBPyConnection], T]",
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._now = now
        self._scratch = scratch
        self._change = change
        self._sleep = sleep
        self._results: dict[str, T] = {}
        self._published = ""
        self.seconds = 0.0
        """What the last attempt took."""

    @property
    def result(self) -> T:
        """What the change returned in the attempt that was published."""
        return self._results[self._published]

    def next(self, current: Object | None) -> bytes:
        """Build the next pair on the current one and upload it; give the pointer to it."""
        began = time.monotonic()
        before = read_pointer(current)
        self._published = edit_id = str(ULID())
        with duckdb_files.scratch(self._scratch) as folder:
            path, access = self._attempt(before, edit_id, folder)
            after = _pointer(before, edit_id, path, access)
            upload_once(self._store, after.system, path, sleep=self._sleep)
        put_once(self._store, after.access, access, sleep=self._sleep)
        self.seconds = time.monotonic() - began
        return after.model_dump_json().encode()

    def is_in(self, current: Object) -> bool:
        """Tell whether an attempt was published after all: its id is in the pointer, even if others built on it."""
        pointer = read_pointer(current)
        ours = [id_ for id_ in self._results if pointer is not None and id_ in pointer.recent]
        self._published = ours[0] if ours else self._published
        return bool(ours)

    def _attempt(self, before: StatePointer | None, edit_id: str, folder: Path) -> tuple[Path, bytes]:
        """Build the next system file and access list: of the old file, or where DuckDB can't, of a renewed one.

        What is renewed has sound indexes, whatever became of the old ones.
        """
        import duckdb

        try:
            return self._edit(edited, before, edit_id, folder / "next.duckdb")
        except duckdb.Error:
            return self._edit(renewed, before, edit_id, folder / "renewed.duckdb")

    def _edit(self, opened: _Opened, before: StatePointer | None, edit_id: str, path: Path) -> tuple[Path, bytes]:
        """Run the change in a file at `path`, and give the access list that follows."""
        with opened(fetch_file(self._store, before, path.parent), path, self._now()) as db:
            db.execute("begin")
            self._results[edit_id] = self._change(db)
            insert(db, "_edits", {"id": edit_id, "at": self._now()})
            execute(
                db, "delete from _edits where id not in (select id from _edits order by id desc limit ?)", [_RECENT]
            )
            db.execute("commit")
            return path, project(db, _version(before), self._now())


def _version(before: StatePointer | None) -> int:
    return 1 if before is None else before.version + 1


def _pointer(before: StatePointer | None, edit_id: str, path: Path, access: bytes) -> StatePointer:
    version = _version(before)
    sha256 = {"system": hashlib.sha256(path.read_bytes()).hexdigest(), "access": hashlib.sha256(access).hexdigest()}
    recent = () if before is None else before.recent
    return StatePointer(
        version=version,
        system=f"state/system-{version}-{edit_id.lower()}.duckdb",
        access=f"state/access-{sha256['access']}.json",
        sha256=sha256,
        access_text=small_text(access),
        recent=(*recent, edit_id)[-_RECENT:],
    )
