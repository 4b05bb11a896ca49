"""Sign-in of `da` through the browser."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.auth import session_list, sessions
from analyst.auth.provider import require
from analyst.auth.providers.desktop import PER_CLIENT, PROVIDER, give_code, shorten, take_code
from analyst.auth.sessions import Pair
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.pages import page
from analyst.state.fields import Input, Line, Output
from analyst.validation import Matching

Challenge = Annotated[str, Matching(r"^[A-Za-z0-9_-]{43}$", "a SHA-256 in URL-safe base64 without padding")]
State = Annotated[str, Matching(r"^[A-Za-z0-9_-]{0,100}$", "at most 100 letters, digits, - and _")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class DesktopRequest(Input):
    """A sign-in request of `da`: its PKCE challenge, its machine, and the loopback port for the code, if it listens."""

    challenge: Challenge
    state: State = ""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    machine: Line = "this machine"


class CodeRequest(Input):
    """The code from the browser, and the PKCE verifier of the challenge."""

    code: Secret
    verifier: Secret


class RefreshRequest(Input):
    """The refresh token of the last response."""

    refresh_token: Secret


class Tokens(Output):
    """An access token, and a single-use refresh token for the next pair. `expires_in` values are in seconds."""

    token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


@function("GET", "/auth/desktop", allow=Role.VIEWER)
def desktop_page(request: DesktopRequest, ctx: Context) -> Page:
    """Ask the signed-in user whether `da` on that machine may act on their behalf."""
    require(PROVIDER, ctx.settings)
    targets = () if request.port is None else (f"http://127.0.0.1:{request.port}",)
    email = ctx.caller.email
    return page(ctx, "desktop.html", title="Sign in to da", form_targets=targets, request=request, email=email)


@function("POST", "/auth/desktop", allow=Role.VIEWER)
def desktop_code(request: DesktopRequest, ctx: Context) -> Redirect | Page:
    """Return the code to `da`: by redirect to its port, or on a page for pasting. Requires a browser session."""
    require(PROVIDER, ctx.settings)
    if ctx.caller.session_id is None:
        raise ForbiddenError("an access token can't start a session; sign in with a browser")
    code = give_code(ctx.keys, ctx.caller, request.challenge, ctx.now, machine=request.machine)
    if request.port is None:
        return page(ctx, "desktop_code.html", title="Your code for da", code=shorten(ctx.store, code))
    query = urlencode({"code": code, "state": request.state})
    return Redirect(f"http://127.0.0.1:{request.port}/?{query}", 303)


@function(
    "POST",
    "/auth/desktop/token",
    allow=Allow.ANYBODY,
    answers={401: "The code is invalid, used or expired.", 429: "Too many attempts."},
)
def desktop_token(request: CodeRequest, ctx: Context) -> Tokens:
    """Exchange a code for tokens. A code works once."""
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    pair = take_code(request.code, request.verifier, keys=ctx.keys, access=ctx.access, store=ctx.store, now=ctx.now)
    return _tokens(pair)


@function(
    "POST",
    "/auth/desktop/refresh",
    allow=Allow.ANYBODY,
    answers={401: "The session has ended; sign in again.", 429: "Too many attempts."},
)
def desktop_refresh(request: RefreshRequest, ctx: Context) -> Tokens:
    """Exchange a refresh token for new tokens. It works once; a repeated request within a minute is accepted."""
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    pair = sessions.refresh(ctx.keys, request.refresh_token, ctx.access, ctx.store, ctx.now)
    session = sessions.read_refresh(ctx.keys, pair.refresh_token, ctx.now)
    session_list.refreshed(ctx.store, session, "da", ctx.now)
    return _tokens(pair)


def _tokens(pair: Pair) -> Tokens:
    return Tokens(
        token=pair.token,
        expires_in=pair.expires_in,
        refresh_token=pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in,
    )
