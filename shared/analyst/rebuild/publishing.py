"""Publishing a snapshot: its two objects, the pointer to them, and the copy under a fixed name."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from analyst.catalog import CURRENT, Catalog, Pointer
from analyst.contract.parquet import sha256_of
from analyst.errors import LeaseLostError, UnavailableError
from analyst.snapshots import CATALOG_SUFFIX, PREFIX, DamagedError, read_catalog, read_pointer
from analyst.store import ABSENT, Object, Store, StoreConflictError, UnsureWriteError
from analyst.store.compare_and_swap import FEW, attempts, put_once, small_text, swap

COPY = "analytics/analytics.duckdb"
RECENT_KEPT = 20


@dataclass(frozen=True, slots=True)
class Last:
    """The last snapshot. If parts of it are damaged, `is_whole` is false and `duckdb` is `None`: then it is rebuilt."""

    pointer: Pointer | None
    catalog: Catalog
    duckdb: str | None
    is_whole: bool

    @property
    def built_from(self) -> Mapping[str, str]:
        """The version of each source's extract that it was built from; empty if it can't be built on."""
        return self.pointer.built_from if self.pointer and self.is_whole else {}


def published_epoch(store: Store) -> int:
    """Return the epoch of the newest snapshot, 0 if there is none."""
    found = store.read(CURRENT)
    return read_pointer(found).epoch if found else 0


def read_last(store: Store, known: Mapping[str, Catalog]) -> Last:
    """Read the last snapshot. Of a damaged one, recover at least the view names of its tables from the newest catalog.

    `known` are catalogs by key that need not be read again.
    """
    found = store.read(CURRENT)
    pointer = read_pointer(found) if found else None
    if pointer is not None:
        with suppress(DamagedError):
            catalog = known.get(pointer.catalog) or read_catalog(store, pointer.catalog, pointer.sha256.get("catalog"))
            is_whole = store.head(pointer.duckdb) is not None
            return Last(pointer, catalog, pointer.duckdb if is_whole else None, is_whole)
    salvaged = next(_catalogs(store, damaged=pointer.catalog if pointer else None), None)
    number = max(pointer.snapshot if pointer else 0, salvaged.snapshot if salvaged else 0)
    catalog = salvaged or Catalog.model_validate({"snapshot": 0, "built_at": 0})
    return Last(pointer, catalog.model_copy(update={"snapshot": number}), None, is_whole=False)


def _catalogs(store: Store, *, damaged: str | None) -> Iterator[Catalog]:
    """Yield the readable catalogs, newest first, without one that is known to be damaged."""
    keys = [entry.key for entry in store.list(PREFIX) if entry.key.endswith(CATALOG_SUFFIX)]
    for key in sorted(set(keys) - {damaged}, reverse=True):
        with suppress(DamagedError):
            yield read_catalog(store, key)


def upload(
    store: Store, catalog: Catalog, path: Path, *, after: Pointer | None, built_from: Mapping[str, str], epoch: int
) -> Pointer:
    """Upload a snapshot's two objects; return the pointer that would make it current `after` another."""
    catalog = catalog.model_copy(update={"previous": after and after.catalog})
    stem = f"{PREFIX}{catalog.snapshot:09}-{str(ULID()).lower()}"
    text = catalog.model_dump_json(exclude_defaults=True).encode()
    put_once(store, f"{stem}.duckdb", path.read_bytes())
    put_once(store, f"{stem}{CATALOG_SUFFIX}", text)
    return Pointer(
        snapshot=catalog.snapshot,
        epoch=epoch,
        duckdb=f"{stem}.duckdb",
        catalog=f"{stem}{CATALOG_SUFFIX}",
        sha256={"duckdb": sha256_of(path), "catalog": hashlib.sha256(text).hexdigest()},
        catalog_text=small_text(text),
        built_from=dict(built_from),
        built_at=catalog.built_at,
    )


def point(store: Store, seen: Pointer | None, new: Pointer) -> None:
    """Replace the pointer `seen`, and no other.

    This is the only line between two builders. A builder that was paused for an hour still believes that it holds the
    lease; its snapshot would lack everything published since. Comparing the whole pointer rejects it, and the epoch
    rejects a builder that read the pointer after it had lost the lease.

    Raises:
        LeaseLostError: another builder has published in the meantime.
    """
    # After a lost response, the pointer may already be ours and even have been replaced by a later builder: `recent`
    # keeps the ids of the last edits, so that our own success is recognised in both cases.
    edit = str(ULID())

    def change(current: Object | None) -> bytes:
        found = read_pointer(current) if current else None
        if found != seen or (found and found.epoch > new.epoch):
            raise LeaseLostError("another builder has published a snapshot in the meantime; start again")
        recent = (*(found.recent if found else ()), edit)[-RECENT_KEPT:]
        return new.model_copy(update={"recent": recent}).model_dump_json().encode()

    swap(store, CURRENT, change, done=lambda current: edit in read_pointer(current).recent)


def carry_over(store: Store, source: str, before: str | None, now: str, epoch: int) -> None:
    """Count the new version of an extract as built, if only its form changed. The caller holds the lease of rebuilds.

    Raises:
        LeaseLostError: another builder has published in the meantime.
    """
    found = store.read(CURRENT)
    seen = read_pointer(found) if found else None
    if seen is not None and seen.built_from.get(source) == before:
        point(store, seen, seen.model_copy(update={"built_from": {**seen.built_from, source: now}, "epoch": epoch}))


def copy_newest(store: Store, pointer: Pointer, *, force: bool = True) -> None:
    """Copy the newest snapshot to its fixed name, after publishing it or in place of a builder that died before doing so.

    Unless `force`, only if the copy is not younger than the snapshot. A builder that resumes late changes nothing: the
    copy is swapped, and only while the pointer is the current one.
    """
    for _ in attempts(store, FEW):
        copy, newest = store.head(COPY), store.head(pointer.duckdb)
        if newest is None or not (force or copy is None or copy.age >= newest.age):
            return
        current, found = store.read(CURRENT), store.read(pointer.duckdb)
        if current is None or found is None or read_pointer(current).duckdb != pointer.duckdb:
            return
        # a conflict means another builder copied (the pointer shows which is newer), or the response to our write was lost
        with suppress(StoreConflictError, UnsureWriteError):
            store.put(COPY, found.data, if_version=ABSENT if copy is None else copy.version)
            return
        force = True
    raise UnavailableError(
        f"{COPY!r} can't be written: other processes change it all the time; the next rebuild writes it"
    )
