"""Sign-in by e-mail link. Mail scanners open links and submit forms: see `analyst.auth.links`."""

from functools import partial
from typing import Annotated, Any

from pydantic import StringConstraints

from analyst.auth import links
from analyst.auth.keys import Purpose
from analyst.auth.links import CodeError, Link
from analyst.auth.provider import require
from analyst.auth.providers.email_link import PER_ADDRESS, PER_CLIENT, PROVIDER, mail_sign_in
from analyst.auth.sign_in import Proven
from analyst.context import Context
from analyst.http import Allow, Page, Redirect, function
from analyst.http.browser_session import link_cookie_of, mail_link, shown_with_link, sign_browser_in
from analyst.http.pages import page
from analyst.state.fields import Email, Input

Token = Annotated[str, StringConstraints(max_length=4000)]
Code = Annotated[str, StringConstraints(max_length=40)]
Path = Annotated[str, StringConstraints(max_length=2000)]


class LinkPageQuery(Input):
    """The page to open after sign-in."""

    next: Path = ""


class LinkRequest(Input):
    """The address for the link, and the page to open after sign-in."""

    email: Email
    next: Path = ""


class LinkToken(Input):
    """The token of a mailed link."""

    token: Token


class ConfirmedLink(Input):
    """The token of a mailed link, and its code when it is opened in another browser."""

    token: Token
    code: Code = ""


@function("GET", "/auth/email", allow=Allow.ANYBODY)
def email_page(query: LinkPageQuery, ctx: Context) -> Page:
    """Show the form for the e-mail address."""
    require(PROVIDER, ctx.settings)
    return page(ctx, "email.html", title="Sign in by e-mail", next=query.next)


@function("POST", "/auth/email", allow=Allow.ANYBODY)
def email_link(request: LinkRequest, ctx: Context) -> Page:
    """Mail a sign-in link if this address may sign in. The response and its timing are the same for every address.

    The link works in the browser that requested it, and in any other browser with the code on this page.
    """
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_network, ctx.now)
    ctx.limits.count(PER_ADDRESS, request.email, ctx.now)
    text = f"If {request.email} may sign in here, an e-mail with a link is on its way. The link works for 15 minutes."
    mail = partial(mail_sign_in, request.email, request.next, access=ctx.access)
    return mail_link(ctx, Purpose.MAGIC_LINK, mail, doing="mailing a sign-in link", text=text)


@function("GET", "/auth/email/confirm", allow=Allow.ANYBODY)
def confirm_page(request: LinkToken, ctx: Context) -> Page:
    """Show which user the link signs in. Opening it does not use it up."""
    require(PROVIDER, ctx.settings)
    link = links.read(ctx.keys, Purpose.MAGIC_LINK, request.token, ctx.now)
    return _confirming(request.token, link, ctx, None)


@function("POST", "/auth/email/confirm", allow=Allow.ANYBODY)
def confirm(request: ConfirmedLink, ctx: Context) -> Redirect | Page:
    """Sign in with the link, which then expires. Without the code, another browser does not use it up."""
    require(PROVIDER, ctx.settings)
    ctx.signs_in(PROVIDER.name)
    link = links.read(ctx.keys, Purpose.MAGIC_LINK, request.token, ctx.now)
    try:
        shown = shown_with_link(ctx, request.code)
        links.require_person(ctx.keys, Purpose.MAGIC_LINK, link, shown, limits=ctx.limits, now=ctx.now)
    except CodeError as error:
        return _confirming(request.token, link, ctx, str(error))
    link = links.consume(ctx.keys, Purpose.MAGIC_LINK, request.token, ctx.store, ctx.now)
    return sign_browser_in(ctx, Proven(link.subject, PROVIDER.name), str(link.claims.get("next", "")))


def _confirming(token: str, link: Link, ctx: Context, problem: str | None) -> Page:
    needs_code = links.needs_code(link, link_cookie_of(ctx))
    values: dict[str, Any] = {"email": link.subject, "token": token, "needs_code": needs_code, "problem": problem}
    return page(ctx, "confirm.html", title="Sign in", status=200 if problem is None else 401, **values)
