"""Personal access tokens."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
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
    status=201,
    answers={404: "There is no such user.", 409: "The user is deactivated, or has too many tokens."},
)
def create_token(new: NewToken, ctx: Context) -> CreatedToken:
    """Make an access token for oneself, or as an administrator for another user. It is shown this once."""
    return ctx.state.edit(lambda db: tokens.create_token(db, actor(ctx), ctx.caller, new))


@function("DELETE", "/auth/tokens/{id}", allow=Role.VIEWER, answers={404: "There is no such token."})
def revoke_token(request: TokenRequest, ctx: Context) -> None:
    """Revoke an access token; it is not valid any more at once."""
    ctx.state.edit(lambda db: tokens.revoke_token(db, actor(ctx), ctx.caller, request.id))
