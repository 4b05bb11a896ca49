"""Personal access tokens: `da_` and 32 random bytes, stored only as their SHA-256."""

import json
import secrets
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from uuid import uuid4

from pydantic import Field

from analyst.access import TOKEN_PREFIX, TOKEN_SHOWN, Caller, Role, Scope, digest
from analyst.addresses import normal_email
from analyst.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError
from analyst.state.audit import Actor, record
from analyst.state.fields import Email, Input, Line, Output
from analyst.state.rows import execute, fetch, fetch_one, insert
from analyst.state.users import get_user

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAYS: Final = 90
"""The default validity of a token."""

_MOST = 50
_WORTH_TELLING: Final = timedelta(days=1)
_CAPPED: Final = (
    "the token expires on {day}, together with the access token that created it; for a longer validity, sign in with a "
    "browser or `da login`"
)
_LACKS: Final = "this access token does not have the scope 'admin', so it can revoke only itself; sign in, or use one that has the scope"
_SELECT = """
    select t.id, t.name, t.prefix, t.user_id, u.email, t.created_at, t.expires_at, t.revoked_at,
        cast(t.scopes as varchar[]) as scopes
    from tokens t join users u on u.id = t.user_id
"""


class Token(Output):
    """An access token without its secret; `prefix` is how it starts."""

    id: str
    name: str
    prefix: str
    user_id: str
    email: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_on: date | None = None


class NewToken(Input):
    """A new access token for the caller, or for the user with the e-mail address `user`.

    The scope `admin` must be requested explicitly.
    """

    name: Line
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=4)] = (Scope.READ, Scope.QUERY, Scope.SYNC)
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] = DAYS
    user: Email | None = None


class CreatedToken(Output):
    """A new access token, shown only once. `note` explains an earlier expiry than requested."""

    id: str
    name: str
    token: str
    prefix: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    note: str | None = None
    """The reason why it expires a day or more before the requested time."""


def list_tokens(db: "DuckDBPyConnection", caller: Caller, user: str | None) -> tuple[Token, ...]:
    """List the tokens of a caller, newest first; administrators can name a user (e-mail address) or `all`.

    Raises:
        ForbiddenError: they belong to another user, and the caller is not an administrator.
        NotFoundError: the user does not exist.
    """
    if user == "all" and caller.includes(Role.ADMIN):
        return _list(db, "")
    return _list(db, "where t.user_id = $owner", owner=_owner(db, caller, user))


def create_token(db: "DuckDBPyConnection", actor: Actor, caller: Caller, new: NewToken) -> CreatedToken:
    """Create a token for the caller, or as an administrator for another active user.

    A token that creates another one bounds its validity; otherwise a leaked one could be renewed forever.

    Raises:
        UnauthenticatedError: the creating token has been revoked or has expired.
        ForbiddenError: it is for another user, and the caller is not an administrator; or the caller does not have its scopes.
        NotFoundError: the user does not exist.
        ConflictError: the user is not active, or has 50 valid tokens.
    """
    missing = frozenset(new.scopes) - caller.scopes
    if missing:
        raise ForbiddenError(
            f"this access token does not have the scope {', '.join(sorted(missing))}, so it can't grant it"
        )
    owner = _owner(db, caller, new.user)
    bound = None if caller.token_id is None else _expiry(db, actor, caller.token_id)
    return issue(db, actor, owner, new.name, days=new.expires_in_days, scopes=new.scopes, bound=bound)


