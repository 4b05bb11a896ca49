"""The OAuth 2.1 authorization server of AI agents: its metadata, the checks of a request, and the exchange of codes and tokens.

Source: the authorization of the Model Context Protocol, revision 2026-07-28; RFC 6749, 7591, 8414, 9207 and 9728.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from analyst.access import AccessReader
from analyst.addresses import path_of
from analyst.agents.oauth_clients import Client
from analyst.auth import agent_grants, session_list
from analyst.auth.agent_grants import SCOPES, Tokens
from analyst.auth.keys import Keys
from analyst.errors import NotFoundError
from analyst.store import Store

RESOURCE: Final = "/mcp"
"""The path of the tools, the only resource for which tokens are issued."""
_GRANT_TYPES: Final = ("authorization_code", "refresh_token")
_CHALLENGE: Final = 43
"""Characters of a SHA-256 in URL-safe base64."""

MEANINGS: Final = {
    "read": "see the catalog: the tables and metrics that you can read",
    "query": "run read-only queries over these tables",
    "sync": "download these tables",
}
"""What each scope allows, as the consent page says it."""


class OAuthError(Exception):
    """A request is not valid; `error` is the code of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """The authorization server and its protected resource at an address of this server."""

    base_url: str

    @property
    def path(self) -> str:
        """The path of the address; empty if there is none."""
        return path_of(self.base_url)

    @property
    def resource(self) -> str:
        """The URL of the protected resource."""
        return self.base_url + RESOURCE

    def resource_metadata(self, path: str | None = None) -> dict[str, Any]:
        """Return the metadata of the protected resource (RFC 9728), which may be asked for by its path.

        Raises:
            NotFoundError: the path is another one.
        """
        if path is not None and path not in {self.path, self.path + RESOURCE}:
            raise NotFoundError(f"the protected resource is {self.resource}")
        return {
            "resource": self.resource,
            "authorization_servers": [self.base_url],
            "scopes_supported": [scope.value for scope in SCOPES],
            "bearer_methods_supported": ["header"],
            "resource_name": "AI Data Analyst",
        }

    def metadata(self, path: str | None = None) -> dict[str, Any]:
        """Return the metadata of the authorization server (RFC 8414), which may be asked for by its path.

        Raises:
            NotFoundError: the path is another one.
        """
        if path is not None and path != self.path:
            raise NotFoundError(f"the authorization server is {self.base_url}")
        return {
            "issuer": self.base_url,
            "authorization_endpoint": f"{self.base_url}/oauth/authorize",
            "token_endpoint": f"{self.base_url}/oauth/token",
            "revocation_endpoint": f"{self.base_url}/oauth/revoke",
            "registration_endpoint": f"{self.base_url}/oauth/register",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(_GRANT_TYPES),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": [scope.value for scope in SCOPES],
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
        }

    def require_authorization_request(self, asked: Mapping[str, str]) -> None:
        """Check the parameters of an authorization request, apart from its client.

        Raises:
            OAuthError: the response type, PKCE or the resource is not supported.
        """
        if asked.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        if asked.get("code_challenge_method") != "S256" or not is_challenge(asked.get("code_challenge", "")):
            raise OAuthError("invalid_request", "PKCE is required: code_challenge with the method S256")
        if asked.get("resource", self.resource).rstrip("/") not in {self.resource, self.base_url}:
            raise self._invalid_target()

    def redirect_url(self, redirect_uri: str, state: str, **members: str) -> str:
        """Return the URL that takes the browser back to a client, with the issuer (RFC 9207)."""
        more = {**members, **({"state": state} if state else {}), "iss": self.base_url}
        return f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{urlencode(more)}"

    def exchange(
        self, form: Mapping[str, str], *, keys: Keys, access: AccessReader, store: Store, now: datetime
    ) -> Tokens:
        """Exchange a code or a refresh token for tokens.

        Raises:
            OAuthError: the resource or the grant type is not supported.
            InvalidGrantError: the code or token is not valid.
            ReusedError: it was used before, so the caller must end its grant.
            UnavailableError: the store does not respond.
        """
        if form.get("resource", self.resource).rstrip("/") != self.resource:
            raise self._invalid_target()
        match form.get("grant_type"):
            case "authorization_code":
                return agent_grants.take_code(
                    form.get("code", ""),
                    verifier=form.get("code_verifier", ""),
                    client_id=form.get("client_id", ""),
                    redirect_uri=form.get("redirect_uri", ""),
                    keys=keys,
                    access=access,
                    store=store,
                    now=now,
                )
            case "refresh_token":
                tokens = agent_grants.refresh(
                    form.get("refresh_token", ""),
                    client_id=form.get("client_id", ""),
                    scopes=agent_grants.scopes_of(form.get("scope", "")),
                    keys=keys,
                    access=access,
                    store=store,
                    now=now,
                )
                if (grant := agent_grants.find(keys, tokens.refresh_token, now)) is not None:
                    session_list.refreshed(store, grant.session, "agent", now)
                return tokens
            case _:
                raise OAuthError("unsupported_grant_type", "use authorization_code or refresh_token")

    def _invalid_target(self) -> OAuthError:
        return OAuthError("invalid_target", f"the only resource is {self.resource}")


def form_of(body: bytes) -> dict[str, str]:
    """Return the parameters of a request for a token; none if the body can't be read."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return {}


def is_challenge(text: str) -> bool:
    """Return whether a string has the length of a PKCE challenge."""
    return len(text) == _CHALLENGE


def client_information(client: Client, now: datetime) -> dict[str, Any]:
    """Return the answer to a registration (RFC 7591)."""
    return {
        "client_id": client.id,
        "client_id_issued_at": int(now.timestamp()),
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(_GRANT_TYPES),
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


def token_response(tokens: Tokens) -> dict[str, Any]:
    """Return the answer to a token request (RFC 6749, section 5.1)."""
    return {
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
        "refresh_token": tokens.refresh_token,
        "scope": " ".join(tokens.scopes),
    }
