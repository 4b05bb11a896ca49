"""The signing keys of an installation, of which several are valid during a rotation.

A signed token is a JWT (HS256). Its header names the key (`kid`), its audience the purpose. Each purpose signs with a
key of its own that is derived from the secret, so that a token of one purpose is never valid for another.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from analyst.errors import UnauthenticatedError

_ISSUER: Final = "ai-data-analyst"
_ALGORITHM: Final = "HS256"
_REQUIRED: Final = ("iss", "aud", "sub", "iat", "exp")


class Purpose(StrEnum):
    """The single purpose of a signed token."""

    SESSION = "session"
    REFRESH = "refresh"
    MAGIC_LINK = "magic-link"
    SET_UP = "set-up"
    RESET = "reset"
    DESKTOP = "desktop"
    OAUTH = "oauth"
    """The state that a browser keeps during a visit to an identity provider."""
    AGENT = "agent"
    AGENT_REFRESH = "agent-refresh"
    AGENT_CODE = "agent-code"
    AGENT_CLIENT = "agent-client"
    """The registration of an OAuth client, which is its id."""
    SCRIPT = "script"
    """One run of a script: its token only reads."""
    STORAGE = "storage"
    """Credentials for the files of a table; the secret that belongs to them is derived from the token."""
    RECEIPT = "receipt"
    """What the result of a query was computed from; its subject is the hash of that."""


class Keys:
    """Signing keys, newest first: the first one signs, all of them verify.

    Args:
        secrets: of the installation; a rotated one stays behind the new one until all it signed has expired.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = {_kid(secret): secret for secret in secrets}
        self._current = _kid(secrets[0])

    def sign(self, purpose: Purpose, subject: str, now: datetime, lasts: timedelta, **claims: Any) -> str:
        """Sign a token about a subject. `claims` are JSON values that the holder of the token can read."""
        import jwt

        registered = {
            "iss": _ISSUER,
            "aud": purpose.value,
            "sub": subject,
            "iat": now.timestamp(),
            "exp": (now + lasts).timestamp(),
        }
        key = self._key(self._current, purpose)
        return jwt.encode({**claims, **registered}, key, algorithm=_ALGORITHM, headers={"kid": self._current})

    def verify(self, purpose: Purpose, token: str, now: datetime) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            UnauthenticatedError: it was not signed here for this purpose, or it has expired.
        """
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                self._key(kid, purpose),
                algorithms=[_ALGORITHM],
                audience=purpose.value,
                issuer=_ISSUER,
                options={
                    "require": list(_REQUIRED),
                    "verify_exp": False,
                    "verify_iat": False,
                },  # checked below, by our clock
            )
            expires = datetime.fromtimestamp(claims["exp"], UTC)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UnauthenticatedError("the token is invalid; sign in again, or ask for a new link") from error
        if expires <= now:
            raise UnauthenticatedError("this token or link has expired; sign in again, or ask for a new link")
        return claims

    def secret_of(self, purpose: Purpose, token: str) -> str:
        """Return the secret that belongs to a token which was signed here: 40 characters that its text does not reveal."""
        import jwt

        key = self._key(jwt.get_unverified_header(token).get("kid"), purpose)
        return hmac.new(key, f"secret {token}".encode(), hashlib.sha256).hexdigest()[:40]

    def codes(self, purpose: Purpose, text: str) -> tuple[str, ...]:
        """Return the six-digit codes of a string: by the newest key, and by the previous ones."""
        return tuple(_digits(self._key(kid, purpose), text) for kid in self._secrets)

    def knows(self, token: str) -> bool:
        """Return whether a token names one of these keys; it need not be signed with it."""
        import jwt

        try:
            return jwt.get_unverified_header(token).get("kid") in self._secrets
        except (jwt.InvalidTokenError, TypeError, UnicodeError):
            return False

    @staticmethod
    def is_for(token: str, purpose: Purpose) -> bool:
        """Return whether a token says that it is for a purpose; whether that is true, only `verify` finds out."""
        import jwt

        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, TypeError, UnicodeError):
            return False
        return bool(claims.get("aud") == purpose.value)

    def _key(self, kid: object, purpose: Purpose) -> bytes:
        return hmac.new(self._secrets[str(kid)], f"da {purpose} 1".encode(), hashlib.sha256).digest()


def _digits(key: bytes, text: str) -> str:
    number = int.from_bytes(hmac.new(key, f"code {text}".encode(), hashlib.sha256).digest())
    return f"{number % 1_000_000:06}"


def _kid(secret: bytes) -> str:
    return hashlib.sha256(b"da kid\n" + secret).hexdigest()[:8]
