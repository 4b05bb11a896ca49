"""Publishing a snapshot: its objects, and the pointer to them."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ulid import ULID

from analyst.catalog import CURRENT, Catalog, CatalogList, Pointer
from analyst.contract.parquet import sha256_of
from analyst.errors import LeaseLostError, UnavailableError
from analyst.rebuild.contents import Contents, salvaged
from analyst.snapshots import CATALOG_SUFFIX, PREFIX, DamagedError, current_listed, read_listed, read_pointer
from analyst.store import ABSENT, Object, Store, StoreConflictError, UnsureWriteError, lost_edits
from analyst.store.compare_and_swap import FEW, attempts, put_once, small_text, swap

COPY = "analytics/analytics.duckdb"
"""The file of the newest snapshot, under a fixed name."""

RECENT_KEPT = 20


@dataclass(frozen=True, slots=True)
class Last:
    """The last snapshot. If parts of it are damaged, `is_whole` is false, and `contents` are what could be read of it."""

    pointer: Pointer | None
    contents: Contents
    is_whole: bool

    @property
    def built_from(self) -> Mapping[str, str]:
        """The version of each source's extract that it was built from; empty if it can't be built on."""
        return self.pointer.built_from if self.pointer and self.is_whole else {}

    @property
    def duckdb(self) -> str | None:
        """The key of its file; that of a snapshot with parts may be older."""
        return self.pointer.duckdb if self.pointer else None


def published_epoch(store: Store) -> int:
    """Return the epoch of the newest snapshot, 0 if there is none."""
    found = store.read(CURRENT)
    return read_pointer(found).epoch if found else 0


def read_last(store: Store, known: Mapping[str, Contents]) -> Last:
    """Read the last snapshot. Its parts are read when they are needed.

    `known` are contents by the key of their catalog, which need not be read again.
    """
    found = store.read(CURRENT)
    pointer = read_pointer(found) if found else None
    if pointer is not None:
        lost_edits.check(store, CURRENT, pointer.recent)
        with suppress(DamagedError):
            contents = known.get(pointer.catalog) or Contents.of(store, _listed(store, pointer))
            is_whole = not has_own_file(pointer) or store.head(pointer.duckdb) is not None
            return Last(pointer, contents, is_whole)
    return read_damaged(store, pointer)


def _listed(store: Store, pointer: Pointer) -> Catalog | CatalogList:
    """Read a catalog itself, even if it is embedded in its pointer: it must be there for readers of this snapshot."""
    if pointer.catalog_text is None or has_own_file(pointer):
        return read_listed(store, pointer.catalog, pointer.sha256.get("catalog"))
    return current_listed(store, pointer)


def read_damaged(store: Store, pointer: Pointer | None) -> Last:
    """Return what can be read of a damaged snapshot and of those before it."""
    keys = {entry.key for entry in store.list(PREFIX) if entry.key.endswith(CATALOG_SUFFIX)}
    if pointer is not None:
        try:
            _listed(store, pointer)
        except DamagedError:
            keys -= {pointer.catalog}
    contents = salvaged(store, sorted(keys, reverse=True))
    if contents is None:
        contents = Contents.of(store, Catalog.model_validate({"snapshot": 0, "built_at": 0}))
    number = max(contents.snapshot, pointer.snapshot if pointer else 0)
    return Last(pointer, replace(contents, snapshot=number), is_whole=False)


def has_own_file(pointer: Pointer) -> bool:
    """Return whether a snapshot has an analytics.duckdb of its own, as small ones have."""
    return pointer.duckdb != COPY


def upload(
    store: Store,
    contents: Contents,
    path: Path | None,
    *,
    after: Pointer | None,
    built_from: Mapping[str, str],
    epoch: int,
) -> Pointer:
    """Upload a snapshot's catalog, and its file if it has one; return the pointer that would make it current `after` another.

    Its parts have been written.
    """
    stem = f"{PREFIX}{contents.snapshot:09}-{str(ULID()).lower()}"
    text = contents.text(after.catalog if after else None)
    sha256 = {"catalog": hashlib.sha256(text).hexdigest()}
    if path is not None:
        put_once(store, f"{stem}.duckdb", path.read_bytes())
        sha256["duckdb"] = sha256_of(path)
    put_once(store, f"{stem}{CATALOG_SUFFIX}", text)
    return Pointer(
        snapshot=contents.snapshot,
        epoch=epoch,
        duckdb=COPY if path is None else f"{stem}.duckdb",
        catalog=f"{stem}{CATALOG_SUFFIX}",
        sha256=sha256,
        catalog_text=small_text(text),
        built_from=dict(built_from),
        built_at=contents.built_at,
    )


def point(store: Store, seen: Pointer | None, new: Pointer) -> None:
    """Replace the pointer `seen`, and no other.

    This is the only line between two builders. A builder that was paused for an hour still believes that it holds the
    lease; its snapshot would miss everything published since. Comparing the whole pointer rejects it, and the epoch
    rejects a builder that read the pointer after it had lost the lease.

    Raises:
        LeaseLostError: another builder has published in the meantime.
    """
    # After a lost response, the pointer may already be ours and even have been replaced by a later builder: `recent`
    # keeps the ids of the last edits, so that our own success is recognized in both cases.
    edit = str(ULID())

    def change(current: Object | None) -> bytes:
        found = read_pointer(current) if current else None
        lost_edits.check(store, CURRENT, found.recent if found else ())
        if found != seen or (found and found.epoch > new.epoch):
            raise LeaseLostError("another builder has published a snapshot in the meantime; start again")
        recent = (*(found.recent if found else ()), edit)[-RECENT_KEPT:]
        return new.model_copy(update={"recent": recent}).model_dump_json().encode()

    swap(store, CURRENT, change, done=lambda current: edit in read_pointer(current).recent)
    lost_edits.made(store, CURRENT, (*(seen.recent if seen else ()), edit))


def carry_over(store: Store, source: str, before: str | None, now: str, epoch: int) -> None:
    """Count the new version of an extract as built, if only its form changed. The caller holds the lease of rebuilds.

    Raises:
        LeaseLostError: another builder has published in the meantime.
    """
    found = store.read(CURRENT)
    seen = read_pointer(found) if found else None
    if seen is not None and seen.built_from.get(source) == before:
        point(store, seen, seen.model_copy(update={"built_from": {**seen.built_from, source: now}, "epoch": epoch}))


def copy_newest(store: Store, pointer: Pointer, data: bytes | None = None, *, force: bool = True) -> None:
    """Copy a small snapshot's file, after publishing it or in place of a builder that died before doing so.

    `data` is its content, if it is at hand. Unless `force`, it is only copied if the copy is not younger than the snapshot.
    A builder that resumes late changes nothing: the copy is swapped, and only while the pointer is the current one.
    """
    for _ in attempts(store, FEW):
        copy = store.head(COPY)
        if not force:
            newest = store.head(pointer.duckdb)
            if newest is None or (copy is not None and copy.age < newest.age):
                return
        current = store.read(CURRENT)
        if current is None or read_pointer(current).duckdb != pointer.duckdb:
            return
        if data is None:
            if (found := store.read(pointer.duckdb)) is None:
                return
            data = found.data
        # a conflict means another builder copied (the pointer shows which is newer), or the response to our write was lost
        with suppress(StoreConflictError, UnsureWriteError):
            store.put(COPY, data, if_version=ABSENT if copy is None else copy.version)
            return
        force = True
    raise unwritable()


def unwritable() -> UnavailableError:
    """Return the error that the newest file can't be written."""
    return UnavailableError(
        f"{COPY!r} can't be written: other processes change it all the time; the next rebuild writes it"
    )
