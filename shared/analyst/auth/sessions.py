"""Sessions of people who signed in: a cookie for pages, a bearer token with a refresh token for programs.

A session is a signed token; nothing is stored. It ends when it expires, when its user is deactivated or signs out
everywhere (`sessions_valid_from`), or when it is signed out (the access list names such sessions).
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from analyst.access import AccessList, AccessReader, Caller
from analyst.auth.keys import Keys, Purpose
from analyst.auth.single_use_tokens import use
from analyst.errors import UnauthenticatedError
from analyst.store import Store

BROWSER_LASTS: Final = timedelta(hours=12)
PROGRAM_LASTS: Final = timedelta(hours=1)
REFRESH_LASTS: Final = timedelta(days=30)

_AGAIN_WITHIN: Final = 60.0
"""Seconds for which a used refresh token still works; otherwise a client whose response was lost would be signed out.

The thief of a refresh token has the same minute, and gains no more than by using the token first.
"""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in.

    `began` is when the person proved their identity; it does not change when the session is refreshed.
    """

    id: str
    user_id: str
    began: datetime


@dataclass(frozen=True, slots=True)
class Pair:
    """The tokens of a program: an access token, and a single-use refresh token for the next pair. Lifetimes are in seconds."""

    token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


def begin(user_id: str, now: datetime) -> Session:
    """Begin a session of a user who has just proven their identity."""
    return Session(secrets.token_urlsafe(16), user_id, now)


def for_browser(keys: Keys, session: Session, now: datetime) -> str:
    """Create the token for a browser's cookie."""
    return _sign(keys, Purpose.SESSION, session, now, BROWSER_LASTS)


def for_program(keys: Keys, session: Session, now: datetime) -> Pair:
    """Return the tokens for a program such as `da`."""
    refresh = keys.sign(
        Purpose.REFRESH, session.user_id, now, REFRESH_LASTS, **_claims(session), jti=secrets.token_urlsafe(16)
    )
    return Pair(
        _sign(keys, Purpose.SESSION, session, now, PROGRAM_LASTS),
        int(PROGRAM_LASTS.total_seconds()),
        refresh,
        int(REFRESH_LASTS.total_seconds()),
    )


def refresh(keys: Keys, token: str, access: AccessReader, store: Store, now: datetime) -> Pair:
    """Return the next pair for a refresh token, which is used up.

    For a minute, a client that missed the response can repeat the request.

    Raises:
        UnauthenticatedError: it is not valid, was used before, or its session has ended.
        UnavailableError: the store does not respond.
    """
    session = _read(keys, Purpose.REFRESH, token, now)
    access.refresh()
    caller_of(session, access.current())
    use(store, token, now, again_within=_AGAIN_WITHIN)
    return for_program(keys, session, now)


def read_refresh(keys: Keys, token: str, now: datetime) -> Session:
    """Return the session of a refresh token, even if it has ended.

    Raises:
        UnauthenticatedError: it was not signed here, or has expired.
    """
    return _read(keys, Purpose.REFRESH, token, now)


def read(keys: Keys, token: str, now: datetime) -> Session:
    """Return the session of a token, even if it has ended.

    Raises:
        UnauthenticatedError: it was not signed here, or has expired.
    """
    return _read(keys, Purpose.SESSION, token, now)


def identify(keys: Keys, token: str, access: AccessReader, now: datetime) -> Caller:
    """Return the caller of a session token, even if another process created the user a moment ago.

    Raises:
        UnauthenticatedError: it is not valid, or its session has ended.
        UnavailableError: the access list is unavailable.
    """
    session = read(keys, token, now)
    try:
        return caller_of(session, access.current())
    except UnauthenticatedError:
        if session.user_id in access.current().users:
            raise
    return caller_of(session, access.refresh())


def caller_of(session: Session, access: AccessList) -> Caller:
    """Return the caller of a session.

    Raises:
        UnauthenticatedError: it has ended.
    """
    user = access.users.get(session.user_id)
    ended = user is None or session.id in access.revoked_sessions
    if user is None or ended or (user.sessions_valid_from is not None and session.began < user.sessions_valid_from):
        raise UnauthenticatedError("the session has ended; sign in again")
    return Caller(session.user_id, user.email, user.role, frozenset(user.groups), session_id=session.id)


def _sign(keys: Keys, purpose: Purpose, session: Session, now: datetime, lasts: timedelta) -> str:
    return keys.sign(purpose, session.user_id, now, lasts, **_claims(session))


def _claims(session: Session) -> dict[str, object]:
    return {"sid": session.id, "auth_time": session.began.timestamp()}


def _read(keys: Keys, purpose: Purpose, token: str, now: datetime) -> Session:
    claims = keys.verify(purpose, token, now)
    try:
        return Session(str(claims["sid"]), str(claims["sub"]), datetime.fromtimestamp(claims["auth_time"], UTC))
    except (KeyError, TypeError, ValueError) as error:
        raise UnauthenticatedError("the session token is malformed; sign in again") from error
