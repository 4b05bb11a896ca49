"""Explanations of access: who can read which table, and why."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state.access_report import AccessQuery, AccessReport, report
from analyst.visible_tables import visible


@function("GET", "/api/admin/access", allow=Role.ADMIN, answers={404: "The user or table does not exist."})
def explain_access(query: AccessQuery, ctx: Context) -> AccessReport:
    """Explain access: the tables that a user can read, the readers of a table, or both for one user and one table."""
    published = frozenset(table.id for table in visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller))
    with ctx.state.read() as db:
        return report(db, ctx.caller, query, published, ctx.now)
