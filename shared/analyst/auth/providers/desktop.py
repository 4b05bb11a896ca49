"""Sign-in of `da`: a signed-in browser passes it a code, by loopback or for pasting, that it exchanges for tokens.

`da` sends the SHA-256 of a secret along (PKCE), so the code alone is useless to anyone who sees it.
"""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final

from analyst.access import AccessReader, Caller
from analyst.auth import sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.limits import Limit
from analyst.auth.provider import AuthProvider, LoginButton
from analyst.auth.sessions import Pair
from analyst.auth.single_use import use
from analyst.errors import UnauthenticatedError
from analyst.settings import Settings
from analyst.store import Store

LASTS: Final = timedelta(minutes=5)
"""The validity of a code."""

PER_CLIENT: Final = Limit("desktop-from", 60, timedelta(minutes=15))
"""Codes and refresh tokens that one client may try."""


class Desktop:
    """The provider. It does not sign browsers in, so it has no button."""

    name = "desktop"

    def is_available(self, settings: Settings) -> bool:  # noqa: ARG002 - as every provider
        """Return True: it needs no settings."""
        return True

    def button(self, settings: Settings) -> LoginButton | None:  # noqa: ARG002 - as every provider
        """Return no button."""
        return None


PROVIDER: Final[AuthProvider] = Desktop()


def give_code(keys: Keys, caller: Caller, challenge: str, now: datetime) -> str:
    """Return a code for the client with the secret behind a challenge: base64url of its SHA-256, without padding."""
    return keys.sign(Purpose.DESKTOP, caller.user_id or "", now, LASTS, challenge=challenge)


def take_code(
    code: str, verifier: str, *, keys: Keys, access: AccessReader, store: Store, now: datetime
) -> tuple[Pair, Caller]:
    """Exchange a code for tokens, which uses it up.

    Raises:
        UnauthenticatedError: it is invalid, used, or for another `da`, or its user may no longer sign in.
        UnavailableError: the store does not respond.
    """
    claims = keys.verify(Purpose.DESKTOP, code, now)
    if not hmac.compare_digest(_challenge(verifier).encode(), str(claims["challenge"]).encode()):
        raise UnauthenticatedError("the code belongs to another `da login`; run `da login` again")
    session = sessions.begin(str(claims["sub"]), now)
    caller = sessions.caller_of(session, access.current())
    use(store, code, now)
    return sessions.for_program(keys, session, now), caller


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