def issue(
    db: "DuckDBPyConnection",
    actor: Actor,
    user_id: str,
    name: str,
    *,
    days: int,
    scopes: Iterable[Scope],
    token: str | None = None,
    bound: datetime | None = None,
) -> CreatedToken:
    """Create a token for a user. A given `token` is used as it is. It expires by `bound` at the latest.

    Raises:
        NotFoundError: the user does not exist.
        ConflictError: the user is not active, or has 50 valid tokens.
    """
    _require_room(db, actor, user_id)
    asked = actor.at + timedelta(days=days)
    expires = asked if bound is None else min(asked, bound)
    token = token or TOKEN_PREFIX + secrets.token_urlsafe(32)
    made = CreatedToken(
        id=str(uuid4()),
        name=name,
        token=token,
        prefix=token[:TOKEN_SHOWN],
        scopes=tuple(sorted(set(scopes))),
        expires_at=expires,
        note=_CAPPED.format(day=expires.date().isoformat()) if asked - expires >= _WORTH_TELLING else None,
    )
    shown = {**made.model_dump(exclude={"token", "note"}), "scopes": json.dumps(made.scopes)}
    kept = {"user_id": user_id, "sha256": digest(token), "created_at": actor.at, "created_by": actor.user_id}
    insert(db, "tokens", {**shown, **kept})
    record(
        db,
        actor,
        "token.create",
        f"token:{made.id}",
        user=user_id,
        prefix=made.prefix,
        name=name,
        days=days,
        scopes=made.scopes,
        **({} if expires == asked else {"expires_at": expires.isoformat()}),
    )
    return made


def revoke_token(db: "DuckDBPyConnection", actor: Actor, caller: Caller, token_id: str) -> None:
    """Revoke a token: one's own, or as an administrator any token. Revoking it again is not an error.

    A token may revoke itself, whatever its scopes are.

    Raises:
        NotFoundError: the caller has no such token.
        ForbiddenError: it has more scopes than the revoking token, or that one does not have the scope `admin`.
    """
    if token_id != caller.token_id and not caller.manages_credentials:
        raise ForbiddenError(_LACKS)
    token = fetch_one(db, f"{_SELECT} where t.id = ?", [token_id])
    if token is None or (not caller.includes(Role.ADMIN) and token["user_id"] != caller.user_id):
        raise NotFoundError(f"there is no token {token_id!r}")
    if not caller.scopes.issuperset(token["scopes"]):
        raise ForbiddenError(
            "an access token can't revoke a token with scopes that it does not have itself; sign in, or use one that "
            "has them"
        )
    if token["revoked_at"] is None:
        execute(db, "update tokens set revoked_at = ? where id = ?", [actor.at, token_id])
        record(db, actor, "token.revoke", f"token:{token_id}", user=token["user_id"], prefix=token["prefix"])


def _list(db: "DuckDBPyConnection", where: str, **values: str) -> tuple[Token, ...]:
    rows = fetch(db, f"{_SELECT} {where} order by t.created_at desc, t.id", values)
    return tuple(Token.model_validate(row) for row in rows)


def _owner(db: "DuckDBPyConnection", caller: Caller, user: str | None) -> str:
    """Find the owner of the tokens. Other users are resolved only for administrators."""
    own = user is None or normal_email(user) == caller.email
    if own and caller.user_id is not None:
        return caller.user_id
    if user is None:
        raise ForbiddenError("a service has no access tokens of its own")
    if caller.lacks_scope_for(Role.ADMIN):
        raise ForbiddenError(
            "this access token does not have the scope 'admin', so it can't act for others; sign in, or use one that "
            "has the scope"
        )
    if not caller.includes(Role.ADMIN):
        raise ForbiddenError("only administrators can manage the access tokens of other users")
    return get_user(db, user).id


def _expiry(db: "DuckDBPyConnection", actor: Actor, token_id: str) -> datetime:
    """Return the expiry of the creating token. The state knows of a revocation before the access list does."""
    valid = "id = ? and revoked_at is null and expires_at > ?"
    token = fetch_one(db, f"select expires_at from tokens where {valid}", [token_id, actor.at])
    if token is None:
        raise UnauthenticatedError("this access token has been revoked or has expired; sign in, or use another one")
    expires: datetime = token["expires_at"]
    return expires


def _require_room(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    user = get_user(db, user_id)
    if not user.active:
        raise ConflictError(f"the user {user.email} is deactivated; activate the user first")
    valid = fetch(db, "from tokens where user_id = ? and revoked_at is null and expires_at > ?", [user_id, actor.at])
    if len(valid) >= _MOST:
        raise ConflictError(f"the user {user.email} already has {_MOST} valid access tokens; revoke some first")
