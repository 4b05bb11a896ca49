"""Taking an older system into the state: what is here stays as it is, the rest is added, all in one edit."""

from typing import TYPE_CHECKING

from analyst.imports.memory import Memory
from analyst.imports.migrated import Migrated, migrated
from analyst.imports.old import OldSystem
from analyst.imports.people import take_users
from analyst.imports.report import Gathered, ImportReport, Placed
from analyst.imports.rights import take_grants, take_requests
from analyst.imports.tables import TakenTables, take_tables
from analyst.imports.writings import take_kept
from analyst.state.audit import Actor, record
from analyst.state.editing import State

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class _Unpublished(Exception):  # noqa: N818 - it ends an edit that has nothing to publish
    def __init__(self, report: ImportReport) -> None:
        super().__init__()
        self.report = report


def import_system(state: State, actor: Actor, old: OldSystem) -> ImportReport:
    """Take what is not here yet of an older system, unless this is a dry run. Done again, it changes nothing.

    Raises:
        UnavailableError: the store does not answer, or others came between all the time.
    """
    told = Gathered()
    today = migrated(old, actor.at, told)

    def change(db: "DuckDBPyConnection") -> ImportReport:
        memory = Memory.open(db, actor, told.copy())
        report = _take(memory, today, dry_run=old.dry_run)
        if not memory.keep() or old.dry_run:
            raise _Unpublished(report)
        record(db, actor, "state.import", "state", taken=report.taken, left=len(report.left))
        return report

    try:
        return state.edit(change)
    except _Unpublished as unpublished:
        return unpublished.report


def _take(memory: Memory, old: Migrated, *, dry_run: bool) -> ImportReport:
    users = take_users(memory, old)
    tables = take_tables(memory, old.tables, old.sources)
    take_grants(memory, old, users, tables)
    take_requests(memory, old, users, tables)
    take_kept(memory, old, users)
    places = _placed(old, tables)
    gathered = memory.report
    for id_ in tables.without_files(frozenset(place.id for place in places if place.id is not None)):
        gathered.leave("file", id_, "no parquet of it was found; the next sync of its source brings it")
    return ImportReport(
        dry_run=dry_run,
        taken=dict(+gathered.taken),
        there=dict(+gathered.there),
        altered=tuple(gathered.altered),
        left=tuple(gathered.left),
        public_tables=tuple(gathered.public_tables),
        unconfigured=tuple(sorted(tables.unconfigured)),
        found=places,
    )


def _placed(old: Migrated, tables: TakenTables) -> tuple[Placed, ...]:
    placed = []
    for found, place in zip(old.found, old.places, strict=True):
        id_ = None if place.id is None else old.names.get(place.id)
        reason = place.reason or tables.reasons.get(id_ or "")
        if id_ in tables.ids:
            placed.append(Placed(source=found.source, table=found.table, id=id_))
        else:
            placed.append(Placed(source=found.source, table=found.table, reason=reason or "its table is not taken"))
    return tuple(placed)
