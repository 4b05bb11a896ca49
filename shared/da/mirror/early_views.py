"""Work on the database of a mirror that is done while its changes are requested and downloaded."""

import os
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from da.errors import DaError
from da.mirror.opening import LARGE, MOST_IN_PLACE, Opening, without_interruption
from da.mirror.plan import Plan

if TYPE_CHECKING:
    from da.mirror.database import Draft, InPlace
    from da.mirror.views import Mirrored

_MANY, _FEW_BYTES = 100, 16 << 20
_BATCH, _BATCHES = 200, 4
"""Tables whose views are created at once, and batches of fewer tables."""


class EarlyViews:
    """The work on the database that is done in a thread while files are downloaded.

    Of many tables, and for a new database, the views of those that are complete are created in a copy. A large database is
    opened for a few changes that will not take long to arrive, whose views are created in memory meanwhile. A small one is
    not: other programs can open it until the files are there. An error stays for the work that follows.
    """

    def __init__(self, path: Path, todo: Plan, mirrored: int, opening: Opening | None) -> None:
        self._path, self._count = path, len(todo.chosen)
        self._is_new = not path.exists()
        self._is_opened = mirrored > LARGE and todo.size_bytes <= _FEW_BYTES
        self._opening = opening
        self._complete: SimpleQueue[list[Mirrored] | None] = SimpleQueue()
        self._begun: InPlace | Draft | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the work. What its thread needs of DuckDB is imported before it starts."""
        with without_interruption():
            import da.mirror.database
            import da.mirror.views  # noqa: F401
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, tables: "list[Mirrored]") -> None:
        """Take tables whose files have all arrived."""
        self._complete.put(tables)

    def finished(self) -> "InPlace | Draft | None":
        """Wait for the work to end; return what it was done to."""
        self._complete.put(None)
        if self._thread:
            self._thread.join()
        return self._begun

    def _work(self) -> None:
        if self._is_opened and self._count <= MOST_IN_PLACE:
            self._prepare(self._opening or Opening(self._path))
            return
        if self._opening:
            self._opening.close()
        if self._is_new or self._count >= _MANY:
            self._create()

    def _prepare(self, opening: Opening) -> None:
        """Create the views in memory until the database is open and the download has ended."""
        import duckdb

        from da.mirror.database import InPlace
        from da.mirror.views import Stage

        name, opened = Path(os.path.realpath(self._path)).stem, None
        try:
            stage = Stage(opening.memory)
            for tables in self._batches():
                stage.add(tables, name)
            if opened := opening.opened():
                self._begun = InPlace(self._path, opened, stage)
        except duckdb.Error:
            opening.close()
            for each in (opened, opening.memory):
                if each:
                    each.close()

    def _create(self) -> None:
        import duckdb

        from da.mirror.database import Draft

        draft: Draft | None = None
        try:
            for tables in self._batches():
                draft = draft or Draft(self._path)
                draft.add(tables)
        except (DaError, duckdb.Error):
            if draft:
                draft.close()
        else:
            self._begun = draft

    def _batches(self) -> "Iterator[list[Mirrored]]":
        """Yield the tables that have arrived, some at a time, until no more will."""
        least = min(_BATCH, -(-self._count // _BATCHES))
        batch: list[Mirrored] = []
        tables: list[Mirrored] | None = []
        while tables is not None:
            tables = self._complete.get()
            batch += tables or ()
            if batch and (tables is None or len(batch) >= least):
                yield batch
                batch = []
