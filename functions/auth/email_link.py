"""Signing in by a link in a mail. Mail scanners open links: so the link only shows a page, whose button signs in."""

from functools import partial
from typing import Annotated

from pydantic import StringConstraints

from analyst.auth import links
from analyst.auth.keys import Purpose
from analyst.auth.provider import require
from analyst.auth.providers.email_link import PER_ADDRESS, PER_CLIENT, PROVIDER, mail_link
from analyst.auth.signing_in import Proven
from analyst.context import Context
from analyst.http import Allow, Page, Redirect, function
from analyst.http.html import render
from analyst.http.signed_in import sign_browser_in
from analyst.state.fields import Email, Input

Token = Annotated[str, StringConstraints(max_length=4000)]
Path = Annotated[str, StringConstraints(max_length=2000)]


class LinkPageQuery(Input):
    """Where to go on to when signed in."""

    next: Path = ""


class LinkRequest(Input):
    """Where to mail a link to, and where it leads in the end."""

    email: Email
    next: Path = ""


class LinkToken(Input):
    """What stands in a mailed link."""

    token: Token


@function("GET", "/auth/email", allow=Allow.ANYBODY)
def email_page(query: LinkPageQuery, ctx: Context) -> Page:
    """Ask for the e-mail address."""
    require(PROVIDER, ctx.settings)
    return Page(render("email.html", title="Sign in by e-mail", next=query.next))


@function("POST", "/auth/email", allow=Allow.ANYBODY)
def email_link(request: LinkRequest, ctx: Context) -> Page:
    """Mail a sign-in link, if this address may sign in; the answer is the same for every address, and as fast."""
    require(PROVIDER, ctx.settings)
    ctx.limits.count(PER_CLIENT, ctx.client_address or "", ctx.now)
    ctx.limits.count(PER_ADDRESS, request.email, ctx.now)
    ctx.after_answer(
        "mailing a sign-in link",
        partial(
            mail_link,
            request.email,
            request.next,
            keys=ctx.keys,
            access=ctx.access,
            settings=ctx.settings,
            base_url=ctx.base_url,
            now=ctx.now,
        ),
    )
    text = f"If {request.email} may sign in here, a mail with a link is on its way. The link works for 15 minutes."
    return Page(render("message.html", title="Look into your mailbox", text=text, link=None))


@function("GET", "/auth/email/confirm", allow=Allow.ANYBODY)
def confirm_page(request: LinkToken, ctx: Context) -> Page:
    """Show what the link is good for; nothing is used up by it."""
    require(PROVIDER, ctx.settings)
    link = links.read(ctx.keys, Purpose.MAGIC_LINK, request.token, ctx.now)
    return Page(render("confirm.html", title="Sign in", email=link.subject, token=request.token))


@function("POST", "/auth/email/confirm", allow=Allow.ANYBODY)
def confirm(request: LinkToken, ctx: Context) -> Redirect | Page:
    """Sign in by the link, which is used up."""
    require(PROVIDER, ctx.settings)
    ctx.signs_in(PROVIDER.name)
    link = links.consume(ctx.keys, Purpose.MAGIC_LINK, request.token, ctx.store, ctx.now)
    return sign_browser_in(ctx, Proven(link.subject, PROVIDER.name), str(link.claims.get("next", "")))
