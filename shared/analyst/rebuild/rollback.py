"""Rollback: publishes the tables of an earlier snapshot again, as the newest one.

The versions that the last snapshot was built from still count as built, so every table stays as it was in the earlier
snapshot until its source publishes again or is released. The catalog lists these sources as held back.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files, lease, logs, runs
from analyst.catalog import Catalog, HeldBack
from analyst.errors import AnalystError, ConflictError, NotFoundError
from analyst.lease import Lease
from analyst.rebuild import LEASE, Rebuild, RebuildAnswer, snapshot_file, with_remote
from analyst.rebuild.contents import Contents
from analyst.rebuild.publishing import copy_newest, has_own_file, point, published_epoch, read_last, upload
from analyst.snapshots import CATALOG_SUFFIX, DamagedError, Snapshots, read_catalog
from analyst.store import ObjectMissingError, Store

_LOG = logging.getLogger(f"{logs.ROOT}.rollback")


class TableChange(BaseModel):
    """A table that a rollback changes: its rows and its last extract before and after. A missing side has neither."""

    model_config = ConfigDict(frozen=True)

    table: str
    change: Literal["changed", "added", "removed"]
    rows_before: int | None = None
    rows_after: int | None = None
    extracted_before: datetime | None = None
    extracted_after: datetime | None = None


class RollbackAnswer(RebuildAnswer):
    """The result of a rollback, or with `dry_run` what it would be.

    `missing` are tables that are not shown as they were: the earlier snapshot does not contain them, or contains them for a
    registration that has ended. `changes` lists the tables that differ from those before the rollback.
    """

    dry_run: bool = False
    missing: tuple[str, ...] = ()
    changes: tuple[TableChange, ...] = ()


def roll_back(rebuilding: Rebuild, number: int, *, dry_run: bool = False) -> RollbackAnswer:
    """Publish the tables of an earlier snapshot under a new number, and build what was published in the meantime.

    View names stay with the tables that own them now. With `dry_run`, only report what would be shown.

    Raises:
        NotFoundError: the snapshot does not exist, or is no longer kept.
        ConflictError: a rebuild is running, or files of the snapshot are gone.
    """
    store = rebuilding.store
    key, unbuilt = Snapshots(store).key_of(number), rebuilding.unbuilt()
    target = _read(store, key, number)  # once: after publishing, a sweep may delete it
    if dry_run:
        last = read_last(store, {}).contents.catalog()
        return _answer(_planned(rebuilding, target, number, last), last, target, unbuilt, dry_run=True)
    with _leased(store) as held:
        catalog, last = _publish(rebuilding, target, key, number, held)
    _catch_up(rebuilding)
    return _answer(catalog, last, target, unbuilt, dry_run=False)


def release(rebuilding: Rebuild, sources: frozenset[str] | None) -> RebuildAnswer:
    """Build the current tables of sources that a rollback holds back: of these, or of all.

    Raises:
        NotFoundError: one of the sources is not held back.
        ConflictError: a rebuild is running.
    """
    store = rebuilding.store
    with _leased(store) as held:
        last = read_last(store, {})
        kept = {one.source for one in last.contents.held_back}
        if unknown := sorted((sources or frozenset()) - kept):
            raise NotFoundError(
                f"the source {unknown[0]!r} is not held back by a rollback; "
                + (f"held back: {', '.join(sorted(kept))}" if kept else "no source is")
            )
        wanted = kept if sources is None else sources
        if last.pointer is not None and wanted:
            built = {source: version for source, version in last.pointer.built_from.items() if source not in wanted}
            point(store, last.pointer, last.pointer.model_copy(update={"built_from": built, "epoch": held.epoch}))
    return rebuilding.run()


def _leased(store: Store) -> Lease:
    held = lease.acquire(store, LEASE, published_epoch=published_epoch(store), run_id=runs.new_run_id())
    if held is None:
        raise ConflictError("a rebuild is running; try again in a moment")
    return held


def _answer(
    catalog: Catalog, last: Catalog, target: Catalog, unbuilt: frozenset[str], *, dry_run: bool
) -> RollbackAnswer:
    """Return the answer once the sources that were `unbuilt` before are built as well."""
    shown = {table.id for table in catalog.tables}
    hidden = {table.id for table in target.tables if table not in catalog.tables}
    lacking = {table.id for table in last.tables if table.id not in shown and table.source not in unbuilt}
    return RollbackAnswer(
        status="unchanged" if dry_run else "published",
        snapshot=last.snapshot if dry_run else catalog.snapshot,
        tables=len(catalog.tables),
        problems=catalog.problems,
        held_back=tuple(one.source for one in catalog.held_back if one.source not in unbuilt),
        dry_run=dry_run,
        missing=tuple(sorted({*lacking, *hidden})),
        changes=tuple(_changes(last, catalog, unbuilt)),
    )


def _changes(before: Catalog, after: Catalog, unbuilt: frozenset[str]) -> Iterator[TableChange]:
    """Compare the tables of two catalogs, except those of sources that are built again right away."""
    old, new = ({table.id: table for table in one.tables if table.source not in unbuilt} for one in (before, after))
    for name in sorted(old.keys() | new.keys()):
        was, is_ = old.get(name), new.get(name)
        if was is None or is_ is None or (was.version, was.hash) != (is_.version, is_.hash):
            yield TableChange(
                table=name,
                change="added" if was is None else "removed" if is_ is None else "changed",
                rows_before=was.rows if was else None,
                rows_after=is_.rows if is_ else None,
                extracted_before=was.extracted_at if was else None,
                extracted_after=is_.extracted_at if is_ else None,
            )


def _planned(rebuilding: Rebuild, earlier: Catalog, number: int, last: Catalog) -> Catalog:
    """Make the catalog that would follow the last one.

    Raises:
        ConflictError: files of the earlier snapshot are gone.
    """
    target = _of_now(rebuilding, earlier, last)
    _require_whole(rebuilding.store, target, number)
    now = rebuilding.now()
    newest = {one.source: one.newest for one in last.held_back}
    for source, tables in _published(last).items():
        newest.setdefault(source, tables)
    then = _published(target)
    held = [
        HeldBack(source=source, snapshot=number, since=now, newest=tables)
        for source, tables in sorted(newest.items())
        if tables != then.get(source, {})
    ]
    owners = {**target.owners, **last.owners}
    update = {"snapshot": last.snapshot + 1, "built_at": now, "owners": owners, "held_back": tuple(held)}
    return target.model_copy(update=update)


def _of_now(rebuilding: Rebuild, target: Catalog, last: Catalog) -> Catalog:
    """Return an earlier catalog without tables that belong to an ended registration.

    If the last snapshot contains such a table for its present registration, that one stays.
    """
    is_of_now = rebuilding.of_now()
    shown = {table.id: table for table in target.tables if is_of_now(table, target.built_at)}
    hidden = {table.id for table in target.tables} - shown.keys()
    # a remote view is stored only in its extract: such a table returns when its source is released
    kept = [
        table
        for table in last.tables
        if table.id in hidden and table.query_mode != "remote" and is_of_now(table, last.built_at)
    ]
    tables = tuple(sorted((*shown.values(), *kept), key=lambda table: table.id))
    return target.model_copy(update={"tables": tables}) if hidden else target


def _read(store: Store, key: str, number: int) -> Catalog:
    try:
        return read_catalog(store, key)
    except DamagedError as error:
        raise NotFoundError(f"snapshot {number} can't be read: it is damaged or no longer kept: {error}") from error


def _published(catalog: Catalog) -> Mapping[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table in catalog.tables:
        found.setdefault(table.source, {})[table.name] = f"{table.version}:{table.hash}"
    return found


def _require_whole(store: Store, catalog: Catalog, number: int) -> None:
    """Check that all files of a snapshot exist, with one listing for each source."""
    existing = {
        entry.key for source in {t.source for t in catalog.tables} for entry in store.list(f"extracts/{source}/data/")
    }
    gone = Counter(table.id for table in catalog.tables for file in table.files if file.path not in existing)
    if gone:
        tables = ", ".join(f"{table} ({count})" for table, count in gone.most_common(5))
        raise ConflictError(
            f"snapshot {number} can't be published again: files of {len(gone)} of its tables are gone from the "
            f"bucket: {tables}; choose another snapshot"
        )


def _publish(rebuilding: Rebuild, target: Catalog, key: str, number: int, held: Lease) -> tuple[Catalog, Catalog]:
    store = rebuilding.store
    with duckdb_files.scratch(rebuilding.scratch) as folder:
        last = read_last(store, {})
        before = last.contents.catalog()
        path, duckdb = folder / "analytics.duckdb", f"{key.removesuffix(CATALOG_SUFFIX)}.duckdb"
        keys = [key]
        with suppress(ObjectMissingError):  # a large snapshot has no file of its own
            store.download(duckdb, path)
            keys.append(duckdb)
            target = with_remote(target, snapshot_file.remote_tables(path))
        catalog = _planned(rebuilding, target, number, before)
        contents = Contents.of(store, catalog).changed(
            {}, owners=None, embedded=rebuilding.embedded, largest=rebuilding.part
        )
        if not contents.is_listed:
            snapshot_file.update(path, catalog, store.url)
        held.check()
        built_from = last.pointer.built_from if last.pointer else {}
        own = None if contents.is_listed else path
        pointer = upload(store, contents, own, after=last.pointer, built_from=built_from, epoch=held.epoch)
        _require_kept(store, keys, number)
        point(store, last.pointer, pointer)
        if has_own_file(pointer):
            copy_newest(store, pointer)
    rebuilding.write_file(pointer)
    return catalog, before


def _require_kept(store: Store, keys: Iterable[str], number: int) -> None:
    """Check that no sweep has deleted the snapshot since it was read; its files would be next.

    A sweep deletes expired snapshots first and then reads which files the remaining ones need. This check comes after the
    upload of the new catalog. So either the snapshot is missing here, or the sweep will find the new catalog, which
    needs the same files. A check before the upload would leave a gap between the two.
    """
    if any(store.head(key) is None for key in keys):
        raise NotFoundError(
            f"snapshot {number} can't be published again: a sweep has just deleted it; choose a later one"
        )


def _catch_up(rebuilding: Rebuild) -> None:
    """Build for triggers that found the lease held and are gone. If that fails, the next trigger does it."""
    try:
        if not rebuilding.is_current():
            rebuilding.run()
    except AnalystError as error:
        _LOG.warning(
            "extracts published during the rollback have not been built yet", extra={"fields": {"reason": str(error)}}
        )
