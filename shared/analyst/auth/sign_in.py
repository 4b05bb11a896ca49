"""Sign-in with a proven e-mail address: find the user, create one, or refuse."""

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from analyst.access import AccessReader
from analyst.errors import ForbiddenError
from analyst.settings import Settings
from analyst.state.audit import Actor
from analyst.state.database import State
from analyst.state.fields import Email
from analyst.state.rows import fetch_one
from analyst.state.users import NewUser, bind_identity, create_user, is_seeded, require_identity, seed_admin

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Proven:
    """A proven e-mail address, the provider that proved it, and the name of its owner.

    OpenID providers also identify the account independently of its address, by `issuer` and `subject`.
    """

    email: str
    provider: str
    name: str | None = None
    issuer: str | None = None
    subject: str | None = None


def sign_in(proven: Proven, access: AccessReader, state: State, actor: Actor, settings: Settings) -> str:
    """Return the id of the user with a proven address. An address of an allowed domain becomes a user.

    Raises:
        ForbiddenError: nobody with this e-mail may come in, or whom the provider means is another person than the one
            who signed in with it before.
        UnavailableError: the store does not respond.
    """
    proven = _checked(proven)
    known = _known(proven.email, access)
    if known is not None and not _is_to_be_raised(proven.email, state, settings) and _is_same(known, proven, state):
        return known
    if known is None and not may_come(proven.email, settings):
        _require_user(proven.email, state)
    return state.edit(lambda db: _user(db, actor, proven, settings))


def _checked(proven: Proven) -> Proven:
    """Validate the data of a provider: the address must be valid, and the name is cleaned or dropped.

    Raises:
        ForbiddenError: this is no e-mail address.
    """
    try:
        email = _EMAIL.validate_python(proven.email)
    except ValidationError as error:
        raise ForbiddenError(
            "the identity provider did not supply a valid e-mail address; check your account there"
        ) from error
    return replace(proven, email=email, name=person_name(proven.name))


def person_name(text: str | None) -> str | None:
    """Make one line of a name: without control and invisible characters, and not too long. `None` if nothing is left."""
    bare = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text or "")
    return " ".join(bare.split())[:_LONGEST_NAME].strip() or None


def _is_same(user_id: str, proven: Proven, state: State) -> bool:
    """Return whether who signed in before is who signs in now; False where that has to be written down first.

    Raises:
        ForbiddenError: they are somebody else.
    """
    if proven.issuer is None or proven.subject is None:
        return True
    with state.read() as db:
        return require_identity(db, user_id, proven.issuer, proven.subject)


def may_come(email: str, settings: Settings) -> bool:
    """Return whether somebody with this e-mail may become a user by signing in."""
    return email.rpartition("@")[2] in settings.allowed_domains or _is_first_administrator(email, settings)


def is_welcome(email: str, access: AccessReader, settings: Settings) -> bool:
    """Return whether somebody with this e-mail may sign in: as the user they are, or would become.

    Raises:
        UnavailableError: who may do what is not known now.
    """
    return may_come(email, settings) or _known(email, access) is not None


def _known(email: str, access: AccessReader) -> str | None:
    """Find an active user by e-mail."""
    return next((id_ for id_, user in access.refresh().users.items() if user.email == email), None)


def _is_first_administrator(email: str, settings: Settings) -> bool:
    return email == settings.seed_admin_email


def _is_to_be_raised(email: str, state: State, settings: Settings) -> bool:
    if not _is_first_administrator(email, settings):
        return False
    with state.read() as db:
        return not is_seeded(db, email)


def _require_user(email: str, state: State) -> None:
    """Refuse unknown users without an edit of the state."""
    with state.read() as db:
        if not fetch_one(db, "from users where email = ? and active", [email]):
            raise ForbiddenError(_REFUSED)


def _user(db: "DuckDBPyConnection", actor: Actor, proven: Proven, settings: Settings) -> str:
    known = fetch_one(db, "select id, active from users where email = ?", [proven.email])
    if known is not None and not known["active"]:
        raise ForbiddenError(_REFUSED)
    if known is None:
        known = {"id": create_user(db, actor, NewUser(email=proven.email, name=proven.name)).id}
    if _is_first_administrator(proven.email, settings):
        seed_admin(db, actor, proven.email)
    if proven.issuer is not None and proven.subject is not None:
        bind_identity(db, actor, str(known["id"]), proven.issuer, proven.subject)
    return str(known["id"])


_EMAIL: Final[TypeAdapter[str]] = TypeAdapter(Email)
_LONGEST_NAME: Final = 200
_REFUSED = "this account is not allowed to sign in; ask an administrator to add it"
