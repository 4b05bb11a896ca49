"""Passwords of users: only their argon2id hashes, which nothing but signing in reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from analyst.errors import NotFoundError
from analyst.state.audit import Actor, record
from analyst.state.rows import fetch_one, update

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Account:
    """What signing in by password needs to know of an active user. `changed_at` is when the password was set last."""

    user_id: str
    email: str
    password_hash: str | None
    changed_at: datetime | None

    @property
    def stamp(self) -> str:
        """Change with the password: a link made before is void after."""
        return "" if self.changed_at is None else self.changed_at.isoformat()


def find_account(db: "DuckDBPyConnection", user: str) -> Account | None:
    """Find an active user by id or e-mail; `None` if there is none."""
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
        NotFoundError: there is no such active user.
    """
    if find_account(db, user_id) is None:
        raise NotFoundError("there is no such user any more")
    update(
        db,
        "users",
        {"id": user_id},
        {"password_hash": password_hash, "password_changed_at": actor.at, "sessions_valid_from": actor.at},
    )
    record(db, actor, "auth.password_set", f"user:{user_id}")


def renew_hash(db: "DuckDBPyConnection", actor: Actor, user_id: str, before: str, after: str) -> None:
    """Replace the hash of the same password by one made with today's parameters, unless the password changed."""
    update(db, "users", {"id": user_id, "password_hash": before}, {"password_hash": after, "updated_at": actor.at})
