"""The table registry."""

from analyst.access import Role
from analyst.connectors.materialized import registration
from analyst.context import Context
from analyst.http import function
from analyst.names import Name, TableId
from analyst.state import actor, registry
from analyst.state.fields import Input, Output
from analyst.state.registry import NewTable, RegisteredTable, TableChange, withdraw

_NONE = "The table does not exist."
_SQL = "The input is invalid, or the connector rejects the `options`: of a materialized table, its SQL can't be used."


class RegistryQuery(Input):
    """Filter for registered tables: those of one source, or all."""

    source: Name | None = None


class Registry(Output):
    """Registered tables by id."""

    tables: tuple[RegisteredTable, ...]


@function("GET", "/api/admin/tables", allow=Role.ADMIN)
def list_registered_tables(query: RegistryQuery, ctx: Context) -> Registry:
    """List the registered tables."""
    with ctx.state.read() as db:
        return Registry(tables=tuple(registry.list_tables(db, query.source)))


@function("GET", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE})
def get_registered_table(id: TableId, ctx: Context) -> RegisteredTable:
    """Return one registered table."""
    with ctx.state.read() as db:
        return registry.get_table(db, id)


@function(
    "POST",
    "/api/admin/tables/{id}",
    allow=Role.ADMIN,
    status=201,
    answers={404: "The source does not exist.", 409: "The table is already registered.", 422: _SQL},
)
def register_table(new: NewTable, ctx: Context) -> RegisteredTable:
    """Register a table of a source. The next sync of the source includes it."""
    return registration.register(ctx, new)


@function("PUT", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE, 422: _SQL})
def update_table(change: TableChange, ctx: Context) -> RegisteredTable:
    """Change the given fields of a registered table. null clears a field."""
    return registration.update(ctx, change)


@function("DELETE", "/api/admin/tables/{id}", allow=Role.ADMIN, answers={404: _NONE})
def deregister_table(id: TableId, ctx: Context) -> None:
    """Remove a table: its registration, the grants on it, and its data."""
    withdraw(ctx.state, ctx.store, actor(ctx), id, now=ctx.process.clock, scratch=ctx.settings.scratch_dir)
    ctx.tasks.enqueue("/rebuild", {}, name="all")
