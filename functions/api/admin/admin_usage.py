"""Usage for administrators: which tables people use, how many queries they run, and how many fail."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from analyst import usage
from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.usage import UsageOverview


class UsageQuery(BaseModel):
    """How many days back, with today."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: Annotated[int, Field(ge=1, le=366)] = 30


@function("GET", "/api/admin/usage", allow=Role.ADMIN, audit="usage.read")
def show_usage(query: UsageQuery, ctx: Context) -> UsageOverview:
    """Return the usage of the last days, as it was counted from the audit log: a few minutes may be missing."""
    ctx.audited(days=query.days)
    return usage.overview(usage.days(ctx.store, ctx.now.date(), query.days), ctx.access.current())
