"""Profiles of tables: reading them."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import TableId
from analyst.profiles import stored
from analyst.profiles.stored import ProfileView


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
    return stored.view(ctx.snapshots.current(), ctx.access.current(), ctx.caller, request.id, ctx.store)
