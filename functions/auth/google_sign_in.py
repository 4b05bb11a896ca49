"""Sign-in with Google or another OpenID provider."""

from typing import Annotated

from pydantic import StringConstraints

from analyst.auth.provider import require
from analyst.auth.providers.google import LASTS, PROVIDER, arrive, depart
from analyst.context import Context
from analyst.errors import UnauthenticatedError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.answers import Cookie, cookie_of
from analyst.http.browser_session import sign_browser_in
from analyst.http.pages import page
from analyst.state.fields import Input

Word = Annotated[str, StringConstraints(max_length=4000)]

_CALLBACK = "/auth/google/callback"
_COOKIE = "da_google"


class GoogleQuery(Input):
    """The page to open after sign-in."""

    next: Annotated[str, StringConstraints(max_length=2000)] = ""


class GoogleCallback(Input):
    """The parameters that the provider adds to the callback; most of them are ignored."""

    state: Word = ""
    code: Word = ""
    error: Word = ""
    error_description: Word = ""
    error_uri: Word = ""
    scope: Word = ""
    authuser: Word = ""
    prompt: Word = ""
    hd: Word = ""
    iss: Word = ""
    session_state: Word = ""


@function("GET", "/auth/google", allow=Allow.ANYBODY)
def google_login(query: GoogleQuery, ctx: Context) -> Redirect | Page:
    """Redirect the browser to the provider."""
    require(PROVIDER, ctx.settings)
    departure = depart(
        ctx.process.google,
        ctx.settings,
        ctx.keys,
        redirect_uri=ctx.base_url + _CALLBACK,
        then=query.next,
        now=ctx.now,
    )
    return Redirect(departure.url, 303, (_kept(ctx, departure.kept, int(LASTS.total_seconds())),))


@function("GET", _CALLBACK, allow=Allow.ANYBODY)
def google_callback(query: GoogleCallback, ctx: Context) -> Redirect | Page:
    """Sign in the user that the provider has authenticated."""
    require(PROVIDER, ctx.settings)
    ctx.signs_in(PROVIDER.name)
    if query.error:
        text = "You were not signed in. Nothing has changed. Try again, or use another method."
        return page(
            ctx,
            "message.html",
            title="Not signed in",
            status=401,
            cookies=(_kept(ctx, "", 0),),
            text=text,
            request_id=None,
            links=[{"url": "/login", "text": "Sign in"}],
        )
    kept = cookie_of(ctx.request, _COOKIE, secure=ctx.is_secure)
    if kept is None:
        raise UnauthenticatedError("this sign-in was started in another browser, or too long ago; start again")
    arrival = arrive(
        ctx.process.google,
        ctx.settings,
        ctx.keys,
        redirect_uri=ctx.base_url + _CALLBACK,
        kept=kept,
        state=query.state,
        code=query.code,
        named_issuer=query.iss,
        now=ctx.now,
    )
    signed_in = sign_browser_in(ctx, arrival.proven, arrival.then)
    return Redirect(signed_in.url, signed_in.status, (*signed_in.cookies, _kept(ctx, "", 0)))


def _kept(ctx: Context, value: str, max_age: int) -> Cookie:
    return Cookie(_COOKIE, value, max_age, secure=ctx.is_secure)
