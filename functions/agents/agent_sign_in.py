"""Sign-in of AI agents by OAuth 2.1: this server is the protected resource and its own authorization server.

Source: the authorization of the Model Context Protocol, revision 2026-07-28; RFC 6749, 7009, 7591, 8414, 9207, 9728.
"""

from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import RootModel, StringConstraints

from analyst.access import Role
from analyst.agents import oauth_clients
from analyst.agents.authorization_server import (
    MEANINGS,
    AuthorizationServer,
    OAuthError,
    client_information,
    form_of,
    is_challenge,
    token_response,
)
from analyst.agents.oauth_clients import Client, form_target
from analyst.auth import agent_grants, session_list, sessions
from analyst.auth.agent_grants import Grant, InvalidGrantError, ReusedError
from analyst.auth.limits import Limit
from analyst.auth.sessions import Session
from analyst.connectors.files.places.web import WebPlace
from analyst.context import Context
from analyst.errors import ForbiddenError, InvalidInputError
from analyst.http import Allow, Answer, Options, Page, Redirect, blocks, function
from analyst.http.pages import page
from analyst.state import actor
from analyst.state.fields import Input
from analyst.state.users import end_session

_PER_CLIENT: Final = Limit("agents-from", 120, timedelta(minutes=15))
_METADATA: Final = Options(allow=Allow.ANYBODY, foreign=True)
_OF_HOST: Final = Options(
    allow=Allow.ANYBODY, foreign=True, answers={404: "The address of this server has another path."}
)
"""A client puts the path of an address between `/.well-known/…` and the root of the host (RFC 8414, section 3.1)."""

Word = Annotated[str, StringConstraints(max_length=4000)]


class Document(RootModel[Any]):
    """A JSON document of OAuth."""


_POST: Final = Options(
    allow=Allow.ANYBODY,
    answers={400: Document, 429: "Too many attempts."},
    binary=True,
    foreign=True,
    body_limit=64_000,
)


class Consent(Input):
    """What the consent page was about; `decision` is `allow` or `deny`."""

    client_id: Word
    redirect_uri: Word
    code_challenge: Word
    scope: Word = ""
    state: Word = ""
    decision: Word = "deny"


@function("GET", "/.well-known/oauth-protected-resource", **_METADATA)
def protected_resource(ctx: Context) -> Answer[Document]:
    """Describe the protected resource (RFC 9728)."""
    return Answer(Document(_server(ctx).resource_metadata()))


@function("GET", "/.well-known/oauth-protected-resource/mcp", **_METADATA)
def protected_tools(ctx: Context) -> Answer[Document]:
    """Describe the protected resource `/mcp` (RFC 9728)."""
    return Answer(Document(_server(ctx).resource_metadata()))


@function("GET", "/.well-known/oauth-authorization-server", **_METADATA)
def authorization_server(ctx: Context) -> Answer[Document]:
    """Describe the authorization server (RFC 8414)."""
    return Answer(Document(_server(ctx).metadata()))


@function("GET", "/.well-known/oauth-protected-resource/{place:path}", **_OF_HOST)
def protected_resource_of_host(place: str, ctx: Context) -> Answer[Document]:
    """Describe the protected resource to clients that ask at the root of the host, if the server's address has a path."""
    return Answer(Document(_server(ctx).resource_metadata(f"/{place}")))


@function("GET", "/.well-known/oauth-authorization-server/{place:path}", **_OF_HOST)
def authorization_server_of_host(place: str, ctx: Context) -> Answer[Document]:
    """Describe the authorization server to clients that ask at the root of the host, if the server's address has a path."""
    return Answer(Document(_server(ctx).metadata(f"/{place}")))


@function("POST", "/oauth/register", **(_POST | {"answers": {201: Document, 400: Document, 429: "Too many attempts."}}))
def register_client(ctx: Context) -> Answer[Document]:
    """Register a public client (RFC 7591), for clients that have no metadata document. Nothing is stored."""
    try:
        client = oauth_clients.register(ctx.keys, b"".join(blocks(ctx.request)), ctx.now)
    except InvalidInputError as error:
        return _failed("invalid_client_metadata", str(error))
    ctx.limits.count(_PER_CLIENT, ctx.client_network, ctx.now)
    return Answer(Document(client_information(client, ctx.now)), 201)


