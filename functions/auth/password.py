"""Sign-in by password, and setting one."""

from functools import partial
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from analyst.access import Role, Scope
from analyst.auth.keys import Purpose
from analyst.auth.links import CodeError
from analyst.auth.provider import require
from analyst.auth.providers import password as passwords
from analyst.auth.providers.password import LONGEST, PROVIDER, RESETS_FROM, RESETS_TO, require_mail
from analyst.auth.sign_in import Proven
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError, UnauthenticatedError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.browser_session import link_cookie_of, mail_link, shown_with_link, sign_browser_in
from analyst.http.pages import page
from analyst.mail import can_send
from analyst.state import actor
from analyst.state.fields import Email, Input

Password = Annotated[SecretStr, Field(max_length=4 * LONGEST)]
Token = Annotated[str, StringConstraints(max_length=4000)]
Path = Annotated[str, StringConstraints(max_length=2000)]


class PasswordPageQuery(Input):
    """The page to open after sign-in."""

    next: Path = ""


class PasswordLogin(Input):
    """An e-mail address, the password, and the page to open after sign-in."""

    email: Email
    password: Password
    next: Path = ""


class ResetRequest(Input):
    """The e-mail address of the user who forgot their password."""

    email: Email


class SetToken(Input):
    """The token of a link that sets a password."""

    token: Token


class ChosenPassword(Input):
    """The token of the link, the new password, and the code when the link is opened in another browser."""

    token: Token
    code: Annotated[str, StringConstraints(max_length=40)] = ""
    password: Password


class PasswordChange(Input):
    """The old and the new password."""

    old: Password
    new: Password


@function("GET", "/auth/password", allow=Allow.ANYBODY)
def password_page(query: PasswordPageQuery, ctx: Context) -> Page:
    """Show the form for e-mail address and password."""
    require(PROVIDER, ctx.settings)
    return _form(ctx, query.next, None)


@function("POST", "/auth/password", allow=Allow.ANYBODY)
def password_login(request: PasswordLogin, ctx: Context) -> Redirect | Page:
    """Sign in. Neither the response nor its timing reveals whether the e-mail address or the password is wrong."""
    require(PROVIDER, ctx.settings)
    ctx.signs_in(PROVIDER.name, request.email)
    try:
        password, client = request.password.get_secret_value(), ctx.client_network
        account = passwords.check(
            request.email, password, client=client, limits=ctx.limits, state=ctx.state, actor=actor(ctx)
        )
    except UnauthenticatedError as error:
        return _form(ctx, request.next, str(error))
    return sign_browser_in(ctx, Proven(account.email, PROVIDER.name), request.next)


@function("GET", "/auth/password/forgot", allow=Allow.ANYBODY)
def forgot_page(ctx: Context) -> Page:
    """Show the form for requesting a reset link."""
    require_mail(ctx.settings)
    return page(ctx, "forgot.html", title="Set a new password")


@function("POST", "/auth/password/forgot", allow=Allow.ANYBODY)
def forgot(request: ResetRequest, ctx: Context) -> Page:
    """Mail a link to set a new password. The response and its timing are the same for every address.

    The link works in the browser that requested it, and in any other browser with the code on this page.
    """
    require_mail(ctx.settings)
    ctx.limits.count(RESETS_FROM, ctx.client_network, ctx.now)
    ctx.limits.count(RESETS_TO, request.email, ctx.now)
    text = f"If {request.email} is a user here, an e-mail with a link is on its way. The link works for an hour."
    mail = partial(passwords.mail_reset, request.email, state=ctx.state)
    return mail_link(ctx, Purpose.RESET, mail, doing="mailing a reset link", text=text)


@function("GET", "/auth/password/set", allow=Allow.ANYBODY)
def set_page(request: SetToken, ctx: Context) -> Page:
    """Show the form for the new password. Opening it does not use the link up."""
    require(PROVIDER, ctx.settings)
    return _choosing(request.token, "", ctx, None)


@function("POST", "/auth/password/set", allow=Allow.ANYBODY)
def set_password(request: ChosenPassword, ctx: Context) -> Redirect | Page:
    """Set the password, end all sessions, and sign in. The link then expires."""
    require(PROVIDER, ctx.settings)
    try:
        account = passwords.choose(
            request.token,
            request.password.get_secret_value(),
            shown=shown_with_link(ctx, request.code),
            keys=ctx.keys,
            limits=ctx.limits,
            store=ctx.store,
            state=ctx.state,
            actor=actor(ctx),
        )
    except (InvalidInputError, CodeError) as error:
        return _choosing(request.token, request.code, ctx, error)
    return sign_browser_in(ctx, Proven(account.email, PROVIDER.name))


@function(
    "POST",
    "/auth/password/change",
    allow=Role.VIEWER,
    scope=Scope.ADMIN,
    answers={
        401: "The old password is wrong.",
        422: "The input is invalid, or the new password is too easy to guess.",
        429: "Too many attempts.",
    },
)
def change_password(request: PasswordChange, ctx: Context) -> None:
    """Change the caller's password. All their sessions end, including this one."""
    require(PROVIDER, ctx.settings)
    old, new = request.old.get_secret_value(), request.new.get_secret_value()
    client = ctx.client_network
    passwords.change(ctx.user_id, old, new, client=client, limits=ctx.limits, state=ctx.state, actor=actor(ctx))


def _form(ctx: Context, then: str, problem: str | None) -> Page:
    return page(
        ctx,
        "password.html",
        title="Sign in with a password",
        status=200 if problem is None else 401,
        next=then,
        problem=problem,
        can_reset=can_send(ctx.settings),
    )


def _choosing(token: str, code: str, ctx: Context, error: AnalystError | None) -> Page:
    owner = passwords.whose(token, link_cookie_of(ctx), ctx.keys, ctx.state, ctx.now)
    return page(
        ctx,
        "set_password.html",
        title="Choose a password",
        status=200 if error is None else error.status,
        token=token,
        email=owner.account.email,
        needs_code=owner.needs_code,
        code=code,
        problem=None if error is None else str(error),
    )
