"""Replaced snapshots, parts of catalogs and system states, to which no pointer leads any more."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from analyst.access import CURRENT as STATE_POINTER
from analyst.access import StatePointer, parse_pointer
from analyst.access import parts as access_parts
from analyst.access.reader import list_text
from analyst.catalog import CURRENT as SNAPSHOT_POINTER
from analyst.catalog import CatalogList
from analyst.snapshots import (
    CATALOG_SUFFIX,
    LAKE_SUFFIX,
    PREFIX,
    DamagedError,
    kept_catalogs,
    parts,
    read_listed,
    read_pointer,
)
from analyst.store import Entry, Store
from analyst.sweep.expired_objects import YOUNG, is_older

STATES_KEPT = 3
"""The current state and the ones before it, which a reader may be about to open."""

_SNAPSHOT = re.compile(
    rf"{PREFIX}[0-9]{{9,}}-[0-9a-z]{{26}}(\.duckdb|{re.escape(LAKE_SUFFIX)}|{re.escape(CATALOG_SUFFIX)})"
)
_SYSTEM = re.compile(r"state/system-([0-9]+)-[0-9a-z]{26}\.duckdb")
_ACCESS = re.compile(r"state/access-[0-9a-f]{64}\.json")


def snapshots(store: Store, keep: timedelta) -> list[Entry]:
    """List the objects of snapshots that have not been current for `keep`, catalogs first.

    Deleted in this order, no catalog is ever left whose snapshot is incomplete.
    """
    listed = [entry for entry in store.list(PREFIX) if _SNAPSHOT.fullmatch(entry.key)]
    found = store.read(SNAPSHOT_POINTER)
    if found is None:
        return []
    pointer = read_pointer(found)
    kept = {_stem(pointer.catalog), _stem(pointer.duckdb)}
    kept |= {_stem(entry.key) for entry in kept_catalogs(listed, keep.total_seconds())}
    due = [entry for entry in listed if _stem(entry.key) not in kept and is_older(entry, max(keep, YOUNG))]
    return sorted(due, key=lambda entry: not entry.key.endswith(CATALOG_SUFFIX))


def catalog_parts(store: Store, besides: frozenset[str]) -> list[Entry]:
    """List the parts of catalogs that no catalog names, except catalogs in `besides`, and that are older than a day.

    The parts are listed before the catalogs are read: a part that a catalog names by then was listed by the snapshot before
    it, which is kept as well, or it is younger than a day. Of a catalog that can't be read, no part is needed.
    """
    listed = [entry for entry in store.list(parts.PREFIX) if parts.NAME.fullmatch(entry.key)]
    if not any(is_older(entry, YOUNG) for entry in listed):
        return []
    needed: set[str] = set()
    for entry in store.list(PREFIX):
        if entry.key.endswith(CATALOG_SUFFIX) and entry.key not in besides:
            with suppress(DamagedError):
                catalog = read_listed(store, entry.key)
                needed |= parts.keys_of(catalog) if isinstance(catalog, CatalogList) else frozenset()
    return [entry for entry in listed if entry.key not in needed and is_older(entry, YOUNG)]


def states(store: Store) -> list[Entry]:
    """List the objects of replaced system states that are older than a day.

    Names of access lists contain no version, and on some stores many have the same age: then all of them are kept. The
    parts of a list are kept with it.
    """
    systems = [(entry, match) for entry in store.list("state/system-") if (match := _SYSTEM.fullmatch(entry.key))]
    lists = [entry for entry in store.list("state/access-") if _ACCESS.fullmatch(entry.key)]
    parts = [entry for entry in store.list(access_parts.PREFIX) if access_parts.NAME.fullmatch(entry.key)]
    found = store.read(STATE_POINTER)
    if found is None:
        return []
    pointer = parse_pointer(found.data)
    oldest_kept = max(sorted(entry.age for entry in lists)[:STATES_KEPT], default=0.0)
    replaced = [entry for entry, match in systems if int(match[1]) <= pointer.version - STATES_KEPT]
    replaced += [entry for entry in lists if entry.age > oldest_kept]
    if any(is_older(entry, YOUNG) for entry in parts):
        kept = {entry.key for entry in lists if entry.age <= oldest_kept} - {pointer.access}
        with suppress(access_parts.UnreadableError):  # the current list is damaged: which parts it needs is unknown
            needed = _parts_of(store, pointer, kept)
            replaced += [entry for entry in parts if entry.key not in needed]
    return [entry for entry in replaced if entry.key not in (pointer.system, pointer.access) and is_older(entry, YOUNG)]


def _parts_of(store: Store, pointer: StatePointer, lists: Iterable[str]) -> frozenset[str]:
    """Return the keys of the parts of the current access list and of other lists.

    Raises:
        UnreadableError: the current list is damaged.
    """
    needed: set[str] = set()
    if access_parts.HASHED in pointer.sha256:
        needed |= access_parts.parse_list(list_text(store, pointer), pointer.access).keys
    for key in lists:
        other = store.read(key)
        with suppress(access_parts.UnreadableError):  # a whole list has no parts
            needed |= access_parts.parse_list(other.data, key).keys if other else frozenset()
    return frozenset(needed)


def _stem(key: str) -> str:
    return key.removeprefix(PREFIX).removesuffix(".duckdb").removesuffix(LAKE_SUFFIX).removesuffix(CATALOG_SUFFIX)
