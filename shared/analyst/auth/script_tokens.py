"""Tokens of scripts: one for each run, which reads what the owner may read, and ends with the run.

It is signed and not stored, and holds as a session of its owner does: until that is deactivated or signs out everywhere.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from analyst.access import AccessReader, Caller, Scope
from analyst.auth import sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.sessions import Session
from analyst.errors import UnauthenticatedError

_SCOPES: Final = frozenset({Scope.READ, Scope.QUERY})


def issue(keys: Keys, owner: str, run_id: str, now: datetime, lasts: timedelta) -> str:
    """Return the token of a run of a script that belongs to `owner`."""
    return keys.sign(Purpose.SCRIPT, owner, now, lasts, run=run_id)


def identify(keys: Keys, token: str, access: AccessReader, now: datetime) -> Caller:
    """Return the caller of such a token: its owner, who can only read.

    Raises:
        UnauthenticatedError: it is not valid, has expired, or its owner is not active any more.
    """
    claims = keys.verify(Purpose.SCRIPT, token, now)
    try:
        began = datetime.fromtimestamp(claims["iat"], UTC)
        session = Session(f"script {claims['run']}", str(claims["sub"]), began)
    except (KeyError, TypeError, ValueError) as error:
        raise UnauthenticatedError("the token of the script is malformed") from error
    return replace(sessions.caller_of(session, access.current()), scopes=_SCOPES, reads_only=True)
