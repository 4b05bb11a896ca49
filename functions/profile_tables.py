"""Profiling: computes the profiles of tables from their files."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import Allow, function
from analyst.names import TableId
from analyst.profiles import stored
from analyst.profiles.profiling import ProfiledTable, Profiling, Registered
from analyst.profiles.stored import ProfileView
from analyst.state import registry
from analyst.visible_tables import require


class ProfileTables(BaseModel):
    """The tables to profile if their profile is outdated; all if none are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: Annotated[tuple[TableId, ...], Field(max_length=10_000)] | None = None


class ProfiledTables(BaseModel):
    """The results, by table; up-to-date tables and those that are not profiled after a sync are left out."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[ProfiledTable, ...]


class ProfileNow(BaseModel):
    """The id of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: TableId


@function("POST", "/profile", allow=Allow.SERVICE, body_limit=8 << 20, audit="tables.profile")
def profile_tables(request: ProfileTables, ctx: Context) -> ProfiledTables:
    """Profile tables that have changed since their last profile. Extracts call it; only changed files are read."""
    if not ctx.settings.profile_after_sync:
        return ProfiledTables(tables=())
    known, profiling = _registered(ctx), _profiling(ctx)
    due = profiling.due(ctx.snapshots.current(), known, request.tables)
    made = profiling.run(due, known) if due else []
    ctx.audited(*(f"table:{each.table}" for each in made), profiled=len(made), is_unchanged=not made)
    return ProfiledTables(tables=tuple(made))


@function(
    "POST",
    "/api/admin/tables/{id}/profile",
    allow=Role.ADMIN,
    answers={404: "The table does not exist.", 422: "The table is remote, or its files can't be read."},
    audit="tables.profile",
)
def profile_table(request: ProfileNow, ctx: Context) -> ProfileView:
    """Profile a table now, and return its profile."""
    ctx.audited(f"table:{request.id}")
    access = ctx.access.current()
    table = require(ctx.snapshots.current(), access, ctx.caller, request.id)
    made = _profiling(ctx).profile(table, _registered(ctx).get(table.id, Registered()))
    return stored.shown(made, table, access, ctx.texts.current())


def _profiling(ctx: Context) -> Profiling:
    return Profiling(ctx.store, ctx.clock, ctx.settings.memory_limit, ctx.settings.scratch_dir)


def _registered(ctx: Context) -> dict[str, Registered]:
    with ctx.state.read() as db:
        return {
            table.id: Registered(
                table.primary_key, table.sync_strategy, table.description, is_profiled=table.profile_after_sync
            )
            for table in registry.list_tables(db)
        }
