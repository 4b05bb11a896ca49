"""Find out who makes a request."""

import hmac
from datetime import datetime

from pydantic import SecretStr

from analyst.access import SERVICE, AccessReader, Caller
from analyst.errors import UnauthenticatedError


def identify(
    authorization: str | None, access: AccessReader, service_token: SecretStr | None, now: datetime
) -> Caller | None:
    """Find out who makes a request by its `Authorization` header; without one it is nobody: `None`.

    Raises:
        UnauthenticatedError: the header proves nothing.
        UnavailableError: who may do what is not known now.
    """
    if authorization is None:
        return None
    token = _bearer(authorization)
    if is_secret(token, service_token):
        return SERVICE
    return access.caller_of(token, now)


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