@function("GET", "/oauth/authorize", allow=Role.VIEWER, foreign=True)
def authorize_agent(ctx: Context) -> Redirect | Page:
    """Ask the signed-in user whether an agent may read their data."""
    asked = {name: values[0] for name, values in ctx.request.args.lists()}
    client, redirect_uri = _client(ctx, asked.get("client_id", ""), asked.get("redirect_uri", ""))
    state = asked.get("state", "")[:4000]
    try:
        _server(ctx).require_authorization_request(asked)
    except OAuthError as error:
        return _back(ctx, redirect_uri, state, error=error.error, error_description=str(error))
    scopes = agent_grants.scopes_of(asked.get("scope", ""))
    return page(
        ctx,
        "agent_consent.html",
        title="Connect an agent",
        form_targets=(form_target(redirect_uri),),
        client=client.name,
        place=urlsplit(redirect_uri).netloc or urlsplit(redirect_uri).scheme,
        origin=client.origin,
        email=ctx.caller.email,
        meanings=[MEANINGS[scope.value] for scope in scopes],
        fields={
            "client_id": client.id,
            "redirect_uri": redirect_uri,
            "code_challenge": asked["code_challenge"],
            "scope": " ".join(scopes),
            "state": state,
        },
    )


@function("POST", "/oauth/authorize", allow=Role.VIEWER, decides=True)
def decide_on_agent(consent: Consent, ctx: Context) -> Redirect | Page:
    """Send a code to the agent that the user allowed. Requires a browser session."""
    if ctx.caller.session_id is None:
        raise ForbiddenError("an access token can't connect an agent; sign in with a browser")
    client, redirect_uri = _client(ctx, consent.client_id, consent.redirect_uri)
    if consent.decision != "allow":
        return _back(ctx, redirect_uri, consent.state, error="access_denied")
    if not is_challenge(consent.code_challenge):
        return _back(ctx, redirect_uri, consent.state, error="invalid_request")
    scopes = agent_grants.scopes_of(consent.scope)
    grant = Grant(sessions.begin(ctx.user_id, ctx.now), consent.client_id, scopes, _server(ctx).resource)
    code = agent_grants.give_code(ctx.keys, grant, redirect_uri, consent.code_challenge, ctx.now)
    session_list.record(ctx.store, grant.session, "agent", client.name, ctx.now)
    ctx.audited(client=client.name, scopes=list(scopes))
    return _back(ctx, redirect_uri, consent.state, code=code)


@function("POST", "/oauth/token", **_POST)
def exchange_token(ctx: Context) -> Answer[Document]:
    """Exchange a code or a refresh token for tokens. Each works once; using it again ends the grant."""
    ctx.limits.count(_PER_CLIENT, ctx.client_network, ctx.now)
    form = form_of(b"".join(blocks(ctx.request)))
    try:
        tokens = _server(ctx).exchange(form, keys=ctx.keys, access=ctx.access, store=ctx.store, now=ctx.now)
    except OAuthError as error:
        return _failed(error.error, str(error))
    except ReusedError as error:
        _end(ctx, error.session)
        ctx.audited(reused=form["grant_type"])
        return _failed("invalid_grant", str(error))
    except InvalidGrantError as error:
        return _failed("invalid_grant", str(error))
    return Answer(Document(token_response(tokens)))


@function("POST", "/oauth/revoke", **_POST)
def revoke_grant(ctx: Context) -> Answer[Document]:
    """End the grant of a token (RFC 7009): its access and refresh tokens are void at once. Unknown tokens are ignored."""
    token = form_of(b"".join(blocks(ctx.request))).get("token")
    if not token:
        return _failed("invalid_request", "'token' is missing")
    ctx.limits.count(_PER_CLIENT, ctx.client_network, ctx.now)
    grant = agent_grants.find(ctx.keys, token, ctx.now)
    if grant is not None:
        _end(ctx, grant.session)
    return Answer(Document({}))


def _end(ctx: Context, session: Session) -> None:
    expires, by = ctx.now + agent_grants.REFRESH_LASTS, actor(ctx)
    ctx.state.edit(lambda db: end_session(db, by, session.id, session.user_id, expires))


def _client(ctx: Context, client_id: str, redirect_uri: str) -> tuple[Client, str]:
    """Return the client and where its codes go.

    Raises:
        InvalidInputError: the client is unknown, or has not registered the address: nothing may be sent there.
    """
    if client_id.startswith("https://"):
        ctx.limits.count(_PER_CLIENT, ctx.client_network, ctx.now)
    client = oauth_clients.find(client_id, ctx.keys, ctx.now, lambda url: WebPlace(url).read(oauth_clients.LONGEST))
    return client, client.redirect_to(redirect_uri)


def _server(ctx: Context) -> AuthorizationServer:
    return AuthorizationServer(ctx.base_url)


def _back(ctx: Context, redirect_uri: str, state: str, **members: str) -> Redirect:
    return Redirect(_server(ctx).redirect_url(redirect_uri, state, **members), 303)


def _failed(error: str, description: str) -> Answer[Document]:
    return Answer(Document({"error": error, "error_description": description[:500]}), 400)
