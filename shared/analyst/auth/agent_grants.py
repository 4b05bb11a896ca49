"""Grants to AI agents by OAuth 2.1: a code, an access token and a refresh token, all signed, none of them stored.

A grant is a session of its own: it ends with its user's, by revocation, or when its refresh token was not used for a month.
Its tokens only read, and only at the resource that they were issued for. Source: RFC 9700, RFC 7636 (PKCE), RFC 8707.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from analyst.access import AccessList, AccessReader, Caller, Scope
from analyst.auth import sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.sessions import Session
from analyst.auth.single_use_tokens import has_verifier, use
from analyst.errors import UnauthenticatedError
from analyst.store import Store

SCOPES: Final = (Scope.READ, Scope.QUERY, Scope.SYNC)
"""What an agent may be granted. The scope `admin` is never among them, whoever the user is."""

CODE_LASTS: Final = timedelta(minutes=2)
ACCESS_LASTS: Final = timedelta(hours=1)
REFRESH_LASTS: Final = timedelta(days=30)
_AGAIN_WITHIN: Final = 60.0


class InvalidGrantError(UnauthenticatedError):
    """A code or refresh token is not valid: it was used, has expired, or is for another client."""


class ReusedError(InvalidGrantError):
    """A code or refresh token was used before: somebody else has a copy of it, so the caller must end its grant.

    Source: OAuth 2.1, 'Authorization Code' and 'Refresh Token Protection'.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("this code or token was already used, so its grant has ended; connect the agent again")
        self.session = session


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user granted to a client. `resource` is the address of the tools."""

    session: Session
    client_id: str
    scopes: tuple[Scope, ...]
    resource: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a grant. `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    scopes: tuple[Scope, ...]


def scopes_of(text: str) -> tuple[Scope, ...]:
    """Return the scopes in a string that can be granted; all of them if it names none of ours."""
    wanted = set(text.split())
    found = tuple(scope for scope in SCOPES if scope.value in wanted)
    return found or SCOPES


def give_code(keys: Keys, grant: Grant, redirect_uri: str, challenge: str, now: datetime) -> str:
    """Return a code that only the client that holds the secret behind a PKCE challenge can exchange."""
    return keys.sign(
        Purpose.AGENT_CODE,
        grant.session.user_id,
        now,
        CODE_LASTS,
        **_claims(grant),
        redirect_uri=redirect_uri,
        challenge=challenge,
        jti=secrets.token_urlsafe(16),
    )


def take_code(
    code: str,
    *,
    verifier: str,
    client_id: str,
    redirect_uri: str,
    keys: Keys,
    access: AccessReader,
    store: Store,
    now: datetime,
) -> Tokens:
    """Exchange a code for tokens, which uses it up.

    Raises:
        InvalidGrantError: it is not valid, or is for another client, address or secret.
        ReusedError: it was used before.
        UnavailableError: the store does not respond.
    """
    claims = _verified(keys, Purpose.AGENT_CODE, code, now)
    grant = _grant(claims)
    if not has_verifier(str(claims.get("challenge")), verifier):
        raise InvalidGrantError("the code_verifier does not fit the code_challenge")
    if grant.client_id != client_id or str(claims.get("redirect_uri")) != redirect_uri:
        raise InvalidGrantError("the code was issued for another client_id or redirect_uri")
    return _exchanged(code, grant, keys, access, store, now, again_within=0.0)


def refresh(
    token: str,
    *,
    client_id: str,
    scopes: Iterable[Scope],
    keys: Keys,
    access: AccessReader,
    store: Store,
    now: datetime,
) -> Tokens:
    """Return the next tokens for a refresh token, which is used up; for a minute, the request can be repeated.

    Raises:
        InvalidGrantError: it is not valid, or its grant has ended.
        ReusedError: it was used more than a minute ago.
        UnavailableError: the store does not respond.
    """
    grant = _grant(_verified(keys, Purpose.AGENT_REFRESH, token, now))
    if grant.client_id != client_id:
        raise InvalidGrantError("the refresh token was issued for another client_id")
    fewer = tuple(scope for scope in grant.scopes if scope in set(scopes))
    return _exchanged(token, replace(grant, scopes=fewer or grant.scopes), keys, access, store, now, _AGAIN_WITHIN)


def _exchanged(  # noqa: PLR0917 - all of them parts of one exchange
    token: str, grant: Grant, keys: Keys, access: AccessReader, store: Store, now: datetime, again_within: float
) -> Tokens:
    access.refresh()
    try:
        sessions.caller_of(grant.session, access.current())
    except UnauthenticatedError as error:
        raise InvalidGrantError(str(error)) from error
    try:
        use(store, token, now, again_within=again_within)
    except UnauthenticatedError as error:
        raise ReusedError(grant.session) from error
    claims = _claims(grant)
    return Tokens(
        keys.sign(Purpose.AGENT, grant.session.user_id, now, ACCESS_LASTS, **claims),
        keys.sign(
            Purpose.AGENT_REFRESH, grant.session.user_id, now, REFRESH_LASTS, **claims, jti=secrets.token_urlsafe(16)
        ),
        int(ACCESS_LASTS.total_seconds()),
        grant.scopes,
    )


def find(keys: Keys, token: str, now: datetime) -> Grant | None:
    """Return the grant of an access or refresh token; `None` if it is not one, or has expired."""
    for purpose in (Purpose.AGENT_REFRESH, Purpose.AGENT):
        try:
            return _grant(keys.verify(purpose, token, now))
        except UnauthenticatedError:
            continue
    return None


def identify(keys: Keys, token: str, access: AccessReader, resource: str | None, now: datetime) -> Caller:
    """Return the caller of an access token.

    Raises:
        UnauthenticatedError: it is not valid, its grant has ended, or it is for another resource.
    """
    grant = _grant(keys.verify(Purpose.AGENT, token, now))
    if resource is None or grant.resource != resource:
        raise UnauthenticatedError("this access token was issued for the tools of agents, and is not valid here")
    return caller_of(grant, access.current())


def caller_of(grant: Grant, access: AccessList) -> Caller:
    """Return the caller of a grant: its user, limited to what was granted.

    Raises:
        UnauthenticatedError: it has ended.
    """
    return replace(sessions.caller_of(grant.session, access), scopes=frozenset(grant.scopes) & frozenset(SCOPES))


def _claims(grant: Grant) -> dict[str, Any]:
    return {
        "sid": grant.session.id,
        "auth_time": grant.session.began.timestamp(),
        "client_id": grant.client_id,
        "scope": " ".join(grant.scopes),
        "resource": grant.resource,
    }


def _grant(claims: Mapping[str, Any]) -> Grant:
    try:
        began = datetime.fromtimestamp(claims["auth_time"], UTC)
        session = Session(str(claims["sid"]), str(claims["sub"]), began)
        return Grant(session, str(claims["client_id"]), scopes_of(str(claims["scope"])), str(claims["resource"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UnauthenticatedError("the token is malformed; sign in again") from error


def _verified(keys: Keys, purpose: Purpose, token: str, now: datetime) -> Mapping[str, Any]:
    try:
        return keys.verify(purpose, token, now)
    except UnauthenticatedError as error:
        raise InvalidGrantError(str(error)) from error
