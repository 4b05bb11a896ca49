"""Who the caller is."""

from analyst.access import Role
from analyst.auth.whoami import Me, who_is
from analyst.context import Context
from analyst.http import function


@function("GET", "/api/me", allow=Role.VIEWER)
def me(ctx: Context) -> Me:
    """Tell who the caller is, and by which token."""
    return who_is(ctx.access.current(), ctx.caller)
