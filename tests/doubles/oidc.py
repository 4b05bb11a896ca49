"""An OpenID provider on loopback, made of a real one's parts: codes, PKCE, nonces, signed tokens, published keys.

It signs in at once whoever is `user`. What it does wrong is said by `claims`, which go over those of a token.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jwt
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc7636 import CodeChallenge
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, Response, jsonify, request
from jwt.algorithms import RSAAlgorithm
from werkzeug.serving import make_server

from tests.doubles.loopback import listening

CLIENT_ID = "our-client"
CLIENT_SECRET = "our-secret"


class _Client(ClientMixin):  # type: ignore[misc]
    """The one client that is registered; any loopback address may be its callback."""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == "http://localhost/auth/google/callback"

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class _Code(AuthorizationCodeMixin):  # type: ignore[misc]
    """One authorization code that was given out."""

    redirect_uri: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    scope: str = "openid email profile"

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


@dataclass
class Provider:
    """The provider as a test sees it."""

    url: str = ""
    user: Mapping[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, _Code] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    down: bool = False

    def __post_init__(self) -> None:
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = f"key-{time.monotonic_ns()}"

    def token(self, audience: str, **claims: Any) -> str:
        """Sign an identity token."""
        now = time.time()
        payload = {"iss": self.url, "aud": audience, "sub": "1", "iat": now, "exp": now + 3600, **claims}
        return jwt.encode(payload, self.key, "RS256", headers={"kid": self.kid})


def _grant(provider: Provider) -> type[Any]:
    class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post"]

        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            names = ("nonce", "code_challenge", "code_challenge_method")
            provider.codes[code] = _Code(request.payload.redirect_uri, *(data.get(name, "") for name in names))

        def query_authorization_code(self, code: str, _client: _Client) -> _Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, authorization_code: _Code) -> None:
            provider.codes = {code: kept for code, kept in provider.codes.items() if kept is not authorization_code}

        def authenticate_user(self, authorization_code: _Code) -> Mapping[str, Any]:
            return {**provider.user, "nonce": authorization_code.nonce}

    return CodeGrant


def _server(provider: Provider, application: Flask) -> AuthorizationServer:
    def save_token(token: dict[str, Any], request: Any) -> None:
        token["id_token"] = provider.token(CLIENT_ID, **{**request.user, **provider.claims})

    server = AuthorizationServer(application, lambda each: _Client() if each == CLIENT_ID else None, save_token)
    server.register_grant(_grant(provider), [CodeChallenge(required=True)])
    return server


def _application(provider: Provider) -> Flask:
    application = Flask("provider")
    server = _server(provider, application)

    def arrived() -> Response | None:
        provider.requests.append(request.path)
        return Response(status=503) if provider.down else None

    def configuration() -> Response:
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return jsonify(issuer=provider.url, **{name: f"{provider.url}/{path}" for name, path in endpoints.items()})

    def keys() -> Response:
        public = json.loads(RSAAlgorithm.to_jwk(provider.key.public_key()))
        return jsonify(keys=[{**public, "kid": provider.kid, "use": "sig", "alg": "RS256"}])

    def authorize() -> Any:
        user = provider.user or None
        return server.create_authorization_response(grant=server.get_consent_grant(end_user=user), grant_user=user)

    application.before_request(arrived)
    application.add_url_rule("/.well-known/openid-configuration", view_func=configuration)
    application.add_url_rule("/keys", view_func=keys)
    application.add_url_rule("/authorize", view_func=authorize)
    application.add_url_rule("/token", "token", server.create_token_response, methods=["POST"])
    return application


@contextmanager
def oidc_provider() -> Iterator[Provider]:
    """Run a provider."""
    provider = Provider()
    server = make_server("127.0.0.1", 0, _application(provider), threaded=True)
    with listening(server) as provider.url:
        yield provider
