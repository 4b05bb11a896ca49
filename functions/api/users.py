"""Users."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.auth.invitations import Invitation, InvitationRequest, invite
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, users
from analyst.state.fields import Email, Id, Input
from analyst.state.users import NewUser, SignOut, User, UserChange

_NONE = "There is no such user."
_LAST = "Nobody would be left to administer."


class UserQuery(Input):
    """Which users to list: all, or the one of an e-mail."""

    email: Email | None = None


class UserRequest(Input):
    """Which user is meant."""

    id: Id


class UserList(BaseModel):
    """Users by e-mail."""

    model_config = ConfigDict(frozen=True)

    users: tuple[User, ...]


@function("GET", "/api/users", allow=Role.ADMIN)
def list_users(query: UserQuery, ctx: Context) -> UserList:
    """List all users, or the one of an e-mail."""
    with ctx.state.read() as db:
        return UserList(users=users.list_users(db, query.email))


@function("POST", "/api/users", allow=Role.ADMIN, status=201, answers={409: "Somebody has the e-mail."})
def create_user(new: NewUser, ctx: Context) -> User:
    """Add a user."""
    return ctx.state.edit(lambda db: users.create_user(db, actor(ctx), new))


@function("PUT", "/api/users/{id}", allow=Role.ADMIN, answers={404: _NONE, 409: _LAST})
def update_user(change: UserChange, ctx: Context) -> User:
    """Change what is named of a user. Deactivating one ends all tokens and sessions of theirs at once."""
    return ctx.state.edit(lambda db: users.update_user(db, actor(ctx), change))


@function("DELETE", "/api/users/{id}", allow=Role.ADMIN, answers={404: _NONE, 409: _LAST})
def delete_user(request: UserRequest, ctx: Context) -> None:
    """Remove a user with all grants, memberships, tokens and requests."""
    ctx.state.edit(lambda db: users.delete_user(db, actor(ctx), request.id))


@function(
    "POST",
    "/api/users/{id}/invite",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "The user is deactivated."},
)
def invite_user(request: InvitationRequest, ctx: Context) -> Invitation:
    """Mail a user the link under which they set a password, or give it back to be handed over. It works for a day."""
    return invite(
        request, keys=ctx.keys, state=ctx.state, settings=ctx.settings, base_url=ctx.base_url, actor=actor(ctx)
    )


@function("POST", "/api/users/{id}/sign-out", allow=Role.ADMIN, answers={404: _NONE})
def sign_out(request: SignOut, ctx: Context) -> None:
    """End all sessions of a user, and with `tokens` revoke all access tokens of theirs too."""
    ctx.state.edit(lambda db: users.sign_out(db, actor(ctx), request))


@function("DELETE", "/api/users/{id}/identities", allow=Role.ADMIN, answers={404: _NONE})
def release_identities(request: UserRequest, ctx: Context) -> None:
    """Forget who a user is at OpenID providers, and end their sessions.

    Whoever signs in next with the e-mail address is taken for the user: for addresses that pass to somebody else.
    """
    ctx.state.edit(lambda db: users.release_identities(db, actor(ctx), request.id))
