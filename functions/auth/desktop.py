"""Signing `da` in through the browser."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.access import Role
from analyst.auth import sessions
from analyst.auth.provider import require
from analyst.auth.providers.desktop import PER_CLIENT, PROVIDER, give_code, take_code
from analyst.auth.sessions import Pair
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.html import render
from analyst.state.fields import Input, Line

Challenge = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
State = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,100}$")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class DesktopRequest(Input):
    """Which `da` asks: on which machine, on which port of it a browser can tell it the code; without one it is shown."""

    challenge: Challenge
    state: State = ""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    machine: Line = "this machine"


class CodeRequest(Input):
    """The code that the browser gave, and the secret whose challenge it was given for."""

    code: Secret
    verifier: Secret


class RefreshRequest(Input):
    """The refresh token that came with the last tokens."""

    refresh_token: Secret


class Tokens(BaseModel):
    """What a program calls with, and what gives it the next of these, once. Seconds until they expire."""

    model_config = ConfigDict(frozen=True)

    token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


@function("GET", "/auth/desktop", allow=Role.VIEWER)
def desktop_page(request: DesktopRequest, ctx: Context) -> Page:
    """Ask whether `da` on that machine may act for whoever is signed in here."""
    require(PROVIDER, ctx.settings)
    page = render("desktop.html", title="Sign in to da", request=request, email=ctx.caller.email)
    return Page(page, form_targets=() if request.port is None else (f"http://127.0.0.1:{request.port}",))


@function("POST", "/auth/desktop", allow=Role.VIEWER)
def desktop_code(request: DesktopRequest, ctx: Context) -> Redirect | Page:
    """Give `da` its code: by the browser, or shown to be pasted. Only who signed in can: a token gives no session."""
    require(PROVIDER, ctx.settings)
    if ctx.caller.session_id is None:
        raise ForbiddenError("an access token can't begin a session: sign in with a browser")
    code = give_code(ctx.keys, ctx.caller, request.challenge, ctx.now)
    if request.port is None:
        return Page(render("desktop_code.html", title="Copy this to da", code=code))
    query = urlencode({"code": code, "state": request.state})
    return Redirect(f"http://127.0.0.1:{request.port}/?{query}", 303)


@function(
    "POST",
    "/auth/desktop/token",
    allow=Allow.ANYBODY,
    answers={401: "The code is wrong, used, or too old.", 429: "Too many were tried."},
)
def desktop_token(request: CodeRequest, ctx: Context) -> Tokens:
    """Give tokens for a code. It works once."""
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    pair, _caller = take_code(
        request.code, request.verifier, keys=ctx.keys, access=ctx.access, store=ctx.store, now=ctx.now
    )
    return _tokens(pair)


@function(
    "POST",
    "/auth/desktop/refresh",
    allow=Allow.ANYBODY,
    answers={401: "The session has ended: sign in again.", 429: "Too many were tried."},
)
def desktop_refresh(request: RefreshRequest, ctx: Context) -> Tokens:
    """Give the next tokens for a refresh token, which works once; again within a minute, when the answer was lost."""
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    return _tokens(sessions.refresh(ctx.keys, request.refresh_token, ctx.access, ctx.store, ctx.now))


def _tokens(pair: Pair) -> Tokens:
    return Tokens(
        token=pair.token,
        expires_in=pair.expires_in,
        refresh_token=pair.refresh_token,
        refresh_expires_in=pair.refresh_expires_in,
    )
