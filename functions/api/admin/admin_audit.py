"""The audit log."""

from analyst.access import Role
from analyst.audit.reader import Events
from analyst.audit_search import AuditPage, AuditQuery, AuditSearch
from analyst.context import Context
from analyst.http import function


@function("GET", "/api/admin/audit", allow=Role.ADMIN, audit="audit.read")
def read_audit(query: AuditQuery, ctx: Context) -> AuditPage:
    """List audit events, newest first: who did or tried what, from where, and with which outcome.

    A search stops after five seconds, so a page can hold fewer events than `limit`. `next` is the cursor of the next page.
    """
    settings = ctx.settings
    ctx.audited(**query.model_dump(mode="json", exclude_none=True, exclude={"cursor", "limit"}))
    with ctx.state.read() as db, Events(ctx.store, settings.memory_limit, settings.scratch_dir) as events:
        return AuditSearch(events, db, ctx.process.monotonic).page(query)
