"""Creation of the first administrator, with the bootstrap secret. It works once."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, SecretStr

from analyst.access import EVERY_SCOPE, TOKEN_PREFIX, Role, digest
from analyst.auth.callers import is_secret
from analyst.auth.limits import Limit
from analyst.errors import ConflictError, ForbiddenError
from analyst.state.audit import Actor, record
from analyst.state.database import State
from analyst.state.fields import Email, Input, Line, Output
from analyst.state.rows import fetch_one, insert
from analyst.state.tokens import DAYS, issue
from analyst.state.users import NewUser, User, UserChange, create_user, get_user, seed_admin, update_user
from analyst.validation import Matching

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_TOKEN = rf"^{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}$"

PER_CLIENT: Final = Limit("bootstrap-from", 30, timedelta(minutes=15))
"""The number of bootstrap secrets that one client may try."""


class Bootstrap(Input):
    """The first administrator, and the bootstrap secret.

    `token` can be chosen by the caller: `da_` and 32 random bytes in URL-safe base64. Repeating the request with the
    same token, because the response was lost, returns the same response.
    """

    email: Email
    name: Line | None = None
    secret: Annotated[SecretStr, Field(max_length=1000)]
    token: Annotated[str, Matching(_TOKEN, "da_ and 32 random bytes in URL-safe base64")] | None = Field(
        default=None, repr=False
    )


class Bootstrapped(Output):
    """The first administrator, and an access token that is shown only once."""

    token: str
    token_id: str
    user: User


def bootstrap(
    state: State, actor: Actor, request: Bootstrap, secret: SecretStr | None, seed: str | None = None
) -> Bootstrapped:
    """Make the user an administrator and return an access token. In an imported state, the user may exist.

    The user with the e-mail address `seed` becomes an administrator as well.

    Raises:
        ForbiddenError: the secret is wrong, or none is set.
        ConflictError: it was done before.
    """
    if not is_secret(request.secret.get_secret_value(), secret):
        raise ForbiddenError(
            "the bootstrap secret is wrong, or BOOTSTRAP_SECRET is not set on the server; use the value in .env there"
        )
    return state.edit(lambda db: _bootstrap(db, actor, request, seed))


def _bootstrap(db: "DuckDBPyConnection", actor: Actor, request: Bootstrap, seed: str | None) -> Bootstrapped:
    if first := fetch_one(db, "from bootstrap"):
        return _again(db, actor, request, first["user_id"])
    user = _administrator(db, actor, request)
    insert(db, "bootstrap", {"user_id": user.id, "at": actor.at})
    record(db, actor, "auth.bootstrap", f"user:{user.id}", email=user.email)
    if seed is not None:
        seed_admin(db, actor, seed)
    made = issue(db, actor, user.id, "bootstrap", days=DAYS, scopes=EVERY_SCOPE, token=request.token)
    return Bootstrapped(token=made.token, token_id=made.id, user=user)


def _again(db: "DuckDBPyConnection", actor: Actor, request: Bootstrap, user_id: str) -> Bootstrapped:
    """Repeat the response to a caller who proves with the token that the first one was theirs."""
    valid = "user_id = ? and sha256 = ? and revoked_at is null and expires_at > ?"
    kept = [user_id, digest(request.token or ""), actor.at]
    token = fetch_one(db, f"select id from tokens where name = 'bootstrap' and {valid}", kept)
    if token is None or request.token is None:
        raise ConflictError("the first administrator already exists; ask an administrator for access")
    return Bootstrapped(token=request.token, token_id=token["id"], user=get_user(db, user_id))


def _administrator(db: "DuckDBPyConnection", actor: Actor, request: Bootstrap) -> User:
    if not fetch_one(db, "from users where email = ?", [request.email]):
        return create_user(db, actor, NewUser(email=request.email, name=request.name, role=Role.ADMIN))
    known = get_user(db, request.email)
    return update_user(db, actor, UserChange(id=known.id, role=Role.ADMIN, active=True))
