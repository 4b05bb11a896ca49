"""The page of usage for administrators."""

from typing import Annotated

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import View, function
from analyst.http.pages import Form, ask
from functions.api.admin import admin_usage


class UsagePageQuery(Form):
    """How many days back."""

    days: Annotated[int, Field(ge=1, le=366)] = 30


@function("GET", "/admin/usage", allow=Role.ADMIN, audit="usage.read", audit_success=False)
def usage_page(query: UsagePageQuery, ctx: Context) -> View:
    """Show which tables people use, how many queries they run, and how many fail."""
    found = ask(ctx, admin_usage.show_usage, days=query.days)
    data = {"days": found.days, "tables": found.tables, "people": found.people}
    return View("admin_usage.html", "Usage", data, {"wanted": query.days, "section": "/admin/usage"}, "/admin")
