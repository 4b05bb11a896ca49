"""Sign-in with Google or another OpenID provider: the authorization code flow with PKCE, state and nonce."""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from analyst.addresses import normal_email
from analyst.auth.keys import Keys, Purpose
from analyst.auth.oidc import Issuer
from analyst.auth.provider import AuthProvider, LoginButton
from analyst.auth.sign_in import Proven
from analyst.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from analyst.settings import Settings

LASTS: Final = timedelta(minutes=10)
"""The time that a person may take at the provider."""

_GOOGLE: Final = "https://accounts.google.com"
_LONGEST_SUBJECT: Final = 255
_SCOPE: Final = "openid email profile"
_TIMEOUT: Final = 10.0


class Google:
    """The provider. It needs `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET`."""

    name = "google"

    def is_available(self, settings: Settings) -> bool:
        """Return whether client and redirect URI are configured."""
        return None not in (settings.google_client_id, settings.google_client_secret, settings.base_url)

    def button(self, settings: Settings) -> LoginButton:  # noqa: ARG002 - as every provider
        """Return the button."""
        return LoginButton("Sign in with Google", "/auth/google", 10)


PROVIDER: Final[AuthProvider] = Google()


@dataclass(frozen=True, slots=True)
class Departure:
    """A redirect to the provider: its URL, and the cookie that the browser keeps meanwhile."""

    url: str
    kept: str


def depart(issuer: Issuer, settings: Settings, keys: Keys, *, redirect_uri: str, then: str, now: datetime) -> Departure:
    """Prepare a redirect to the provider.

    Raises:
        UnavailableError: the provider does not respond.
    """
    verifier, state, nonce = (secrets.token_urlsafe(size) for size in (48, 24, 24))
    domains = settings.allowed_domains
    more = {"hd": domains[0]} if len(domains) == 1 else {}
    client = _client(settings, redirect_uri)
    url, _ = client.create_authorization_url(
        issuer.endpoint("authorization_endpoint"),
        state=state,
        nonce=nonce,
        code_verifier=verifier,
        prompt="select_account",
        **more,
    )
    kept = keys.sign(Purpose.OAUTH, state, now, LASTS, nonce=nonce, verifier=verifier, next=then)
    return Departure(str(url), kept)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A return from the provider: the proven identity, and the page to open next."""

    proven: Proven
    then: str


def arrive(
    issuer: Issuer,
    settings: Settings,
    keys: Keys,
    *,
    redirect_uri: str,
    kept: str,
    state: str,
    code: str,
    named_issuer: str,
    now: datetime,
) -> Arrival:
    """Verify a return from the provider.

    Raises:
        UnauthenticatedError: another browser started the visit, it took too long, or no identity was proven.
        ForbiddenError: the provider did not verify the e-mail address.
        UnavailableError: the provider does not respond.
    """
    left = keys.verify(Purpose.OAUTH, kept, now)
    if not hmac.compare_digest(str(left["sub"]).encode(), state.encode(errors="replace")):
        raise UnauthenticatedError("this sign-in was started in another browser or tab; start again")
    if named_issuer and named_issuer.rstrip("/") != issuer.url:  # RFC 9207: the response of another provider
        raise UnauthenticatedError("the response is from a different identity provider; start again")
    token = _exchange(issuer, settings, redirect_uri, code, str(left["verifier"]))
    claims = issuer.verify(token, settings.google_client_id or "", now)
    _require_for_us(claims, settings.google_client_id or "")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(errors="replace"), str(left["nonce"]).encode()):
        raise UnauthenticatedError("the identity token does not belong to this sign-in; start again")
    return Arrival(_proven(claims, issuer.url, settings), str(left["next"]))


def _exchange(issuer: Issuer, settings: Settings, redirect_uri: str, code: str, verifier: str) -> str:
    """Exchange a code for the identity token."""
    from authlib.common.errors import AuthlibBaseError
    from requests import RequestException

    endpoint = issuer.endpoint("token_endpoint")
    try:
        with _client(settings, redirect_uri) as client:
            answer = client.fetch_token(endpoint, code=code, code_verifier=verifier, timeout=_TIMEOUT)
    except AuthlibBaseError as error:
        raise UnauthenticatedError("the identity provider rejected the sign-in; start again") from error
    except (RequestException, ValueError) as error:
        raise UnavailableError(f"{issuer.url} does not answer: {type(error).__name__}") from error
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise UnauthenticatedError("the identity provider returned no identity token; start again")
    return token


def _require_for_us(claims: Mapping[str, Any], client_id: str) -> None:
    """Reject a token that was issued to another client (OpenID Connect Core, section 3.1.3.7).

    Raises:
        UnauthenticatedError: it was, or it has several audiences and does not name the client.
    """
    audience, party = claims.get("aud"), claims.get("azp")
    is_for_several = isinstance(audience, list) and len(audience) > 1
    if party != client_id and (party is not None or is_for_several):
        raise UnauthenticatedError("the identity token was issued to another client; start again")


def _proven(claims: Mapping[str, Any], issuer: str, settings: Settings) -> Proven:
    """Return the identity in the claims.

    Raises:
        UnauthenticatedError: they have no valid subject.
        ForbiddenError: the provider has not verified the e-mail address.
    """
    email, name, subject = claims.get("email"), claims.get("name"), claims.get("sub")
    if not isinstance(subject, str) or not subject.isascii() or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise UnauthenticatedError("the identity token has no valid subject; start again")
    is_trusted = issuer in {url.rstrip("/") for url in settings.trusted_email_issuers}
    is_verified = claims["email_verified"] is True if "email_verified" in claims else is_trusted
    if not isinstance(email, str) or not is_verified:
        raise ForbiddenError(
            "the identity provider has not verified this e-mail address; verify it there and try again"
        )
    email = normal_email(email)
    _require_domain(email, claims, issuer, settings)
    return Proven(email, PROVIDER.name, name if isinstance(name, str) else None, issuer, subject)


def _require_domain(email: str, claims: Mapping[str, Any], issuer: str, settings: Settings) -> None:
    """Check the organization of the account (`hd`) against the domain of its address.

    Anybody can create a Google account for an address that they once had. Only an account with `hd` is managed by an
    organization, so only such accounts may sign in by their domain.

    Raises:
        ForbiddenError: it belongs to another organization, or to none although only that would admit it.
    """
    domain, organization = email.rpartition("@")[2], claims.get("hd")
    if organization is None:
        is_managed = issuer != _GOOGLE
    else:
        is_managed = isinstance(organization, str) and normal_email(organization) in {domain, *settings.allowed_domains}
    if not is_managed and (organization is not None or domain in settings.allowed_domains):
        raise ForbiddenError(
            "this account is not managed by your organization; sign in with your organization's account"
        )


def _client(settings: Settings, redirect_uri: str) -> Any:
    """Return the OAuth client, with PKCE."""
    from authlib.integrations.requests_client import OAuth2Session

    secret = settings.google_client_secret
    return OAuth2Session(
        client_id=settings.google_client_id,
        client_secret=None if secret is None else secret.get_secret_value(),
        scope=_SCOPE,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )
