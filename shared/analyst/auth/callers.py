"""Identification of callers: by access token, session, or identity token of a service."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, SecretStr

from analyst.access import SERVICE, TOKEN_PREFIX, AccessList, AccessReader, Caller, Role
from analyst.addresses import normal_email
from analyst.auth import agent_grants, script_tokens, sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.oidc import Issuer
from analyst.errors import UnauthenticatedError
from analyst.settings import Settings


class MyToken(BaseModel):
    """The access token of the request."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    expires_at: datetime | None


class Me(BaseModel):
    """The caller. `groups` are names. A service has no user."""

    model_config = ConfigDict(frozen=True)

    user_id: str | None
    email: str | None
    name: str | None
    role: Role
    groups: tuple[str, ...]
    service: bool
    token: MyToken | None


def who_is(access: AccessList, caller: Caller) -> Me:
    """Describe a caller by the access list alone."""
    user = access.users.get(caller.user_id or "")
    return Me(
        user_id=caller.user_id,
        email=caller.email,
        name=None if user is None else user.name,
        role=caller.role,
        groups=tuple(sorted(access.groups[group] for group in caller.groups if group in access.groups)),
        service=caller.is_service,
        token=_token(access, caller),
    )


def _token(access: AccessList, caller: Caller) -> MyToken | None:
    found = (token for token in access.tokens.values() if token.id == caller.token_id)
    return next((MyToken(id=token.id, name=token.name, expires_at=token.expires) for token in found), None)


def identify_service(token: str, issuer: Issuer, settings: Settings, now: datetime) -> Caller:
    """Authenticate a configured service account.

    Raises:
        UnauthenticatedError: the token belongs to no configured service account.
        UnavailableError: the issuer's keys are unavailable.
    """
    audience = settings.service_audience or settings.base_url
    if not settings.service_account_emails or audience is None:
        raise UnauthenticatedError("the token was not issued by this server")
    claims = issuer.verify(token, audience.rstrip("/"), now)
    email = normal_email(str(claims.get("email", "")))
    if claims.get("email_verified") is not True or email not in settings.service_account_emails:
        raise UnauthenticatedError("this service account is not listed in SERVICE_ACCOUNT_EMAILS")
    return SERVICE


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request: its `Authorization` header, and the token in its session cookie."""

    authorization: str | None = None
    cookie: str | None = None


@dataclass(frozen=True, slots=True)
class Identification:
    """Identifies callers. `keys` and `services` are created when they are first needed.

    `services` identifies a service by its identity token. `resource` is the address of the function, if agents may call it
    with tokens of their own.
    """

    access: AccessReader
    service_token: SecretStr | None
    keys: Callable[[], Keys]
    services: Callable[[str, datetime], Caller]
    resource: str | None = None

    def caller(self, shown: Credentials, now: datetime) -> Caller | None:
        """Identify the caller of a request, `None` without credentials. The header overrides the cookie.

        Raises:
            UnauthenticatedError: the credentials are invalid.
            UnavailableError: the access list is unavailable.
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
            if keys.is_for(token, Purpose.AGENT):
                return agent_grants.identify(keys, token, self.access, self.resource, now)
            if keys.is_for(token, Purpose.SCRIPT):
                return script_tokens.identify(keys, token, self.access, now)
            return sessions.identify(keys, token, self.access, now) if keys.knows(token) else self.services(token, now)
        return self.access.caller_of(token, now)


def is_secret(given: str, secret: SecretStr | None) -> bool:
    """Compare with a secret in constant time; a secret that is not set equals nothing."""
    return secret is not None and hmac.compare_digest(_bytes(given), _bytes(secret.get_secret_value()))


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("the Authorization header is malformed; send 'Authorization: Bearer <access token>'")
    return token.strip()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
