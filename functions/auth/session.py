"""Signing in and out: the ways there are, the page that lists them, and the account's own page."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from analyst.access import Role, Scope
from analyst.auth import sessions
from analyst.auth.callers import who_is
from analyst.auth.provider import available_providers
from analyst.context import Context
from analyst.errors import ConflictError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.html import render
from analyst.http.signed_in import signed_out
from analyst.state import actor
from analyst.state.fields import Input
from analyst.state.users import end_all_sessions, end_session


class Provider(BaseModel):
    """A way to sign in. Without a `url` it is not for browsers."""

    model_config = ConfigDict(frozen=True)

    name: str
    text: str | None
    url: str | None


class ProviderList(BaseModel):
    """Ways to sign in, in the order in which to offer them."""

    model_config = ConfigDict(frozen=True)

    providers: tuple[Provider, ...]


class LoginQuery(Input):
    """Which page of ours to go on to."""

    next: Annotated[str, StringConstraints(max_length=2000)] = ""


@function("GET", "/auth/providers", allow=Allow.ANYBODY)
def list_providers(ctx: Context) -> ProviderList:
    """List the ways to sign in that are set up here."""
    buttons = ((provider.name, provider.button(ctx.settings)) for provider in available_providers(ctx.settings))
    return ProviderList(
        providers=tuple(
            Provider(name=name, text=button and button.text, url=button and button.url) for name, button in buttons
        )
    )


@function("GET", "/login", allow=Allow.ANYBODY)
def login(query: LoginQuery, ctx: Context) -> Page:
    """Show the ways to sign in."""
    buttons = [button for it in available_providers(ctx.settings) if (button := it.button(ctx.settings)) is not None]
    return Page(render("login.html", title="Sign in", buttons=buttons, next=query.next))


@function("GET", "/account", allow=Role.VIEWER)
def account(ctx: Context) -> Page:
    """Show who is signed in, and let them sign out."""
    return Page(render("account.html", title="Your account", me=who_is(ctx.access.current(), ctx.caller)))


@function("POST", "/auth/logout", allow=Role.VIEWER, answers={409: "It is an access token: revoke it instead."})
def logout(ctx: Context) -> Redirect | None:
    """End the session that this is asked in: a browser goes on to the sign-in page, a program gets 204."""
    session_id, user_id = ctx.caller.session_id, ctx.caller.user_id
    if session_id is None or user_id is None:
        raise ConflictError("this is an access token and no session: revoke it instead (DELETE /auth/tokens/{id})")
    expires = ctx.now + sessions.REFRESH_LASTS
    ctx.state.edit(lambda db: end_session(db, actor(ctx), session_id, user_id, expires))
    return _gone(ctx)


@function("POST", "/auth/logout/everywhere", allow=Role.VIEWER, scope=Scope.ADMIN)
def logout_everywhere(ctx: Context) -> Redirect | None:
    """End all sessions of the caller, on every device. Access tokens stay valid."""
    user_id = ctx.caller.user_id or ""
    ctx.state.edit(lambda db: end_all_sessions(db, actor(ctx), user_id))
    return _gone(ctx)


def _gone(ctx: Context) -> Redirect | None:
    is_browser = ctx.request.headers.get("Authorization") is None
    return Redirect("/login", 303, (signed_out(ctx),)) if is_browser else None
