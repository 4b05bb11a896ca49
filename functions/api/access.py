"""Explanations of access: who can read which table, and why."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state.access_report import AccessQuery, AccessReport, report
from analyst.visible_tables import visible_by_id


@function("GET", "/api/admin/access", allow=Role.ADMIN, answers={404: "The user or table does not exist."})
def explain_access(query: AccessQuery, ctx: Context) -> AccessReport:
    """Explain access: the tables that a user can read, the readers of a table, or both for one user and one table."""
    ctx.access.expire()  # an explanation is that of the state as it is now, also if another process has changed it
    access = ctx.access.current()
    published = visible_by_id(ctx.snapshots.current(), access, ctx.caller).keys()
    with ctx.state.read() as db:
        return report(db, access, ctx.caller, query, published)
