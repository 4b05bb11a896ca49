"""The caller."""

from analyst.auth.callers import Me, who_is
from analyst.context import Context
from analyst.http import Allow, function


@function("GET", "/api/me", allow=Allow.CALLER)
def me(ctx: Context) -> Me:
    """Return the user of the request, their role and groups, and the access token used."""
    return who_is(ctx.access.current(), ctx.caller)
