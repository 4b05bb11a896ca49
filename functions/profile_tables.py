"""Profiling: computes the profiles of tables from their files."""

from typing import Annotated

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.errors import UnavailableError
from analyst.extract_run import RunId
from analyst.http import Allow, function
from analyst.names import Name, TableId
from analyst.profiles import profile_view
from analyst.profiles.profile_view import ProfileView
from analyst.profiles.profiler import ProfiledTable, Profiling, Registered
from analyst.state import registry
from analyst.state.fields import Input, Output
from analyst.visible_tables import require


class ProfileTables(Input):
    """The tables to profile if their profile is outdated: by default all, or those of a source.

    `run_id` and `part` name the extract that changed them.
    """

    tables: Annotated[tuple[TableId, ...], Field(max_length=10_000)] | None = None
    source: Name | None = None
    run_id: RunId | None = None
    part: Annotated[int, Field(ge=0, le=100_000)] = 0


class RelationsOf(Input):
    """The tables whose relations to look for; all if none are given."""

    tables: Annotated[tuple[TableId, ...], Field(max_length=10_000)] | None = None


class ProfiledTables(Output):
    """The results, by table; up-to-date tables and those that are not profiled after a sync are left out."""

    tables: tuple[ProfiledTable, ...]


class ProposedRelations(Output):
    """The number of relations that were proposed."""

    proposed: int


@function(
    "POST",
    "/profile",
    allow=Allow.SERVICE,
    body_limit=8 << 20,
    answers={503: "The files of a table could not be read for now; the others are profiled."},
    audit="tables.profile",
)
def profile_tables(request: ProfileTables, ctx: Context) -> ProfiledTables:
    """Profile tables that have changed since their last profile; only changed files are read.

    Extracts start it after their answer. A table that can't be profiled keeps its last profile.
    """
    if not ctx.settings.profile_after_sync:
        return ProfiledTables(tables=())
    made = _profiling(ctx).refresh(ctx.snapshots.current(), _registered(ctx), request.tables, request.source)
    ctx.audited(*(f"table:{each.table}" for each in made), profiled=len(made), is_unchanged=not made)
    if waiting := [each for each in made if each.is_temporary]:  # the task is repeated, and finds the others up to date
        raise UnavailableError(f"{len(waiting)} of {len(made)} tables could not be profiled: {waiting[0].error}")
    return ProfiledTables(tables=tuple(made))


@function(
    "POST",
    "/api/admin/tables/{id}/profile",
    allow=Role.ADMIN,
    answers={404: "The table does not exist.", 422: "The table is remote, or its files can't be read."},
    audit="tables.profile",
)
def profile_table(id: TableId, ctx: Context) -> ProfileView:
    """Profile a table now, and return its profile."""
    ctx.audited(f"table:{id}")
    snapshot, access, known = ctx.snapshots.current(), ctx.access.current(), _registered(ctx)
    table = require(snapshot, access, ctx.caller, id)
    profiling = _profiling(ctx)
    made = profiling.profile(table, known.get(table.id, Registered()))
    profiling.propose(snapshot, known, [table.id])
    return profile_view.view(ctx.store, made, snapshot, access, caller=ctx.caller, texts=ctx.texts.current())


@function(
    "POST",
    "/api/admin/relations",
    allow=Role.ADMIN,
    body_limit=8 << 20,
    answers={404: "A table does not exist."},
    audit="relations.propose",
)
def propose_relations(request: RelationsOf, ctx: Context) -> ProposedRelations:
    """Look for foreign keys in the data of tables that were profiled, and store the proposals."""
    for each in request.tables or ():
        require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, each)
    found = _profiling(ctx).propose(ctx.snapshots.current(), _registered(ctx), request.tables)
    ctx.audited(proposed=found)
    return ProposedRelations(proposed=found)


def _profiling(ctx: Context) -> Profiling:
    return Profiling(ctx.store, ctx.clock, ctx.settings.memory_limit, ctx.settings.scratch_dir)


def _registered(ctx: Context) -> dict[str, Registered]:
    with ctx.state.read() as db:
        return Registered.all(registry.list_tables(db))
