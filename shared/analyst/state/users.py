"""Users: their roles, sessions, OpenID identities and passwords. One active administrator must always remain."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field

from analyst.access import Role
from analyst.addresses import normal_email
from analyst.errors import ConflictError, ForbiddenError, NotFoundError
from analyst.state.audit import Actor, record
from analyst.state.fields import Email, Id, Input, Line, Output, unset
from analyst.state.rows import execute, fetch, fetch_one, insert, update

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Account:
    """The data about an active user for sign-in by password. `changed_at` is when the password was last set."""

    user_id: str
    email: str
    password_hash: str | None
    changed_at: datetime | None

    @property
    def stamp(self) -> str:
        """A value that changes with the password, so that older links become invalid."""
        return "" if self.changed_at is None else self.changed_at.isoformat()


def find_account(db: "DuckDBPyConnection", user: str) -> Account | None:
    """Find an active user by id or e-mail address, or `None`."""
    row = fetch_one(
        db,
        """
        select id as user_id, email, password_hash, password_changed_at as changed_at
        from users where active and (id = ? or email = ?)
        """,
        [user, user],
    )
    return None if row is None else Account(**row)


def set_password(db: "DuckDBPyConnection", actor: Actor, user_id: str, password_hash: str) -> None:
    """Set a user's password. All sessions that began before end.

    Raises:
        NotFoundError: the active user does not exist.
    """
    if find_account(db, user_id) is None:
        raise NotFoundError("this user no longer exists")
    update(
        db,
        "users",
        {"id": user_id},
        {"password_hash": password_hash, "password_changed_at": actor.at, "sessions_valid_from": actor.at},
    )
    record(db, actor, "auth.password_set", f"user:{user_id}")


def renew_hash(db: "DuckDBPyConnection", actor: Actor, user_id: str, before: str, after: str) -> None:
    """Replace the hash of the same password by one with current parameters, unless the password has changed."""
    update(db, "users", {"id": user_id, "password_hash": before}, {"password_hash": after, "updated_at": actor.at})


def require_identity(db: "DuckDBPyConnection", user_id: str, issuer: str, subject: str) -> bool:
    """Return whether a user has this identity; False if they have none of this issuer.

    Raises:
        ForbiddenError: they have another one.
    """
    known = fetch_one(db, "select subject from identities where user_id = ? and issuer = ?", [user_id, issuer])
    if known is not None and known["subject"] != subject:
        raise ForbiddenError(
            "another account at the identity provider has already signed in with this e-mail address; "
            "ask an administrator to release it (`da admin users release`)"
        )
    return known is not None


def bind_identity(db: "DuckDBPyConnection", actor: Actor, user_id: str, issuer: str, subject: str) -> None:
    """Bind a user to this identity.

    Raises:
        ForbiddenError: they have another one.
    """
    if not require_identity(db, user_id, issuer, subject):
        values = {"user_id": user_id, "issuer": issuer, "subject": subject, "at": actor.at}
        insert(db, "identities", values)
        record(db, actor, "user.bind_identity", f"user:{user_id}", issuer=issuer)


def release_identities(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """Unlink a user from OpenID accounts: the next one that signs in with the address is linked.

    Existing sessions end, because they belong to the previous person.

    Raises:
        NotFoundError: the user does not exist.
    """
    user = require_user(db, user_id)
    execute(db, "delete from identities where user_id = ?", [user.id])
    void_sessions(db, actor, user.id)
    record(db, actor, "user.release_identity", f"user:{user.id}")


def end_session(db: "DuckDBPyConnection", actor: Actor, session_id: str, user_id: str, expires: datetime) -> None:
    """End one session of a user; `expires` is its latest possible end. Ending it again is not an error."""
    execute(db, "delete from revoked_sessions where expires_at <= ?", [actor.at])
    if not fetch_one(db, "from revoked_sessions where id = ?", [session_id]):
        values = {"id": session_id, "user_id": user_id, "expires_at": expires, "revoked_at": actor.at}
        insert(db, "revoked_sessions", values)
        record(db, actor, "auth.sign_out", f"user:{user_id}")


def end_all_sessions(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """End all sessions of a user that began before; access tokens are not affected."""
    void_sessions(db, actor, user_id)
    record(db, actor, "auth.sign_out_everywhere", f"user:{user_id}")


def void_sessions(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """End all earlier sessions of a user. The caller records the reason in the audit log."""
    later = "update users set sessions_valid_from = greatest(sessions_valid_from, ?) where id = ?"
    execute(db, later, [actor.at, user_id])


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
    """A user. `groups` are the names of their groups."""

    id: str
    email: str
    name: str | None
    role: Role
    active: bool
    groups: tuple[str, ...]
    created_at: datetime | None


class NewUser(Input):
    """A new user."""

    email: Email
    name: Line | None = None
    role: Role = Role.ANALYST


class UserChange(Input):
    """The fields to change; other fields keep their values."""

    id: Id
    name: Line | None = None
    role: Role = Field(default_factory=unset)
    active: bool = Field(default_factory=unset)


class SignOut(Input):
    """The user whose sessions to end. `tokens` revokes their access tokens as well."""

    id: Id
    tokens: bool = False


def list_users(db: "DuckDBPyConnection", email: str | None = None) -> tuple[User, ...]:
    """List all users by e-mail address, or the one with an address (in lower case)."""
    where, values = ("", []) if email is None else ("where u.email = ?", [email])
    return tuple(User.model_validate(row) for row in fetch(db, f"{_SELECT} {where} {_GROUPED}", values))


def get_user(db: "DuckDBPyConnection", user: str) -> User:
    """Return a user by id, or by e-mail address in any case.

    Raises:
        NotFoundError: the user does not exist.
    """
    row = fetch_one(db, f"{_SELECT} where u.id = ? or u.email = ? {_GROUPED}", [user, normal_email(user)])
    if row is None:
        raise NotFoundError(f"there is no user {user!r}")
    return User.model_validate(row)


def create_user(db: "DuckDBPyConnection", actor: Actor, new: NewUser) -> User:
    """Add a user.

    Raises:
        ConflictError: a user with this e-mail address exists.
    """
    if fetch_one(db, "from users where email = ?", [new.email]):
        raise ConflictError(
            f"a user with the e-mail address {new.email} already exists; to invite them again, run: da admin users invite {new.email}"
        )
    id_ = str(uuid4())
    values = {"id": id_, **new.model_dump(), "created_at": actor.at, "updated_at": actor.at}
    insert(db, "users", values)
    record(db, actor, "user.create", f"user:{id_}", email=new.email, role=new.role)
    return get_user(db, id_)


def update_user(db: "DuckDBPyConnection", actor: Actor, change: UserChange) -> User:
    """Change the given fields of a user. Deactivation revokes all tokens and sessions.

    Raises:
        NotFoundError: the user does not exist.
        ConflictError: this is the last active administrator.
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
        NotFoundError: the user does not exist.
    """
    user = require_user(db, request.id)
    void_sessions(db, actor, user.id)
    if request.tokens:
        _revoke_tokens(db, actor, user.id)
    record(db, actor, "user.sign_out", f"user:{user.id}", tokens=request.tokens)


def seed_admin(db: "DuckDBPyConnection", actor: Actor, email: str) -> User | None:
    """Make the user with an e-mail address an administrator, once; later changes of the role are not undone.

    A missing user is created; a deactivated one stays deactivated. Returns the user if it was done now.
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
        NotFoundError: the user does not exist.
        ConflictError: this is the last active administrator.
    """
    user = require_user(db, user_id)
    for table in _OF_USERS:
        execute(db, f"delete from {table} where user_id = ?", [user.id])
    execute(db, "delete from users where id = ?", [user.id])
    record(db, actor, "user.delete", f"user:{user.id}", email=user.email)
    _keep_an_admin(db, user)


def is_seeded(db: "DuckDBPyConnection", email: str) -> bool:
    """Return whether the user with an e-mail address (in lower case) was made an administrator by `seed_admin` before."""
    return fetch_one(db, "from seeded_admins where email = ?", [email]) is not None


def require_user(db: "DuckDBPyConnection", user_id: str) -> User:
    """Return a user by id alone.

    Raises:
        NotFoundError: the user does not exist.
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
        raise ConflictError("this is the last active administrator; give another user the role admin first")


def _revoke_tokens(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    execute(db, "update tokens set revoked_at = ? where user_id = ? and revoked_at is null", [actor.at, user_id])
