"""Users and invitations."""

from analyst import saved_queries
from analyst.access import Role
from analyst.auth.invitations import Invitation, InvitationRequest, invite
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, users
from analyst.state.fields import Email, Id, Input, Output
from analyst.state.users import NewUser, SignOut, User, UserChange

_NONE = "The user does not exist."
_LAST = "This is the last active administrator."


class UserQuery(Input):
    """Filter for users: the one with this e-mail address, or all."""

    email: Email | None = None


class UserList(Output):
    """Users by e-mail."""

    users: tuple[User, ...]


@function("GET", "/api/users", allow=Role.ADMIN)
def list_users(query: UserQuery, ctx: Context) -> UserList:
    """List all users, or the one with the given e-mail address."""
    with ctx.state.read() as db:
        return UserList(users=users.list_users(db, query.email))


@function("POST", "/api/users", allow=Role.ADMIN, status=201, answers={409: "A user with this e-mail address exists."})
def create_user(new: NewUser, ctx: Context) -> User:
    """Create a user."""
    return ctx.state.edit(lambda db: users.create_user(db, actor(ctx), new))


@function("PUT", "/api/users/{id}", allow=Role.ADMIN, answers={404: _NONE, 409: _LAST})
def update_user(change: UserChange, ctx: Context) -> User:
    """Change the given fields of a user. Deactivating a user revokes all their tokens and sessions immediately."""
    return ctx.state.edit(lambda db: users.update_user(db, actor(ctx), change))


@function("DELETE", "/api/users/{id}", allow=Role.ADMIN, answers={404: _NONE, 409: _LAST})
def delete_user(id: Id, ctx: Context) -> None:
    """Delete a user with their grants, group memberships, tokens, requests and query history."""
    ctx.state.edit(lambda db: users.delete_user(db, actor(ctx), id))
    saved_queries.forget(ctx.store, id)


@function(
    "POST",
    "/api/users/{id}/invite",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "The user is deactivated."},
)
def invite_user(request: InvitationRequest, ctx: Context) -> Invitation:
    """Invite a user: mail them a link to set a password, or return the link. It expires after 24 hours."""
    return invite(
        request, keys=ctx.keys, state=ctx.state, settings=ctx.settings, base_url=ctx.base_url, actor=actor(ctx)
    )


@function("POST", "/api/users/{id}/sign-out", allow=Role.ADMIN, answers={404: _NONE})
def sign_out(request: SignOut, ctx: Context) -> None:
    """End all sessions of a user. `tokens` revokes their access tokens as well."""
    ctx.state.edit(lambda db: users.sign_out(db, actor(ctx), request))


@function("DELETE", "/api/users/{id}/identities", allow=Role.ADMIN, answers={404: _NONE})
def release_identities(id: Id, ctx: Context) -> None:
    """Unlink a user from their OpenID accounts and end their sessions.

    The next person who signs in with the e-mail address becomes the user. Use it when an address passes to another
    person.
    """
    ctx.state.edit(lambda db: users.release_identities(db, actor(ctx), id))
