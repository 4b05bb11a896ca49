"""Sign-in by password, set-up links for invited users, and reset links."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from analyst.auth import links
from analyst.auth.keys import Keys, Purpose
from analyst.auth.limits import Limit, Limits
from analyst.auth.links import Binding, Link, Shown
from analyst.auth.provider import AuthProvider, LoginButton, require
from analyst.errors import InvalidInputError, NotFoundError, UnauthenticatedError
from analyst.mail import can_send, send
from analyst.settings import Settings
from analyst.state.audit import Actor
from analyst.state.database import State
from analyst.state.users import Account, find_account, renew_hash, set_password
from analyst.store import Store

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST: Final = 10
LONGEST: Final = 200
_STRONG: Final = 3
_MEASURED: Final = 72
_NOBODY: Final = "the password of nobody"


def hash_password(password: str) -> str:
    """Hash a password with argon2id."""
    return _hasher().hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Verify a password. Without a hash it takes as long, and fails."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        matches = _hasher().verify(password_hash or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and password_hash is not None


def needs_new_hash(password_hash: str) -> bool:
    """Return whether a hash was made with older parameters."""
    return _hasher().check_needs_rehash(password_hash)


def require_good(password: str, *about: str | None) -> None:
    """Accept a password that is long enough and hard to guess, even with the words `about` the user.

    Raises:
        InvalidInputError: it is not; the message gives the reason and advice.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInputError(f"a password must have {SHORTEST} to {LONGEST} characters")
    from zxcvbn import zxcvbn

    words = [part for text in about if text for part in (text, *text.replace("@", " ").replace(".", " ").split())]
    found = zxcvbn(password[:_MEASURED], user_inputs=words)
    if found["score"] < _STRONG:
        advice = " ".join(filter(None, [found["feedback"]["warning"], *found["feedback"]["suggestions"]]))
        raise InvalidInputError(f"this password is too easy to guess. {advice}".strip().rstrip("."))


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(_NOBODY)


_QUARTER: Final = timedelta(minutes=15)
PER_CLIENT: Final = Limit("password-from", 100, _QUARTER)
"""Passwords that one client may try, for any addresses."""
PER_ACCOUNT: Final = Limit("password-for", 30, _QUARTER)
"""Passwords that may be tried for one e-mail address, from anywhere."""
PER_BOTH: Final = Limit("password-for-from", 10, _QUARTER)
"""Passwords that one client may try for one e-mail address."""
RESETS_TO: Final = Limit("reset-to", 5, _QUARTER)
RESETS_FROM: Final = Limit("reset-from", 20, _QUARTER)


class Password:
    """The provider. It is always available; users without a password can't use it."""

    name = "password"

    def is_available(self, settings: Settings) -> bool:  # noqa: ARG002 - as every provider
        """Return True: it needs no configuration."""
        return True

    def button(self, settings: Settings) -> LoginButton:  # noqa: ARG002 - as every provider
        """Return the button."""
        return LoginButton("Sign in with a password", "/auth/password", 30)


PROVIDER: Final[AuthProvider] = Password()


def require_mail(settings: Settings) -> None:
    """Require that reset links can be mailed, so that nobody waits for a mail that never arrives.

    Raises:
        NotFoundError: sign-in by password, or mail, is not configured.
    """
    require(PROVIDER, settings)
    if not can_send(settings):
        missing = "a mail server (SMTP_HOST)" if settings.base_url else "its address (BASE_URL)"
        raise NotFoundError(
            f"this server can't mail reset links until an administrator sets {missing}; ask for a new invitation"
        )


def check(email: str, password: str, *, client: str, limits: Limits, state: State, actor: Actor) -> Account:
    """Find the user with this e-mail address and password, in the same time and with the same error for every address.

    Raises:
        UnauthenticatedError: one of them is wrong, or no password was ever set.
        RateLimitedError: too many were tried.
    """
    limits.count(PER_CLIENT, client, actor.at)
    limits.count(PER_BOTH, f"{email} {client}", actor.at)
    limits.count(PER_ACCOUNT, email, actor.at)
    with state.read() as db:
        account = find_account(db, email)
    password_hash = None if account is None else account.password_hash
    if not is_password(password, password_hash) or account is None:
        raise UnauthenticatedError("the e-mail address or the password is wrong")
    before = account.password_hash or ""
    if needs_new_hash(before):
        after = hash_password(password)
        state.edit(lambda db: renew_hash(db, actor, account.user_id, before, after))
    return account


