"""Signing in by password, and setting one."""

from functools import partial
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from analyst.access import Role, Scope
from analyst.auth import links
from analyst.auth.keys import Purpose
from analyst.auth.links import CodeError
from analyst.auth.provider import require
from analyst.auth.providers import password as passwords
from analyst.auth.providers.password import LONGEST, PROVIDER, RESETS_FROM, RESETS_TO
from analyst.auth.sign_in import Proven
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError, UnauthenticatedError
from analyst.http import Allow, Page, Redirect, function
from analyst.http.html import render
from analyst.http.signed_in import link_cookie, link_cookie_of, shown_with_link, sign_browser_in
from analyst.state import actor
from analyst.state.fields import Email, Input
from analyst.state.users import find_account

Password = Annotated[SecretStr, Field(max_length=4 * LONGEST)]
Token = Annotated[str, StringConstraints(max_length=4000)]
Path = Annotated[str, StringConstraints(max_length=2000)]


class PasswordPageQuery(Input):
    """Where to go on to when signed in."""

    next: Path = ""


class PasswordLogin(Input):
    """An e-mail address and its password, and where to go on to."""

    email: Email
    password: Password
    next: Path = ""


class ResetRequest(Input):
    """Who forgot their password."""

    email: Email


class SetToken(Input):
    """What stands in a link that sets a password."""

    token: Token


class ChosenPassword(Input):
    """A password, by right of a link, and in another browser than the one that asked for it of its code."""

    token: Token
    code: Annotated[str, StringConstraints(max_length=40)] = ""
    password: Password


class PasswordChange(Input):
    """A new password, by right of the old one."""

    old: Password
    new: Password


@function("GET", "/auth/password", allow=Allow.ANYBODY)
def password_page(query: PasswordPageQuery, ctx: Context) -> Page:
    """Ask for e-mail and password."""
    require(PROVIDER, ctx.settings)
    return _form(query.next, None)


@function("POST", "/auth/password", allow=Allow.ANYBODY)
def password_login(request: PasswordLogin, ctx: Context) -> Redirect | Page:
    """Sign in. Whether the e-mail or the password is wrong is not told, neither by the answer nor by its time."""
    require(PROVIDER, ctx.settings)
    ctx.signs_in(PROVIDER.name, request.email)
    try:
        account = passwords.check(
            request.email,
            request.password.get_secret_value(),
            client=ctx.client_network,
            limits=ctx.limits,
            state=ctx.state,
            actor=actor(ctx),
        )
    except UnauthenticatedError as error:
        return _form(request.next, str(error))
    return sign_browser_in(ctx, Proven(account.email, PROVIDER.name), request.next)


@function("GET", "/auth/password/forgot", allow=Allow.ANYBODY)
def forgot_page(ctx: Context) -> Page:
    """Ask whose password is to be set anew."""
    require(PROVIDER, ctx.settings)
    return Page(render("forgot.html", title="Set a new password"))


@function("POST", "/auth/password/forgot", allow=Allow.ANYBODY)
def forgot(request: ResetRequest, ctx: Context) -> Page:
    """Mail a link to set a new password; the answer is alike for every address, and as fast.

    The link works in the browser that asks, and in another one with the code that this page shows.
    """
    require(PROVIDER, ctx.settings)
    ctx.limits.count(RESETS_FROM, ctx.client_network, ctx.now)
    ctx.limits.count(RESETS_TO, request.email, ctx.now)
    binding = links.bind_to_browser(ctx.keys, Purpose.RESET, link_cookie_of(ctx))
    ctx.after_answer(
        "mailing a reset link",
        partial(
            passwords.mail_reset,
            request.email,
            binding=binding,
            keys=ctx.keys,
            state=ctx.state,
            settings=ctx.settings,
            base_url=ctx.base_url,
            now=ctx.now,
        ),
    )
    text = f"If {request.email} is a user here, a mail with a link is on its way. The link works for an hour."
    page = render("mailed.html", title="Look into your mailbox", text=text, code=binding.code)
    return Page(page, cookies=(link_cookie(ctx, binding, links.LASTS[Purpose.RESET]),))


@function("GET", "/auth/password/set", allow=Allow.ANYBODY)
def set_page(request: SetToken, ctx: Context) -> Page:
    """Ask for the new password; nothing is used up by it."""
    require(PROVIDER, ctx.settings)
    return _choosing(request.token, "", ctx, None)


@function("POST", "/auth/password/set", allow=Allow.ANYBODY)
def set_password(request: ChosenPassword, ctx: Context) -> Redirect | Page:
    """Set the password, end all sessions, and sign in. The link is used up."""
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
        422: "The input is wrong, or the new password is too easy to guess.",
        429: "Too many were tried.",
    },
)
def change_password(request: PasswordChange, ctx: Context) -> None:
    """Change one's password. All sessions end, this one as well."""
    require(PROVIDER, ctx.settings)
    with ctx.state.read() as db:
        account = find_account(db, ctx.caller.user_id or "")
    if account is None:
        raise UnauthenticatedError("sign in to change your password")
    passwords.change(
        account,
        request.old.get_secret_value(),
        request.new.get_secret_value(),
        client=ctx.client_network,
        limits=ctx.limits,
        state=ctx.state,
        actor=actor(ctx),
    )


def _form(then: str, problem: str | None) -> Page:
    return Page(
        render("password.html", title="Sign in with a password", next=then, problem=problem),
        200 if problem is None else 401,
    )


def _choosing(token: str, code: str, ctx: Context, error: AnalystError | None) -> Page:
    owner = passwords.whose(token, link_cookie_of(ctx), ctx.keys, ctx.state, ctx.now)
    page = render(
        "set_password.html",
        title="Choose a password",
        token=token,
        email=owner.account.email,
        needs_code=owner.needs_code,
        code=code,
        problem=None if error is None else str(error),
    )
    return Page(page, 200 if error is None else error.status)
