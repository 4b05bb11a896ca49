"""Personal access tokens."""

from analyst.access import Role, Scope
from analyst.auth.last_use import with_last_use
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, tokens
from analyst.state.fields import Id, Input, Line, Output
from analyst.state.tokens import CreatedToken, NewToken, Token


class TokenQuery(Input):
    """Whose tokens to list: the caller's own by default; administrators can name a user's e-mail address, or `all`."""

    user: Line | None = None


class TokenList(Output):
    """Tokens, newest first."""

    tokens: tuple[Token, ...]


@function("GET", "/auth/tokens", allow=Role.VIEWER, answers={404: "The user does not exist."})
def list_tokens(query: TokenQuery, ctx: Context) -> TokenList:
    """List access tokens with their expiry, last use and revocation. The tokens themselves are never returned."""
    with ctx.state.read() as db:
        found = tokens.list_tokens(db, ctx.caller, query.user)
    return TokenList(tokens=with_last_use(ctx.store, found))


@function(
    "POST",
    "/auth/tokens",
    allow=Role.VIEWER,
    scope=Scope.ADMIN,
    status=201,
    answers={404: "The user does not exist.", 409: "The user is deactivated, or has too many tokens."},
)
def create_token(new: NewToken, ctx: Context) -> CreatedToken:
    """Create an access token for the caller; administrators can create one for another user. It is shown only once.

    With an access token, this requires the scope `admin`, and the new token expires no later than that one.
    """
    return ctx.state.edit(lambda db: tokens.create_token(db, actor(ctx), ctx.caller, new))


@function("DELETE", "/auth/tokens/{id}", allow=Role.VIEWER, any_scope=True, answers={404: "The token does not exist."})
def revoke_token(id: Id, ctx: Context) -> None:
    """Revoke an access token immediately. A token can always revoke itself; other tokens require the scope `admin`."""
    ctx.state.edit(lambda db: tokens.revoke_token(db, actor(ctx), ctx.caller, id))
