"""Published snapshots: the newest one, which is cached in memory, and earlier ones."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from analyst.catalog import CURRENT, Catalog, CatalogList, Pointer, Table
from analyst.errors import NotFoundError, UnavailableError
from analyst.snapshots.parts import DamagedError, Part, compose, read_owners, read_parts
from analyst.store import Entry, Object, Store

__all__ = ["DamagedError"]

SnapshotNumber = Annotated[int, Field(ge=1, le=999_999_999)]
"""The number of a snapshot in a request."""

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

PREFIX = "analytics/"
CATALOG_SUFFIX = ".catalog.json"
LAKE_SUFFIX = ".ducklake"
_CATALOG = re.compile(rf"{PREFIX}([0-9]{{9,}})-[0-9a-z]{{26}}{re.escape(CATALOG_SUFFIX)}")
_CATALOGS: TypeAdapter[CatalogList | Catalog] = TypeAdapter(
    Annotated[CatalogList | Catalog, Field(union_mode="left_to_right")]
)


class Derived:
    """What is computed of a snapshot for an access list or the like, kept as long as that object stays the same.

    A process has one object for each version of them, so its identity stands for its content. Threads that are here at the
    same time may compute the same value twice.
    """

    def __init__(self) -> None:
        self._kept: dict[object, tuple[object, Any]] = {}

    def of(self, make: Callable[[S, T], R], snapshot: S, beside: T) -> R:
        """Return `make(snapshot, beside)`, which it must not change, from memory if `beside` is that of the last call."""
        kept = self._kept.get(make)
        if kept is None or kept[0] is not beside:
            kept = self._kept[make] = (beside, make(snapshot, beside))
        made: R = kept[1]
        return made


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published snapshot. `by_id` are its tables by id, `built_from` the version of each source's extract."""

    number: int
    catalog: Catalog
    by_id: Mapping[str, Table]
    built_from: Mapping[str, str]
    derived: Derived = field(default_factory=Derived, compare=False, repr=False)


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


def read_listed(store: Store, key: str, sha256: str | None = None) -> Catalog | CatalogList:
    """Read a published catalog, or the list of its parts, and check its hash.

    Raises:
        DamagedError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    found = store.read(key)
    if found is None:
        raise DamagedError(
            f"the snapshot's catalog {key!r} is missing from the bucket; the next rebuild writes a new one"
        )
    return _parsed(found.data, key, sha256)


def read_catalog(store: Store, key: str, sha256: str | None = None) -> Catalog:
    """Read a published catalog with all its parts and the owners of view names.

    Raises:
        DamagedError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    listed = read_listed(store, key, sha256)
    if isinstance(listed, Catalog):
        return listed
    return compose(listed, read_parts(store, listed.parts, {}), read_owners(store, listed.owners))


def current_listed(store: Store, pointer: Pointer) -> Catalog | CatalogList:
    """Return the catalog of a pointer or the list of its parts, from the pointer itself if it is embedded there.

    Raises:
        DamagedError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    sha256 = pointer.sha256.get("catalog")
    if pointer.catalog_text is None:
        return read_listed(store, pointer.catalog, sha256)
    return _parsed(pointer.catalog_text.encode(), pointer.catalog, sha256)


def _parsed(data: bytes, key: str, sha256: str | None) -> Catalog | CatalogList:
    try:
        if sha256 is None or hashlib.sha256(data).hexdigest() == sha256:
            return _CATALOGS.validate_json(data)
    except ValidationError:
        pass
    raise DamagedError(f"the snapshot's catalog {key!r} is damaged; the next rebuild writes a new one")


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
    _parts: Mapping[str, Part] = field(default_factory=dict)
    """The parts of the newest snapshot by key. Other snapshots share most of them, so only the others are read."""

    def current(self) -> Snapshot:
        """Return the newest snapshot: one conditional read, and one for each part that has changed.

        Raises:
            UnavailableError: the store does not respond, or the snapshot's catalog is missing.
        """
        with self._lock:
            found = self.store.read(CURRENT, unless=self._version)
            if found is None:
                self._version, self._newest = None, EMPTY
            elif found.version != self._version:
                pointer = read_pointer(found)
                listed = current_listed(self.store, pointer)
                parts = self._read_parts(listed)
                self._newest, self._parts = _snapshot(listed, parts, pointer.built_from), parts
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
        return self._read(self.key_of(number))

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
        return keys[0] if len(keys) == 1 else read_listed(self.store, self.key_of(number + 1)).previous or keys[-1]

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
        listed = (entry.key for entry in self.store.list(PREFIX))
        return self._read_all(key for key in listed if _CATALOG.fullmatch(key) and key not in besides)

    def kept(self, keep_hours: float) -> Iterator[Snapshot]:
        """Read the snapshots that were current in the last hours, newest first."""
        return self._read_all(entry.key for entry in kept_catalogs(self.store.list(PREFIX), keep_hours * 3600))

    def _read(self, key: str) -> Snapshot:
        listed = read_listed(self.store, key)
        return _snapshot(listed, self._read_parts(listed))

    def _read_all(self, keys: Iterable[str]) -> Iterator[Snapshot]:
        """Read snapshots with neighbouring numbers, which share most of their parts."""
        last: Mapping[str, Part] = {}
        for key in keys:
            with suppress(DamagedError):  # swept in the meantime, or damaged
                listed = read_listed(self.store, key)
                last = self._read_parts(listed, last)
                yield _snapshot(listed, last)

    def _read_parts(
        self, listed: Catalog | CatalogList, known: Mapping[str, Part] = MappingProxyType({})
    ) -> dict[str, Part]:
        """Read the parts of a snapshot besides those of the newest one and the ones that are `known`."""
        if isinstance(listed, Catalog):
            return {}
        return read_parts(self.store, listed.parts, {**known, **self._parts})


def _snapshot(
    listed: Catalog | CatalogList, parts: Mapping[str, Part], built_from: Mapping[str, str] = MappingProxyType({})
) -> Snapshot:
    catalog = listed if isinstance(listed, Catalog) else compose(listed, parts)
    return Snapshot(catalog.snapshot, catalog, {table.id: table for table in catalog.tables}, built_from)
