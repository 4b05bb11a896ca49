"""Published snapshots: the newest one, which is cached in memory, and earlier ones."""

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, ValidationError

from analyst.catalog import CURRENT, Catalog, Pointer, Table
from analyst.errors import NotFoundError, UnavailableError
from analyst.store import Entry, Object, Store

SnapshotNumber = Annotated[int, Field(ge=1, le=999_999_999)]
"""The number of a snapshot in a request."""

PREFIX = "analytics/"
CATALOG_SUFFIX = ".catalog.json"
_CATALOG = re.compile(rf"{PREFIX}([0-9]{{9,}})-[0-9a-z]{{26}}{re.escape(CATALOG_SUFFIX)}")


class DamagedError(UnavailableError):
    """A catalog is missing or damaged. Unlike after other unavailability, a retry does not help."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published snapshot. `by_id` are its tables by id, `built_from` the version of each source's extract."""

    number: int
    catalog: Catalog
    by_id: Mapping[str, Table]
    built_from: Mapping[str, str]


EMPTY = Snapshot(0, Catalog(snapshot=0, built_at=datetime.fromtimestamp(0, UTC)), {}, {})
"""The snapshot before the first rebuild."""


def read_pointer(found: Object) -> Pointer:
    """Parse `analytics/current.json`.

    Raises:
        UnavailableError: it is not valid.
    """
    try:
        return Pointer.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{CURRENT!r} is damaged; delete it, and the next rebuild writes a new one") from error


def read_catalog(store: Store, key: str, sha256: str | None = None) -> Catalog:
    """Read a published catalog and check its hash.

    Raises:
        DamagedError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    found = store.read(key)
    if found is None:
        raise DamagedError(
            f"the snapshot's catalog {key!r} is missing from the bucket; the next rebuild writes a new one"
        )
    return _catalog(found.data, key, sha256)


def _catalog(data: bytes, key: str, sha256: str | None) -> Catalog:
    try:
        if sha256 is None or hashlib.sha256(data).hexdigest() == sha256:
            return Catalog.model_validate_json(data)
    except ValidationError:
        pass
    raise DamagedError(f"the snapshot's catalog {key!r} is damaged; the next rebuild writes a new one")


def current_catalog(store: Store, pointer: Pointer) -> Catalog:
    """Return the catalog of a pointer, from the pointer itself if it is embedded there.

    Raises:
        DamagedError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    sha256 = pointer.sha256.get("catalog")
    if pointer.catalog_text is None:
        return read_catalog(store, pointer.catalog, sha256)
    return _catalog(pointer.catalog_text.encode(), pointer.catalog, sha256)


def kept_catalogs(listed: Iterable[Entry], seconds: float) -> Iterator[Entry]:
    """Yield the catalogs among listed objects whose snapshots were current in the last `seconds`, newest first.

    A snapshot is current until its successor is published, so the first one that is older counts as well.
    """
    catalogs = (entry for entry in listed if entry.key.endswith(CATALOG_SUFFIX))
    for entry in sorted(catalogs, key=lambda entry: entry.key, reverse=True):
        yield entry
        if entry.age > seconds:
            return


@dataclass(slots=True)
class Snapshots:
    """The snapshots of a store. Thread-safe."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _version: str | None = None
    _newest: Snapshot = EMPTY
    _newest_key: str = ""

    def current(self) -> Snapshot:
        """Return the newest snapshot: one conditional read, and another one if it has changed and is large.

        Raises:
            UnavailableError: the store does not respond, or the snapshot's catalog is missing.
        """
        with self._lock:
            found = self.store.read(CURRENT, unless=self._version)
            if found is None:
                self._version, self._newest = None, EMPTY
            elif found.version != self._version:
                pointer = read_pointer(found)
                catalog = current_catalog(self.store, pointer)
                self._newest = _snapshot(catalog, pointer.built_from)
                self._version, self._newest_key = found.version, pointer.catalog
            return self._newest

    def is_built_from(self, source: str, version: str) -> bool:
        """Return whether the newest snapshot contains a version of an extract; asks the store only if the cached one does not."""
        known = self._newest.built_from.get(source) == version
        return known or self.current().built_from.get(source) == version

    def at(self, number: int | None) -> Snapshot:
        """Return the snapshot with a number (`None`: the newest).

        Raises:
            NotFoundError: it does not exist, or is no longer kept.
            UnavailableError: as `current`.
        """
        newest = self.current()
        if number is None or number == newest.number:
            return newest
        return _snapshot(read_catalog(self.store, self.key_of(number)))

    def key_of(self, number: int) -> str:
        """Return the key of the catalog that was published with a number.

        Raises:
            NotFoundError: it does not exist, or is no longer kept.
        """
        newest = self.current().number
        if number == newest:
            return self._newest_key
        keys = [entry.key for entry in self.store.list(f"{PREFIX}{number:09}-") if entry.key.endswith(CATALOG_SUFFIX)]
        if not 0 < number < newest or not keys:
            raise NotFoundError(
                f"there is no snapshot {number}, or it is no longer kept; `da tables --snapshots` lists the existing ones"
            )
        # a builder that lost the swap left a catalog with the same number; the successor names the published one
        return keys[0] if len(keys) == 1 else read_catalog(self.store, self.key_of(number + 1)).previous or keys[-1]

    def ages(self) -> dict[int, float]:
        """Return the age in seconds of each kept snapshot, newest first."""
        newest = self.current().number
        found: dict[int, float] = {}
        for entry in self.store.list(PREFIX):
            if (match := _CATALOG.fullmatch(entry.key)) and int(match[1]) <= newest:
                found[int(match[1])] = entry.age
        return dict(sorted(found.items(), reverse=True))

    def all(self, *, besides: frozenset[str]) -> Iterator[Snapshot]:
        """Read every snapshot in the bucket, except those whose catalogs are in `besides`."""
        for entry in self.store.list(PREFIX):
            if _CATALOG.fullmatch(entry.key) and entry.key not in besides:
                with suppress(DamagedError):  # swept in the meantime, or damaged
                    yield _snapshot(read_catalog(self.store, entry.key))

    def kept(self, keep_hours: float) -> Iterator[Snapshot]:
        """Read the snapshots that were current in the last hours, newest first."""
        for entry in kept_catalogs(self.store.list(PREFIX), keep_hours * 3600):
            with suppress(DamagedError):  # swept in the meantime, or damaged
                yield _snapshot(read_catalog(self.store, entry.key))


def _snapshot(catalog: Catalog, built_from: Mapping[str, str] = MappingProxyType({})) -> Snapshot:
    return Snapshot(catalog.snapshot, catalog, {table.id: table for table in catalog.tables}, built_from)
