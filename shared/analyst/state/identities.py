"""Identities: who an OpenID provider says a user is (`iss` and `sub`), as it was when they first signed in with it.

An address can pass to another person, who has another `sub` then. That one is let in only once an administrator has
released the identity of the one before.
"""

from typing import TYPE_CHECKING

from analyst.errors import ForbiddenError
from analyst.state.audit import Actor, record
from analyst.state.rows import execute, fetch_one, insert
from analyst.state.sessions import void_sessions
from analyst.state.users import require_user

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def require_identity(db: "DuckDBPyConnection", user_id: str, issuer: str, subject: str) -> bool:
    """Return whether a user is known by this identity; False if by none of this issuer.

    Raises:
        ForbiddenError: they are known by another one.
    """
    known = fetch_one(db, "select subject from identities where user_id = ? and issuer = ?", [user_id, issuer])
    if known is not None and known["subject"] != subject:
        raise ForbiddenError(
            "somebody else has signed in with this e-mail address before, by another account at the provider; "
            "ask an administrator to release it (`da admin users release`)"
        )
    return known is not None


def bind_identity(db: "DuckDBPyConnection", actor: Actor, user_id: str, issuer: str, subject: str) -> None:
    """Know a user by this identity from now on.

    Raises:
        ForbiddenError: they are known by another one.
    """
    if not require_identity(db, user_id, issuer, subject):
        values = {"user_id": user_id, "issuer": issuer, "subject": subject, "at": actor.at}
        insert(db, "identities", values)
        record(db, actor, "user.bind_identity", f"user:{user_id}", issuer=issuer)


def release_identities(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """Forget who a user is at OpenID providers: whoever signs in next with the address is taken for them.

    Sessions that began before end: they are of the one who is let go.

    Raises:
        NotFoundError: there is no such user.
    """
    user = require_user(db, user_id)
    execute(db, "delete from identities where user_id = ?", [user.id])
    void_sessions(db, actor, user.id)
    record(db, actor, "user.release_identity", f"user:{user.id}")
