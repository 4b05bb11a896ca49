"""Sources: the configured origins of tables."""

from analyst.access import Role
from analyst.connectors.source_types import SOURCE_TYPES, check_connector
from analyst.context import Context
from analyst.http import function
from analyst.names import Name
from analyst.state import actor, sources
from analyst.state.fields import Output
from analyst.state.sources import NewSource, Source, SourceChange

_NONE = "The source does not exist."
_CONFIG = "The input is invalid, or the connector rejects the `config`; `detail` names the option and the reason."


class SourceList(Output):
    """Sources by name."""

    sources: tuple[Source, ...]


@function("GET", "/api/admin/sources", allow=Role.ADMIN)
def list_sources(ctx: Context) -> SourceList:
    """List all sources."""
    with ctx.state.read() as db:
        return SourceList(sources=sources.list_sources(db))


@function("GET", "/api/admin/sources/{name}", allow=Role.ADMIN, answers={404: _NONE})
def get_source(name: Name, ctx: Context) -> Source:
    """Return one source."""
    with ctx.state.read() as db:
        return sources.get_source(db, name)


@function(
    "POST",
    "/api/admin/sources/{name}",
    allow=Role.ADMIN,
    status=201,
    answers={409: "A source with this name exists.", 422: _CONFIG},
)
def create_source(new: NewSource, ctx: Context) -> Source:
    """Add a source."""
    check_connector(new.type)
    return ctx.state.edit(lambda db: sources.create_source(db, actor(ctx), new, SOURCE_TYPES))


@function(
    "PUT",
    "/api/admin/sources/{name}",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "The type can't change while tables of the source are registered.", 422: _CONFIG},
)
def update_source(change: SourceChange, ctx: Context) -> Source:
    """Change the given fields of a source."""
    if "type" in change.model_fields_set:
        check_connector(change.type)
    return ctx.state.edit(lambda db: sources.update_source(db, actor(ctx), change, SOURCE_TYPES))


@function(
    "DELETE",
    "/api/admin/sources/{name}",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "Tables of the source are still registered."},
)
def delete_source(name: Name, ctx: Context) -> None:
    """Delete a source and the grants on it."""
    ctx.state.edit(lambda db: sources.delete_source(db, actor(ctx), name))
