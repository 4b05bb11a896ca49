"""Sessions of browsers: signing in and out, and the cookies for that."""

import re
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from analyst.auth import links, session_list, sessions
from analyst.auth.keys import Keys, Purpose
from analyst.auth.links import Binding, Shown
from analyst.auth.sign_in import Proven, sign_in
from analyst.context import Context
from analyst.http.admission import SESSION_COOKIE
from analyst.http.answers import Cookie, Page, Redirect, cookie_of
from analyst.http.pages import page
from analyst.settings import Settings
from analyst.state.audit import actor

_LOCAL: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
_HOME: Final = "/"


def sign_browser_in(ctx: Context, proven: Proven, then: str | None = None) -> Redirect:
    """Sign in the browser whose user has just proven an e-mail address, and redirect it to one of our pages.

    Raises:
        ForbiddenError: this e-mail address may not sign in.
    """
    ctx.signs_in(proven.provider, proven.email)
    user_id = sign_in(proven, ctx.access, ctx.state, actor(ctx), ctx.settings)
    ctx.signs_in(proven.provider, proven.email, user_id)
    session = sessions.begin(user_id, ctx.now)
    where = session_list.browser_name(ctx.request.headers.get("User-Agent"))
    session_list.record(ctx.store, session, "browser", where, ctx.now)
    token = sessions.for_browser(ctx.keys, session, ctx.now)
    cookie = _cookie(ctx, token, int(sessions.BROWSER_LASTS.total_seconds()))
    return Redirect(local(then), 303, (cookie,))


def signed_out(ctx: Context) -> Cookie:
    """Return the cookie that removes a browser's session."""
    return _cookie(ctx, "", 0)


_LINK_COOKIE: Final = "da_link"


def link_cookie_of(ctx: Context) -> str | None:
    """Return the cookie of a browser that requested a link."""
    return cookie_of(ctx.request, _LINK_COOKIE, secure=ctx.is_secure)


def shown_with_link(ctx: Context, code: str) -> Shown:
    """Return the proof that a browser presents beside a mailed link."""
    return Shown(link_cookie_of(ctx), code, ctx.client_network)


class Mailing(Protocol):
    """The mail with a link."""

    def __call__(self, *, binding: Binding, keys: Keys, settings: Settings, base_url: str, now: datetime) -> bool:
        """Mail the link if the person may have one; return whether it was sent."""


def mail_link(ctx: Context, purpose: Purpose, mail: Mailing, *, doing: str, text: str) -> Page:
    """Have a link mailed after the answer, whose timing thus reveals nothing, and return the page that says so.

    The link works in this browser, and in any other one with the code on the page. `mail` sends it.
    """
    binding = links.bind_to_browser(ctx.keys, purpose, link_cookie_of(ctx))
    ctx.after_answer(
        doing, partial(mail, binding=binding, keys=ctx.keys, settings=ctx.settings, base_url=ctx.base_url, now=ctx.now)
    )
    seconds = int(links.LASTS[purpose].total_seconds())
    cookie = Cookie(_LINK_COOKIE, binding.cookie or "", seconds, secure=ctx.is_secure)
    return page(ctx, "mailed.html", title="Check your e-mail", cookies=(cookie,), text=text, code=binding.code)


def local(path: str | None) -> str:
    """Return the path if it is one of our pages, else the home page."""
    return path if path is not None and _LOCAL.fullmatch(path) else _HOME


def _cookie(ctx: Context, value: str, max_age: int) -> Cookie:
    return Cookie(SESSION_COOKIE, value, max_age, secure=ctx.is_secure)
