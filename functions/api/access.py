"""Who can read what, and why."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.manifest import visible
from analyst.state.access_report import AccessQuery, AccessReport, report


@function("GET", "/api/admin/access", allow=Role.ADMIN, answers={404: "There is no such user or table."})
def explain_access(query: AccessQuery, ctx: Context) -> AccessReport:
    """Explain which tables a user can read, who can read a table, or whether and why one can read the other."""
    published = frozenset(table.id for table in visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller))
    with ctx.state.read() as db:
        return report(db, ctx.caller, query, published, ctx.now)
