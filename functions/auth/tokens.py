"""Personal access tokens."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role, Scope
from analyst.auth.last_use import with_last_use
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, tokens
from analyst.state.fields import Id, Input, Line
from analyst.state.tokens import CreatedToken, NewToken, Token


class TokenQuery(Input):
    """Whose tokens to list: one's own, or as an administrator those of a user (e-mail) or of `all`."""

    user: Line | None = None


class TokenList(BaseModel):
    """Tokens, newest first."""

    model_config = ConfigDict(frozen=True)

    tokens: tuple[Token, ...]


class TokenRequest(Input):
    """Which token is meant."""

    id: Id


@function("GET", "/auth/tokens", allow=Role.VIEWER, answers={404: "There is no such user."})
def list_tokens(query: TokenQuery, ctx: Context) -> TokenList:
    """List access tokens: when they expire, were used last, and whether they are revoked, never the tokens themselves."""
    with ctx.state.read() as db:
        found = tokens.list_tokens(db, ctx.caller, query.user)
    return TokenList(tokens=with_last_use(ctx.store, found))


@function(
    "POST",
    "/auth/tokens",
    allow=Role.VIEWER,
    scope=Scope.ADMIN,
    status=201,
    answers={404: "There is no such user.", 409: "The user is deactivated, or has too many tokens."},
)
def create_token(new: NewToken, ctx: Context) -> CreatedToken:
    """Make an access token for oneself, or as an administrator for another user. It is shown this once.

    One that is made with an access token needs the scope `admin`, and expires no later than that token.
    """
    return ctx.state.edit(lambda db: tokens.create_token(db, actor(ctx), ctx.caller, new))


@function("DELETE", "/auth/tokens/{id}", allow=Role.VIEWER, any_scope=True, answers={404: "There is no such token."})
def revoke_token(request: TokenRequest, ctx: Context) -> None:
    """Revoke an access token, which ends at once. A token may revoke itself; for others it needs the scope `admin`."""
    ctx.state.edit(lambda db: tokens.revoke_token(db, actor(ctx), ctx.caller, request.id))
