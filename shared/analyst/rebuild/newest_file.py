"""`analytics/analytics.duckdb`: the file of the newest snapshot, under the name that people look for.

A small snapshot has a file of its own, which is copied. That of a larger one costs more than the rebuild of what has
changed, so it is updated from the parts afterwards, by the first process that gets to it; the system itself never reads it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from analyst import duckdb_files
from analyst.catalog import CURRENT, Pointer
from analyst.rebuild import snapshot_file
from analyst.rebuild.contents import Contents
from analyst.rebuild.publishing import COPY, has_own_file, unwritable
from analyst.snapshots import current_listed, read_pointer
from analyst.store import ABSENT, ObjectMissingError, Store, StoreConflictError, UnsureWriteError
from analyst.store.compare_and_swap import FEW, attempts


@dataclass(frozen=True, slots=True)
class NewestFile:
    """The file of a snapshot that has parts. `known` are contents by the key of their catalog."""

    store: Store
    scratch: Path | None
    known: Mapping[str, Contents]

    def is_current(self) -> bool:
        """Return whether the file is younger than the pointer to the newest snapshot. Small snapshots copy theirs."""
        found = self.store.read(CURRENT)
        if found is None or has_own_file(read_pointer(found)):
            return True
        copy = self.store.head(COPY)
        return copy is not None and copy.age < found.age

    def refresh(self) -> Mapping[str, str]:
        """Bring the file up to date with the newest snapshot; return why tables have no view, by id.

        Two processes may do this at once: the file is swapped, and the one that is late starts again.
        """
        for _ in attempts(self.store, FEW):
            copy, found = self.store.head(COPY), self.store.read(CURRENT)
            if found is None or has_own_file(pointer := read_pointer(found)):
                return {}
            failed, data = self._updated(pointer, is_there=copy is not None)
            with suppress(StoreConflictError, UnsureWriteError):
                self.store.put(COPY, data, if_version=ABSENT if copy is None else copy.version)
                now = self.store.read(CURRENT, unless=found.version)
                if now is not None and now.version == found.version:
                    return failed
        raise unwritable()

    def _updated(self, pointer: Pointer, *, is_there: bool) -> tuple[Mapping[str, str], bytes]:
        contents = self.known.get(pointer.catalog) or Contents.of(self.store, current_listed(self.store, pointer))
        with duckdb_files.scratch(self.scratch) as folder:
            path = folder / "analytics.duckdb"
            if is_there:
                with suppress(ObjectMissingError):
                    self.store.download(COPY, path)
            failed = snapshot_file.update(path, contents.catalog(), self.store.url)
            return failed, path.read_bytes()
