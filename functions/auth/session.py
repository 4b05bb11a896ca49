"""Sign-in methods, and sign-out."""

from typing import Annotated

from pydantic import StringConstraints

from analyst.access import Role, Scope
from analyst.auth import sessions
from analyst.auth.provider import available_providers
from analyst.context import Context
from analyst.errors import ConflictError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.browser_session import signed_out
from analyst.http.pages import page
from analyst.state import actor
from analyst.state.fields import Input, Output
from analyst.state.users import end_all_sessions, end_session


class Provider(Output):
    """A sign-in method. One without a `url` is not for browsers."""

    name: str
    text: str | None
    url: str | None


class ProviderList(Output):
    """Sign-in methods, in the order in which to offer them."""

    providers: tuple[Provider, ...]


class LoginQuery(Input):
    """The page to open after sign-in."""

    next: Annotated[str, StringConstraints(max_length=2000)] = ""


@function("GET", "/auth/providers", allow=Allow.ANYBODY)
def list_providers(ctx: Context) -> ProviderList:
    """List the configured sign-in methods."""
    buttons = ((provider.name, provider.button(ctx.settings)) for provider in available_providers(ctx.settings))
    return ProviderList(
        providers=tuple(
            Provider(name=name, text=button and button.text, url=button and button.url) for name, button in buttons
        )
    )


@function("GET", "/login", allow=Allow.ANYBODY)
def login(query: LoginQuery, ctx: Context) -> Page:
    """Show the sign-in methods."""
    buttons = [button for it in available_providers(ctx.settings) if (button := it.button(ctx.settings)) is not None]
    return page(ctx, "login.html", title="Sign in", buttons=buttons, next=query.next)


@function(
    "POST",
    "/auth/logout",
    allow=Role.VIEWER,
    own_eyes=True,
    answers={409: "The request used an access token; revoke the token instead."},
)
def logout(ctx: Context) -> Redirect | None:
    """End the current session. Browsers are redirected to the sign-in page; programs receive 204."""
    session_id, user_id = ctx.caller.session_id, ctx.caller.user_id
    if session_id is None or user_id is None:
        raise ConflictError(
            "an access token has no session to end; revoke the token instead (DELETE /auth/tokens/{id})"
        )
    expires = ctx.now + sessions.REFRESH_LASTS
    ctx.state.edit(lambda db: end_session(db, actor(ctx), session_id, user_id, expires))
    return _gone(ctx)


@function("POST", "/auth/logout/everywhere", allow=Role.VIEWER, scope=Scope.ADMIN, own_eyes=True)
def logout_everywhere(ctx: Context) -> Redirect | None:
    """End all sessions of the caller on every device. Access tokens stay valid."""
    user_id = ctx.user_id
    ctx.state.edit(lambda db: end_all_sessions(db, actor(ctx), user_id))
    return _gone(ctx)


def _gone(ctx: Context) -> Redirect | None:
    is_browser = ctx.request.headers.get("Authorization") is None
    return Redirect("/login", 303, (signed_out(ctx),)) if is_browser else None
