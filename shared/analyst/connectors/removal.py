"""Removing a source with everything that belongs to it."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst.context import Context
from analyst.state import actor, registry, sources

_KEPT: Final = {
    "events/": "stored webhooks and their archive",
    "attachments/": "stored attachments",
    "checks/": "reports of consistency checks",
}
"""Data below `extracts/<source>/` besides tables, by prefix. It can't be recreated, so a removal keeps it."""


class Removal(BaseModel):
    """What a removal deletes: the `tables` with their data and grants, and the number of `grants` on the source.

    `used_by` are the tables of other sources that are computed from them. `kept` is what stays. A `dry_run` changed
    nothing.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    tables: tuple[str, ...]
    grants: int
    used_by: tuple[str, ...]
    kept: tuple[str, ...]
    dry_run: bool


def remove_source(ctx: Context, name: str, *, dry_run: bool) -> Removal:
    """Remove the tables of a source, then the source. If it is interrupted, the next removal deletes the rest.

    Raises:
        NotFoundError: no such source exists.
        UnavailableError: the store does not respond; remove the source again.
    """
    with ctx.state.read() as db:
        sources.get_source(db, name)
        tables = registry.list_tables(db, name)
        uuids = [table.uuid for table in tables]
        found = db.execute(
            "select count(*) from grants where source = ? or table_uuid in (select unnest(?::varchar[]))", [name, uuids]
        ).fetchone()
    published = ctx.snapshots.current().by_id
    ids = sorted({table.id for table in tables} | {each for each in published if each.partition(".")[0] == name})
    gone = set(ids)
    used_by = sorted(
        each
        for each, table in published.items()
        if each not in gone and any(used.table in gone for used in table.inputs)
    )
    kept = [f"{text} (extracts/{name}/{prefix})" for prefix, text in _KEPT.items() if _holds(ctx, name, prefix)]
    if not dry_run:
        for table_id in ids:
            registry.withdraw(
                ctx.state, ctx.store, actor(ctx), table_id, now=ctx.process.clock, scratch=ctx.settings.scratch_dir
            )
        ctx.state.edit(lambda db: sources.delete_source(db, actor(ctx), name))
        ctx.tasks.enqueue("/rebuild", {}, name="all")
    return Removal(
        source=name,
        tables=tuple(ids),
        grants=int(found[0]) if found else 0,
        used_by=tuple(used_by),
        kept=tuple(kept),
        dry_run=dry_run,
    )


def _holds(ctx: Context, source: str, prefix: str) -> bool:
    return next(iter(ctx.store.list(f"extracts/{source}/{prefix}")), None) is not None
