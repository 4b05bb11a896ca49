"""Profiles of tables: reading them."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import TableId
from analyst.profiles import stored
from analyst.profiles.stored import ProfileView
from analyst.visible_tables import require


class ProfileRequest(BaseModel):
    """The id of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: TableId


@function(
    "GET",
    "/api/tables/{id}/profile",
    allow=Role.VIEWER,
    answers={404: "The table does not exist, or has no profile yet."},
    audit="catalog.profile",
    audit_success=False,
)
def get_profile(request: ProfileRequest, ctx: Context) -> ProfileView:
    """Return the statistics of a table's columns, with alerts and what has changed. Sensitive columns show no values."""
    ctx.audited(f"table:{request.id}")
    access = ctx.access.current()
    table = require(ctx.snapshots.current(), access, ctx.caller, request.id)
    return stored.shown(stored.require_profile(ctx.store, table), table, access, ctx.texts.current())
