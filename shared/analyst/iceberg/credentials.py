"""Short-lived S3 credentials for the files of one table, which only our own endpoint accepts (`file_endpoint`).

The session token is signed by us and says whose it is and for which table. The secret is derived from it, so nothing is
stored. The credentials grant nothing by themselves: the current access list decides each request, so they end with the
grant, the token or the session.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from analyst.access import AccessList, Caller, Role, Scope
from analyst.auth import sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.sessions import Session
from analyst.errors import ForbiddenError, UnauthenticatedError
from analyst.iceberg.signatures import SignatureError

REGION: Final = "us-east-1"
"""The AWS region for clients, which require one; it has no meaning here."""

LEAST: Final = Role.ANALYST
SCOPE: Final = Scope.SYNC
"""The scope that callers of the catalog, and holders of credentials, must have."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs with."""

    access_key: str
    secret: str
    session_token: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """The caller who holds credentials, with their current rights, and the table that the credentials are for."""

    caller: Caller
    table: str
    uuid: str


def issue(keys: Keys, caller: Caller, table: str, uuid: str, *, now: datetime, lasts: timedelta) -> Credentials:
    """Return credentials of a caller for the files of a table, given by its id and the uuid of its registration.

    Raises:
        ForbiddenError: the caller is a service, which has no user whose rights could end.
    """
    if caller.user_id is None or (caller.token_id is None and caller.session_id is None):
        raise ForbiddenError("credentials for files are issued to users only; use the access token of a user")
    token = keys.sign(
        Purpose.STORAGE, caller.user_id, now, lasts,
        table=table, uuid=uuid, token=caller.token_id, session=caller.session_id,
    )  # fmt: skip
    return Credentials(_access_key(token), keys.secret_of(Purpose.STORAGE, token), token, now + lasts)


def holder(keys: Keys, access: AccessList, access_key: str, session_token: str, now: datetime) -> tuple[Holder, str]:
    """Return the holder of credentials, and the secret that the request must be signed with.

    Raises:
        SignatureError: they were not issued here, have expired, or what they were issued for has ended.
    """
    if not session_token or access_key != _access_key(session_token):
        raise SignatureError("the access key is not one that this server issued", "InvalidAccessKeyId")
    try:
        claims = keys.verify(Purpose.STORAGE, session_token, now)
    except UnauthenticatedError:
        raise SignatureError(
            "the credentials have expired, or were not issued here; load the table again", "ExpiredToken"
        ) from None
    caller = _caller(access, claims, now)
    return Holder(caller, str(claims["table"]), str(claims["uuid"])), keys.secret_of(Purpose.STORAGE, session_token)


def _access_key(session_token: str) -> str:
    return "DA" + hashlib.sha256(session_token.encode()).hexdigest()[:18].upper()


def _caller(access: AccessList, claims: Mapping[str, Any], now: datetime) -> Caller:
    """Return the user, if the token or session that asked for the credentials still holds and could ask for them now."""
    user_id, token_id, session_id = str(claims["sub"]), claims.get("token"), claims.get("session")
    try:
        if session_id is not None:
            session = Session(str(session_id), user_id, datetime.fromtimestamp(claims["iat"], UTC))
            caller = sessions.caller_of(session, access)
        else:
            caller = access.caller_of_id(str(token_id), now)
    except UnauthenticatedError:
        raise SignatureError(
            "the access token or session of these credentials has ended; sign in again", "InvalidToken"
        ) from None
    if caller.user_id != user_id or not caller.includes(LEAST) or SCOPE not in caller.scopes:
        raise SignatureError(
            f"these credentials are no longer valid: files require the role {LEAST} and the scope {SCOPE}",
            "AccessDenied",
        )
    return caller