@dataclass(frozen=True, slots=True)
class SetUpLink:
    """The URL at which a user sets a first password, within 24 hours, and its code.

    With both, anyone can sign in as the user.
    """

    url: str
    code: str


def set_up_link(account: Account, *, keys: Keys, base_url: str, now: datetime) -> SetUpLink:
    """Create the link with which a user sets a first password."""
    binding = links.bind(keys, Purpose.SET_UP)
    return SetUpLink(_url(Purpose.SET_UP, account, binding, keys=keys, base_url=base_url, now=now), binding.code)


def mail_reset(
    email: str, *, binding: Binding, keys: Keys, state: State, settings: Settings, base_url: str, now: datetime
) -> bool:
    """Mail a link to set a new password if a user has this address; return whether it was sent.

    Raises:
        UnavailableError: the mail server rejects it.
    """
    with state.read() as db:
        account = find_account(db, email)
    if account is None:
        return False
    url = _url(Purpose.RESET, account, binding, keys=keys, base_url=base_url, now=now)
    text = _RESET.format(name=settings.instance_name, url=url)
    send(settings, email, f"A new password for {settings.instance_name}", text)
    return True


@dataclass(frozen=True, slots=True)
class Owner:
    """The user whose password a link sets, and whether the browser must present its code."""

    account: Account
    needs_code: bool


def whose(token: str, cookie: str | None, keys: Keys, state: State, now: datetime) -> Owner:
    """Return the user whose password a link sets.

    Raises:
        UnauthenticatedError: it is not valid, or the password was set since it was made.
    """
    link = _read(token, keys, now)
    return Owner(_of_link(link, state), links.needs_code(link, cookie))


def choose(
    token: str, password: str, *, shown: Shown, keys: Keys, limits: Limits, store: Store, state: State, actor: Actor
) -> Account:
    """Set the password chosen by the user of a link, which is used up.

    Raises:
        UnauthenticatedError: the link is not valid, was used, or the password was set since it was made.
        CodeError: another browser requested it, and the code is missing or wrong.
        RateLimitedError: too many codes were tried.
        InvalidInputError: the password is too easy; the link can be used again.
    """
    link = _read(token, keys, actor.at)
    account = _of_link(link, state)
    require_good(password, account.email)  # before a code counts as tried
    purpose = _purpose(token, keys, actor.at)
    links.require_person(keys, purpose, link, shown, limits=limits, now=actor.at)
    links.consume(keys, purpose, token, store, actor.at)
    _set(account, password, state, actor)
    return account


def change(user_id: str, old: str, new: str, *, client: str, limits: Limits, state: State, actor: Actor) -> None:
    """Change the password of a user who knows the old one.

    Raises:
        UnauthenticatedError: the old one is wrong, or there is no such user.
        InvalidInputError: the new one is too easy.
        RateLimitedError: too many were tried.
    """
    with state.read() as db:
        account = find_account(db, user_id)
    if account is None:
        raise UnauthenticatedError("the password can't be changed without a user; sign in first")
    check(account.email, old, client=client, limits=limits, state=state, actor=actor)
    require_good(new, account.email)
    _set(account, new, state, actor)


def _set(account: Account, password: str, state: State, actor: Actor) -> None:
    password_hash = hash_password(password)  # not in the edit, which may run again
    state.edit(lambda db: set_password(db, actor, account.user_id, password_hash))


def _url(purpose: Purpose, account: Account, binding: Binding, *, keys: Keys, base_url: str, now: datetime) -> str:
    token = links.make(keys, purpose, Link(account.user_id, {"stamp": account.stamp, **binding.claims}), now)
    return f"{base_url}/auth/password/set?{urlencode({'token': token})}"


def _purpose(token: str, keys: Keys, now: datetime) -> Purpose:
    try:
        links.read(keys, Purpose.SET_UP, token, now)
    except UnauthenticatedError:
        return Purpose.RESET
    return Purpose.SET_UP


def _read(token: str, keys: Keys, now: datetime) -> Link:
    return links.read(keys, _purpose(token, keys, now), token, now)


def _of_link(link: Link, state: State) -> Account:
    with state.read() as db:
        account = find_account(db, link.subject)
    if account is None or account.stamp != link.claims.get("stamp"):
        raise UnauthenticatedError("this link is no longer valid; ask for a new one")
    return account


_RESET: Final = """\
Open this page to set a new password for {name}:

{url}

The link works once, within an hour. In a browser other than the one in which you requested it, enter the code that is
shown there. If you did not request it, ignore this mail.
"""
