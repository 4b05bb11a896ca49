"""OpenMetadata: importing its descriptions of tables, and exporting its metrics and tables as files."""

from datetime import datetime

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.descriptions import read_imported
from analyst.http import function
from analyst.openmetadata.exchange import Exchange, Export, Import
from analyst.state.fields import Input, Output
from functions.import_openmetadata import import_now

_NOT_READ = {
    422: "The token is refused, the server is not OpenMetadata, or too much is missing there.",
    503: "The server can't be reached.",
}


class Nothing(Input):
    """No parameters."""


class ImportWish(Input):
    """How many tables may lose their descriptions from OpenMetadata; by default a fifth, up to 10, or 1 % of many."""

    losses: int | None = Field(default=None, ge=0, le=1_000_000)


class ImportStatus(Output):
    """The last import, its age in seconds, and the tables that it describes."""

    is_configured: bool
    origin: str | None
    fetched_at: datetime | None
    age_seconds: float | None
    tables: tuple[str, ...]


@function("GET", "/api/admin/openmetadata", allow=Role.ADMIN)
def openmetadata_status(_request: Nothing, ctx: Context) -> ImportStatus:
    """Return the last import of descriptions from OpenMetadata, and the tables that it describes."""
    known = read_imported(ctx.store)
    return ImportStatus(
        is_configured=ctx.settings.openmetadata_url is not None,
        origin=known.origin or None,
        fetched_at=known.fetched_at,
        age_seconds=(ctx.now - known.fetched_at).total_seconds() if known.fetched_at else None,
        tables=tuple(sorted(known.tables)),
    )


@function("POST", "/api/admin/openmetadata/import", allow=Role.ADMIN, answers=_NOT_READ, audit="openmetadata.import")
def import_from_openmetadata(request: ImportWish, ctx: Context) -> Import:
    """Import descriptions, tags, owners and tiers of tables from OpenMetadata. Descriptions by people here override them.

    If too many tables would lose theirs, nothing is imported.
    """
    return import_now(ctx, request.losses)


@function("POST", "/api/admin/openmetadata/export", allow=Role.ADMIN, answers=_NOT_READ, audit="openmetadata.export")
def export_from_openmetadata(_request: Nothing, ctx: Context) -> Export:
    """Return the metrics and tables of OpenMetadata as YAML files, for the folder of the configuration."""
    made = Exchange.of(ctx.settings, ctx.process.http).export(ctx.now)
    ctx.audited(metrics=made.metrics, tables=made.tables)
    return made
