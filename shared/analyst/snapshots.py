"""Reading published snapshots: the newest one, kept in memory while it stays the newest, and those before it."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from analyst.catalog import CURRENT, Catalog, Pointer, Table
from analyst.errors import UnavailableError
from analyst.store import Store

PREFIX = "analytics/"
CATALOG_SUFFIX = ".catalog.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One published snapshot. `by_id` has its tables by id, `built_from` the version of each source's extract."""

    number: int
    catalog: Catalog
    by_id: Mapping[str, Table]
    built_from: Mapping[str, str]


EMPTY = Snapshot(0, Catalog(snapshot=0, built_at=datetime.fromtimestamp(0, UTC)), {}, {})
"""What there is before the first rebuild."""


@dataclass(slots=True)
class Snapshots:
    """The snapshots of a store. Safe to share between threads."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _version: str | None = None
    _newest: Snapshot = EMPTY

    def current(self) -> Snapshot:
        """Read the newest snapshot: one conditional read, and two more only when it has changed.

        Raises:
            UnavailableError: the store does not answer, or the snapshot's catalog is not there.
        """
        with self._lock:
            found = self.store.read(CURRENT, unless=self._version)
            if found is None:
                self._version, self._newest = None, EMPTY
            elif found.version != self._version:
                pointer = Pointer.model_validate_json(found.data)
                self._newest = self._read(pointer.catalog, pointer.built_from)
                self._version = found.version
            return self._newest

    def kept(self, keep_hours: float) -> Iterator[Snapshot]:
        """Read the snapshots that were published in the last hours, newest first.

        A snapshot is current until its successor is published; the one before the oldest of these was so too.
        """
        entries = [entry for entry in self.store.list(PREFIX) if entry.key.endswith(CATALOG_SUFFIX)]
        for entry in sorted(entries, key=lambda entry: entry.key, reverse=True):
            yield self._read(entry.key)
            if entry.age > keep_hours * 3600:
                return

    def _read(self, key: str, built_from: Mapping[str, str] = MappingProxyType({})) -> Snapshot:
        found = self.store.read(key)
        if found is None:
            raise UnavailableError(f"the snapshot's catalog {key} is not in the bucket")
        catalog = Catalog.model_validate_json(found.data)
        return Snapshot(catalog.snapshot, catalog, {table.id: table for table in catalog.tables}, built_from)
