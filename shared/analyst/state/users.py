"""Users: who they are and what their role is. Somebody must always be able to administer."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field

from analyst.access import Role
from analyst.addresses import normal_email
from analyst.errors import ConflictError, NotFoundError
from analyst.state.audit import Actor, record
from analyst.state.fields import Email, Id, Input, Line, Output, unset
from analyst.state.rows import execute, fetch, fetch_one, insert, update
from analyst.state.sessions import void_sessions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SELECT = """
    select u.id, u.email, u.name, u.role, u.active, u.created_at,
        coalesce(list(g.name order by g.name) filter (g.name is not null), []) as groups
    from users u left join group_members m on m.user_id = u.id left join groups g on g.id = m.group_id
"""
_GROUPED = "group by all order by u.email"
_OF_USERS = (
    "grants",
    "group_members",
    "tokens",
    "access_requests",
    "telegram_links",
    "user_sync_settings",
    "identities",
)


class User(Output):
    """A user. `groups` are names."""

    id: str
    email: str
    name: str | None
    role: Role
    active: bool
    groups: tuple[str, ...]
    created_at: datetime | None


class NewUser(Input):
    """A user to add."""

    email: Email
    name: Line | None = None
    role: Role = Role.ANALYST


class UserChange(Input):
    """What to change of a user; what is not named stays as it is."""

    id: Id
    name: Line | None = None
    role: Role = Field(default_factory=unset)
    active: bool = Field(default_factory=unset)


class SignOut(Input):
    """Whose sessions to end; with `tokens`, their access tokens are revoked as well."""

    id: Id
    tokens: bool = False


def list_users(db: "DuckDBPyConnection", email: str | None = None) -> tuple[User, ...]:
    """List all users by e-mail, or the one of an e-mail (in lower case)."""
    where, values = ("", []) if email is None else ("where u.email = ?", [email])
    return tuple(User.model_validate(row) for row in fetch(db, f"{_SELECT} {where} {_GROUPED}", values))


def get_user(db: "DuckDBPyConnection", user: str) -> User:
    """Find a user by id or by e-mail in any spelling.

    Raises:
        NotFoundError: there is none.
    """
    row = fetch_one(db, f"{_SELECT} where u.id = ? or u.email = ? {_GROUPED}", [user, normal_email(user)])
    if row is None:
        raise NotFoundError(f"there is no user {user!r}")
    return User.model_validate(row)


def create_user(db: "DuckDBPyConnection", actor: Actor, new: NewUser) -> User:
    """Add a user.

    Raises:
        ConflictError: somebody has the e-mail.
    """
    if fetch_one(db, "from users where email = ?", [new.email]):
        raise ConflictError(f"there is a user {new.email} already")
    id_ = str(uuid4())
    values = {"id": id_, **new.model_dump(), "created_at": actor.at, "updated_at": actor.at}
    insert(db, "users", values)
    record(db, actor, "user.create", f"user:{id_}", email=new.email, role=new.role)
    return get_user(db, id_)


def update_user(db: "DuckDBPyConnection", actor: Actor, change: UserChange) -> User:
    """Change what is named of a user. Who is deactivated has no valid token or session from then on.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: nobody would be left to administer.
    """
    before = require_user(db, change.id)
    changes = _differences(before, change.named(but=["id"]))
    if changes:
        update(db, "users", {"id": before.id}, {**changes, "updated_at": actor.at})
        record(db, actor, "user.update", f"user:{before.id}", **_audited(before, changes))
        _keep_an_admin(db, before)
    if changes.get("active") is False:
        void_sessions(db, actor, before.id)
        _revoke_tokens(db, actor, before.id)
    return get_user(db, before.id)


def sign_out(db: "DuckDBPyConnection", actor: Actor, request: SignOut) -> None:
    """End all sessions of a user, who may sign in again.

    Raises:
        NotFoundError: there is no such user.
    """
    user = require_user(db, request.id)
    void_sessions(db, actor, user.id)
    if request.tokens:
        _revoke_tokens(db, actor, user.id)
    record(db, actor, "user.sign_out", f"user:{user.id}", tokens=request.tokens)


def seed_admin(db: "DuckDBPyConnection", actor: Actor, email: str) -> User | None:
    """Make the user of an e-mail an administrator, once: what administrators do with the account afterwards stays.

    Who is missing is added, who is deactivated stays so. Returns the user when this was the time.
    """
    address = normal_email(email)
    known = fetch_one(db, "from users where email = ?", [address])
    if is_seeded(db, address) or (known and not known["active"]):
        return None
    user = get_user(db, address) if known else create_user(db, actor, NewUser(email=address, role=Role.ADMIN))
    insert(db, "seeded_admins", {"email": address, "user_id": user.id, "at": actor.at})
    record(db, actor, "user.seed_admin", f"user:{user.id}", email=address)
    return update_user(db, actor, UserChange(id=user.id, role=Role.ADMIN))


def delete_user(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """Remove a user with all grants, memberships, tokens and requests. Added again, it is another user.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: nobody would be left to administer.
    """
    user = require_user(db, user_id)
    for table in _OF_USERS:
        execute(db, f"delete from {table} where user_id = ?", [user.id])
    execute(db, "delete from users where id = ?", [user.id])
    record(db, actor, "user.delete", f"user:{user.id}", email=user.email)
    _keep_an_admin(db, user)


def is_seeded(db: "DuckDBPyConnection", email: str) -> bool:
    """Tell whether the user of an e-mail (in lower case) was made an administrator by `seed_admin` before."""
    return fetch_one(db, "from seeded_admins where email = ?", [email]) is not None


def require_user(db: "DuckDBPyConnection", user_id: str) -> User:
    """Find a user by id alone.

    Raises:
        NotFoundError: there is none.
    """
    user = get_user(db, user_id)
    if user.id != user_id:
        raise NotFoundError(f"there is no user {user_id!r}")
    return user


def _differences(before: User, named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if getattr(before, name) != value}


def _audited(before: User, changes: dict[str, Any]) -> dict[str, Any]:
    return {name: {"from": getattr(before, name), "to": value} for name, value in changes.items()}


def _keep_an_admin(db: "DuckDBPyConnection", before: User) -> None:
    was_one = before.active and before.role is Role.ADMIN
    if was_one and not fetch_one(db, "from users where role = 'admin' and active"):
        raise ConflictError("this is the last active administrator: make another one first")


def _revoke_tokens(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    execute(db, "update tokens set revoked_at = ? where user_id = ? and revoked_at is null", [actor.at, user_id])
