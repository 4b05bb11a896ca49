"""Going back: an earlier snapshot is published once more, as the newest.

What the last snapshot was built from counts as built: all tables stay as they were then, until a source publishes anew.
"""

import logging

from analyst import duckdb_files, lease, logs, runs
from analyst.catalog import Catalog
from analyst.errors import AnalystError, ConflictError
from analyst.rebuild import LEASE, Rebuild, RebuildAnswer, assembling
from analyst.rebuild.publishing import copy_newest, point, published_epoch, read_last, upload
from analyst.snapshots import CATALOG_SUFFIX, Snapshots, read_catalog

_LOG = logging.getLogger(f"{logs.ROOT}.rollback")


def roll_back(rebuilding: Rebuild, number: int) -> RebuildAnswer:
    """Publish the tables of an earlier snapshot under a new number, and build what sources have published meanwhile.

    Names of views stay with the tables that have come to own them since.

    Raises:
        NotFoundError: there was no such snapshot, or it is kept no more.
        ConflictError: a rebuild is running.
    """
    catalog = _publish(rebuilding, number)
    _catch_up(rebuilding)
    return RebuildAnswer(
        status="published", snapshot=catalog.snapshot, tables=len(catalog.tables), problems=catalog.problems
    )


def _publish(rebuilding: Rebuild, number: int) -> Catalog:
    store = rebuilding.store
    key = Snapshots(store).key_of(number)
    held = lease.acquire(store, LEASE, published_epoch=published_epoch(store), run_id=runs.new_run_id())
    if held is None:
        raise ConflictError("a rebuild is running; try again in a moment")
    with held, duckdb_files.scratch(rebuilding.scratch) as folder:
        last, target = read_last(store, {}), read_catalog(store, key)
        catalog = target.model_copy(
            update={
                "snapshot": last.catalog.snapshot + 1,
                "built_at": rebuilding.now(),
                "owners": {**target.owners, **last.catalog.owners},
            }
        )
        path = folder / "analytics.duckdb"
        store.download(f"{key.removesuffix(CATALOG_SUFFIX)}.duckdb", path)
        assembling.renumber(path, catalog)
        held.check()
        built_from = last.pointer.built_from if last.pointer else {}
        pointer = upload(store, catalog, path, after=last.pointer, built_from=built_from, epoch=held.epoch)
        point(store, last.pointer, pointer)
        copy_newest(store, pointer)
    return catalog


def _catch_up(rebuilding: Rebuild) -> None:
    """See to what a trigger came for that found the lease held, and has gone away; where that fails, the next one does."""
    try:
        if not rebuilding.is_current():
            rebuilding.run()
    except AnalystError as error:
        _LOG.warning("what was published meanwhile is not built yet", extra={"fields": {"reason": str(error)}})
