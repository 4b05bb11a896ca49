"""Find out who makes a request: by an access token, a session, or the proof of a service."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from analyst.access import SERVICE, TOKEN_PREFIX, AccessReader, Caller
from analyst.auth import sessions
from analyst.auth.keys import Keys
from analyst.errors import UnauthenticatedError


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows: its `Authorization` header, and the token in its session cookie."""

    authorization: str | None = None
    cookie: str | None = None


@dataclass(frozen=True, slots=True)
class Identification:
    """Finds out who callers are. `keys` and `services` are made when they are to be asked, not before.

    `services` identifies a service by its identity token.
    """

    access: AccessReader
    service_token: SecretStr | None
    keys: Callable[[], Keys]
    services: Callable[[str, datetime], Caller]

    def caller(self, shown: Credentials, now: datetime) -> Caller | None:
        """Find out who makes a request; without credentials it is nobody: `None`. A header goes before a cookie.

        Raises:
            UnauthenticatedError: what is shown proves nothing.
            UnavailableError: who may do what is not known now.
        """
        if shown.authorization is not None:
            return self._bearer(_bearer(shown.authorization), now)
        if shown.cookie is not None:
            return sessions.identify(self.keys(), shown.cookie, self.access, now)
        return None

    def _bearer(self, token: str, now: datetime) -> Caller:
        if is_secret(token, self.service_token):
            return SERVICE
        if not token.startswith(TOKEN_PREFIX) and token.count(".") == 2:  # noqa: PLR2004 - a JWT
            keys = self.keys()
            return sessions.identify(keys, token, self.access, now) if keys.knows(token) else self.services(token, now)
        return self.access.caller_of(token, now)


def is_secret(given: str, secret: SecretStr | None) -> bool:
    """Compare with a secret in constant time; one that is not set equals nothing."""
    return secret is not None and hmac.compare_digest(_bytes(given), _bytes(secret.get_secret_value()))


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("the Authorization header must be 'Bearer <access token>'")
    return token.strip()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
