"""What pointers no longer lead to: snapshots and system states that were replaced."""

import re
from datetime import timedelta

from analyst.access import CURRENT as STATE_POINTER
from analyst.access import StatePointer
from analyst.catalog import CURRENT as SNAPSHOT_POINTER
from analyst.snapshots import CATALOG_SUFFIX, PREFIX, kept_catalogs, read_pointer
from analyst.store import Entry, Store

YOUNG = timedelta(days=1)
"""What is younger may be about to be referred to."""

STATES_KEPT = 3
"""The current state and those just before it, which somebody may be about to read."""

_SNAPSHOT = re.compile(rf"{PREFIX}[0-9]{{9,}}-[0-9a-z]{{26}}(\.duckdb|{re.escape(CATALOG_SUFFIX)})")
_STATE = re.compile(r"state/(system-[0-9]+-[0-9a-z]{26}\.duckdb|access-[0-9a-f]{64}\.json)")


def is_older(entry: Entry, age: timedelta) -> bool:
    """Tell whether an object is older than that, by its store's clock."""
    return entry.age > age.total_seconds()


def snapshots(store: Store, keep: timedelta) -> list[Entry]:
    """List the objects of snapshots that were not current for `keep`."""
    listed = [entry for entry in store.list(PREFIX) if _SNAPSHOT.fullmatch(entry.key)]
    found = store.read(SNAPSHOT_POINTER)
    if found is None:
        return []
    pointer = read_pointer(found)
    kept = {_stem(pointer.catalog), _stem(pointer.duckdb)}
    kept |= {_stem(entry.key) for entry in kept_catalogs(listed, keep.total_seconds())}
    return [entry for entry in listed if _stem(entry.key) not in kept and is_older(entry, max(keep, YOUNG))]


def states(store: Store) -> list[Entry]:
    """List the objects of system states that were replaced a while ago."""
    listed = [entry for entry in store.list("state/") if _STATE.fullmatch(entry.key)]
    found = store.read(STATE_POINTER)
    if found is None:
        return []
    pointer = StatePointer.model_validate_json(found.data)
    kept = {pointer.system, pointer.access}
    for kind in ("state/system-", "state/access-"):
        of_kind = sorted((e for e in listed if e.key.startswith(kind)), key=lambda e: e.age)
        kept |= {entry.key for entry in of_kind[:STATES_KEPT]}
    return [entry for entry in listed if entry.key not in kept and is_older(entry, YOUNG)]


def _stem(key: str) -> str:
    return key.removeprefix(PREFIX).removesuffix(".duckdb").removesuffix(CATALOG_SUFFIX)
