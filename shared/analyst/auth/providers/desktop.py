"""Sign-in of `da`: a signed-in browser passes it a code, by loopback or for pasting, that it exchanges for tokens.

`da` sends the SHA-256 of a secret along (PKCE), so the code alone is useless to anyone who sees it.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from analyst.access import AccessReader, Caller
from analyst.auth import session_list, sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.limits import Limit
from analyst.auth.provider import AuthProvider, LoginButton
from analyst.auth.sessions import Pair
from analyst.auth.single_use_tokens import USED, has_verifier, use
from analyst.errors import UnauthenticatedError
from analyst.settings import Settings
from analyst.store import Store
from analyst.store.compare_and_swap import put_once

LASTS: Final = timedelta(minutes=5)
"""The validity of a code."""

PER_CLIENT: Final = Limit("desktop-from", 60, timedelta(minutes=15))
"""Codes and refresh tokens that one client may try."""


_SHORT: Final = 8
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, without letters that look like digits."""
_ALIKE: Final = str.maketrans("OIL", "011")


class Desktop:
    """The provider. It does not sign browsers in, so it has no button."""

    name = "desktop"

    def is_available(self, settings: Settings) -> bool:  # noqa: ARG002 - as every provider
        """Return True: it needs no configuration."""
        return True

    def button(self, settings: Settings) -> LoginButton | None:  # noqa: ARG002 - as every provider
        """Return no button."""
        return None


PROVIDER: Final[AuthProvider] = Desktop()


def give_code(keys: Keys, caller: Caller, challenge: str, now: datetime, *, machine: str = "da") -> str:
    """Return a code that only the holder of the secret behind a PKCE challenge can use; `machine` is where that is."""
    return keys.sign(Purpose.DESKTOP, caller.user_id or "", now, LASTS, challenge=challenge, machine=machine)


def shorten(store: Store, code: str) -> str:
    """Return a short code of eight characters for a code, for typing.

    It is short enough to guess, but guessing is useless: the code behind it works only with the secret of the requesting `da`.
    """
    short = "".join(secrets.choice(_ALPHABET) for _ in range(_SHORT))
    put_once(store, _place(short), code.encode())
    return short


def _lengthen(store: Store, text: str) -> str:
    """Return the code behind a short code. Long codes, which browsers pass on, are returned unchanged."""
    short = "".join(text.split()).replace("-", "").upper().translate(_ALIKE)
    if len(short) != _SHORT or set(short) - set(_ALPHABET):
        return text
    found = store.read(_place(short))
    if found is None:
        raise UnauthenticatedError("the code is wrong or has expired; run `da login` again")
    return found.data.decode()


def _place(short: str) -> str:
    """Return the key of a short code, among the records of single use: the sweep removes it with them."""
    return USED + hashlib.sha256(f"desktop code {short}".encode()).hexdigest()


def take_code(code: str, verifier: str, *, keys: Keys, access: AccessReader, store: Store, now: datetime) -> Pair:
    """Exchange a code for tokens, which uses it up.

    Raises:
        UnauthenticatedError: it is invalid, used, or for another `da`, or its user may no longer sign in.
        UnavailableError: the store does not respond.
    """
    code = _lengthen(store, code)
    claims = keys.verify(Purpose.DESKTOP, code, now)
    if not has_verifier(str(claims["challenge"]), verifier):
        raise UnauthenticatedError("the code belongs to another `da login`; run `da login` again")
    session = sessions.begin(str(claims["sub"]), now)
    sessions.caller_of(session, access.current())
    use(store, code, now)
    session_list.record(store, session, "da", str(claims.get("machine", "da")), now)
    return sessions.for_program(keys, session, now)
