"""Who the caller is."""

from analyst.auth.callers import Me, who_is
from analyst.context import Context
from analyst.http import Allow, function


@function("GET", "/api/me", allow=Allow.CALLER)
def me(ctx: Context) -> Me:
    """Tell who the caller is, and by which token."""
    return who_is(ctx.access.current(), ctx.caller)
