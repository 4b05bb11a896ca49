"""The first administrator."""

from analyst.auth.bootstrap import PER_CLIENT, Bootstrap, Bootstrapped
from analyst.auth.bootstrap import bootstrap as make_first_administrator
from analyst.context import Context
from analyst.http import Allow, function
from analyst.state import actor


@function(
    "POST",
    "/auth/bootstrap",
    allow=Allow.ANYBODY,
    status=201,
    answers={
        403: "The secret is wrong, or BOOTSTRAP_SECRET is not set.",
        409: "The first administrator already exists.",
        429: "Too many attempts.",
    },
    audit="auth.bootstrap",
    audit_success=False,
)
def bootstrap(request: Bootstrap, ctx: Context) -> Bootstrapped:
    """Create the first administrator with the bootstrap secret. It works once, and the token is shown only once."""
    ctx.audited(email=request.email)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    settings = ctx.settings
    return make_first_administrator(
        ctx.state, actor(ctx), request, settings.bootstrap_secret, settings.seed_admin_email
    )
