"""Going back: an earlier snapshot is published once more, as the newest.

What the sources have now counts as built: their tables stay as they were then, until a source publishes anew.
"""

from datetime import datetime
from pathlib import Path

from analyst import duckdb_files, lease, runs
from analyst.errors import ConflictError
from analyst.rebuild import LEASE, RebuildAnswer
from analyst.rebuild.publishing import copy_newest, point, published_epoch, read_last, upload
from analyst.snapshots import CATALOG_SUFFIX, Snapshots, read_catalog
from analyst.store import Store


def roll_back(store: Store, number: int, now: datetime, scratch: Path | None = None) -> RebuildAnswer:
    """Publish the tables of an earlier snapshot under a new number.

    Names of views stay with the tables that have come to own them since.

    Raises:
        NotFoundError: there was no such snapshot, or it is kept no more.
        ConflictError: a rebuild is running.
    """
    key = Snapshots(store).key_of(number)
    held = lease.acquire(store, LEASE, published_epoch=published_epoch(store), run_id=runs.new_run_id())
    if held is None:
        raise ConflictError("a rebuild is running; try again in a moment")
    with held, duckdb_files.scratch(scratch) as folder:
        last, target = read_last(store, {}), read_catalog(store, key)
        path = folder / "analytics.duckdb"
        store.download(f"{key.removesuffix(CATALOG_SUFFIX)}.duckdb", path)
        catalog = target.model_copy(
            update={
                "snapshot": last.catalog.snapshot + 1,
                "built_at": now,
                "owners": {**target.owners, **last.catalog.owners},
            }
        )
        held.check()
        built_from = last.pointer.built_from if last.pointer else {}
        pointer = upload(store, catalog, path, after=last.pointer, built_from=built_from, epoch=held.epoch)
        point(store, last.pointer, pointer)
        copy_newest(store, pointer)
    return RebuildAnswer(
        status="published", snapshot=catalog.snapshot, tables=len(catalog.tables), problems=catalog.problems
    )
