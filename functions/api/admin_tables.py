"""The table registry."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.http import function
from analyst.names import Name, TableId
from analyst.state import actor, registry
from analyst.state.fields import Input
from analyst.state.registry import NewTable, RegisteredTable, TableChange, withdraw

_NONE = "There is no such table."


class RegistryQuery(Input):
    """Which registered tables to list: all, or those of one source."""

    source: Name | None = None


class RegistryRequest(Input):
    """Which registered table is meant."""

    id: TableId


class Registry(BaseModel):
    """Registered tables by id."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[RegisteredTable, ...]


@function("GET", "/api/admin/tables", allow=Role.ADMIN)
def list_registered_tables(query: RegistryQuery, ctx: Context) -> Registry:
    """List the registered tables."""
    with ctx.state.read() as db:
        return Registry(tables=tuple(registry.list_tables(db, query.source)))


@function("GET", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE})
def get_registered_table(request: RegistryRequest, ctx: Context) -> RegisteredTable:
    """Tell all about one registered table."""
    with ctx.state.read() as db:
        return registry.get_table(db, request.id)


@function(
    "POST",
    "/api/admin/tables/{id}",
    allow=Role.ADMIN,
    status=201,
    answers={404: "There is no such source.", 409: "It is registered already."},
)
def register_table(new: NewTable, ctx: Context) -> RegisteredTable:
    """Register a table of a source; it is synced from the next extract on."""
    public = ctx.settings.tables_public
    return ctx.state.edit(lambda db: registry.register(db, actor(ctx), new, SOURCE_TYPES, public=public))


@function("PUT", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE})
def update_table(change: TableChange, ctx: Context) -> RegisteredTable:
    """Change what is named of a registered table; null clears."""
    return ctx.state.edit(lambda db: registry.update_table(db, actor(ctx), change, SOURCE_TYPES))


@function("DELETE", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE})
def deregister_table(request: RegistryRequest, ctx: Context) -> None:
    """Take a table away: its registration, what was granted on it, and its data."""
    withdraw(ctx.state, ctx.store, actor(ctx), request.id, now=ctx.process.clock, scratch=ctx.settings.scratch_dir)
    ctx.tasks.enqueue("/rebuild", {})
