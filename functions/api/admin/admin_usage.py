"""Usage for administrators: which tables people use, how many queries they run, and how many fail."""

from typing import Annotated

from pydantic import Field

from analyst import usage
from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state.fields import Input
from analyst.usage import UsageOverview


class UsageQuery(Input):
    """How many days back, with today."""

    days: Annotated[int, Field(ge=1, le=366)] = 30


@function("GET", "/api/admin/usage", allow=Role.ADMIN, audit="usage.read")
def show_usage(query: UsageQuery, ctx: Context) -> UsageOverview:
    """Return the usage of the last days, as counted from the audit log. The last few minutes may be missing."""
    ctx.audited(days=query.days)
    return usage.overview(usage.days(ctx.store, ctx.now.date(), query.days), ctx.access.current())
