"""Reading published snapshots: the newest one, kept in memory while it stays the newest, and those before it."""

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
"""The number of a snapshot that somebody asks for."""

PREFIX = "analytics/"
CATALOG_SUFFIX = ".catalog.json"
_CATALOG = re.compile(rf"{PREFIX}([0-9]{{9,}})-[0-9a-z]{{26}}{re.escape(CATALOG_SUFFIX)}")


class DamagedError(UnavailableError):
    """A catalog is gone or damaged: trying again does not help, as it does when only the store does not answer."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One published snapshot. `by_id` has its tables by id, `built_from` the version of each source's extract."""

    number: int
    catalog: Catalog
    by_id: Mapping[str, Table]
    built_from: Mapping[str, str]


EMPTY = Snapshot(0, Catalog(snapshot=0, built_at=datetime.fromtimestamp(0, UTC)), {}, {})
"""What there is before the first rebuild."""


def read_pointer(found: Object) -> Pointer:
    """Read `analytics/current.json`.

    Raises:
        UnavailableError: it is none.
    """
    try:
        return Pointer.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{CURRENT} can't be read; delete it, and the next rebuild makes it anew") from error


def read_catalog(store: Store, key: str, sha256: str | None = None) -> Catalog:
    """Read a published catalog, which must have the hash that the pointer gives.

    Raises:
        DamagedError: it is not there, or damaged.
        UnavailableError: the store does not answer.
    """
    found = store.read(key)
    if found is None:
        raise DamagedError(f"the snapshot's catalog {key} is not in the bucket; the next rebuild makes a new one")
    return _catalog(found.data, key, sha256)


def _catalog(data: bytes, key: str, sha256: str | None) -> Catalog:
    try:
        if sha256 is None or hashlib.sha256(data).hexdigest() == sha256:
            return Catalog.model_validate_json(data)
    except ValidationError:
        pass
    raise DamagedError(f"the snapshot's catalog {key} is damaged; the next rebuild makes a new one")


def _current_catalog(store: Store, pointer: Pointer) -> Catalog:
    """Give the catalog that a pointer names, without reading it where the pointer has it."""
    sha256 = pointer.sha256.get("catalog")
    if pointer.catalog_text is None:
        return read_catalog(store, pointer.catalog, sha256)
    return _catalog(pointer.catalog_text.encode(), pointer.catalog, sha256)


def kept_catalogs(listed: Iterable[Entry], seconds: float) -> Iterator[Entry]:
    """Give the catalogs among listed objects whose snapshots were current in the last `seconds`, newest first.

    A snapshot is current until its successor is published; so the first that is older was so too.
    """
    catalogs = (entry for entry in listed if entry.key.endswith(CATALOG_SUFFIX))
    for entry in sorted(catalogs, key=lambda entry: entry.key, reverse=True):
        yield entry
        if entry.age > seconds:
            return


@dataclass(slots=True)
class Snapshots:
    """The snapshots of a store. Safe to share between threads."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _version: str | None = None
    _newest: Snapshot = EMPTY
    _newest_key: str = ""

    def current(self) -> Snapshot:
        """Read the newest snapshot: one conditional read, and one more when it has changed and is large.

        Raises:
            UnavailableError: the store does not answer, or the snapshot's catalog is not there.
        """
        with self._lock:
            found = self.store.read(CURRENT, unless=self._version)
            if found is None:
                self._version, self._newest = None, EMPTY
            elif found.version != self._version:
                pointer = read_pointer(found)
                catalog = _current_catalog(self.store, pointer)
                self._newest = _snapshot(catalog, pointer.built_from)
                self._version, self._newest_key = found.version, pointer.catalog
            return self._newest

    def is_built_from(self, source: str, version: str) -> bool:
        """Tell whether the newest snapshot has a version of a source's extract; asks the store only if the last one had not."""
        known = self._newest.built_from.get(source) == version
        return known or self.current().built_from.get(source) == version

    def at(self, number: int | None) -> Snapshot:
        """Read the snapshot of a number, the newest one of `None`.

        Raises:
            NotFoundError: there was none, or it is kept no more.
            UnavailableError: as `current`.
        """
        newest = self.current()
        if number is None or number == newest.number:
            return newest
        return _snapshot(read_catalog(self.store, self.key_of(number)))

    def key_of(self, number: int) -> str:
        """Tell the key of the catalog that was published under a number.

        Raises:
            NotFoundError: there was none, or it is kept no more.
        """
        newest = self.current().number
        if number == newest:
            return self._newest_key
        keys = [entry.key for entry in self.store.list(f"{PREFIX}{number:09}-") if entry.key.endswith(CATALOG_SUFFIX)]
        if not 0 < number < newest or not keys:
            raise NotFoundError(f"there is no snapshot {number}, or it is kept no more")
        # what a builder made that was overtaken has the same number; its successor tells which was published
        return keys[0] if len(keys) == 1 else read_catalog(self.store, self.key_of(number + 1)).previous or keys[-1]

    def ages(self) -> dict[int, float]:
        """Tell how many seconds ago each kept snapshot was made, newest first."""
        newest = self.current().number
        found: dict[int, float] = {}
        for entry in self.store.list(PREFIX):
            if (match := _CATALOG.fullmatch(entry.key)) and int(match[1]) <= newest:
                found[int(match[1])] = entry.age
        return dict(sorted(found.items(), reverse=True))

    def all(self, *, besides: frozenset[str]) -> Iterator[Snapshot]:
        """Read every snapshot in the bucket, but for those whose catalogs are named."""
        for entry in self.store.list(PREFIX):
            if _CATALOG.fullmatch(entry.key) and entry.key not in besides:
                with suppress(DamagedError):  # one that is swept meanwhile, or damaged, hides no other
                    yield _snapshot(read_catalog(self.store, entry.key))

    def kept(self, keep_hours: float) -> Iterator[Snapshot]:
        """Read the snapshots that were current in the last hours, newest first."""
        for entry in kept_catalogs(self.store.list(PREFIX), keep_hours * 3600):
            with suppress(DamagedError):  # one that is swept meanwhile, or damaged, hides no other
                yield _snapshot(read_catalog(self.store, entry.key))


def _snapshot(catalog: Catalog, built_from: Mapping[str, str] = MappingProxyType({})) -> Snapshot:
    return Snapshot(catalog.snapshot, catalog, {table.id: table for table in catalog.tables}, built_from)
