"""From a proven e-mail address to a browser that is signed in."""

import re
from typing import Final

from analyst.auth import sessions
from analyst.auth.signing_in import Proven, sign_in
from analyst.context import Context
from analyst.http.admission import session_cookie
from analyst.http.answers import Cookie, Redirect
from analyst.state.audit import actor

_LOCAL: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
_HOME: Final = "/account"


def sign_browser_in(ctx: Context, proven: Proven, then: str | None = None) -> Redirect:
    """Sign the browser in that has just proven an e-mail address, and send it on to a page of ours.

    Raises:
        ForbiddenError: nobody with this e-mail may come in.
    """
    ctx.signs_in(proven.provider, proven.email)
    user_id = sign_in(proven, ctx.access, ctx.state, actor(ctx), ctx.settings)
    ctx.signs_in(proven.provider, proven.email, user_id)
    session = sessions.begin(user_id, ctx.now)
    token = sessions.for_browser(ctx.keys, session, ctx.now)
    cookie = _cookie(ctx, token, int(sessions.BROWSER_LASTS.total_seconds()))
    return Redirect(local(then), 303, (cookie,))


def signed_out(ctx: Context) -> Cookie:
    """Make the cookie that takes a browser's session away."""
    return _cookie(ctx, "", 0)


def local(path: str | None) -> str:
    """Give the path of a page of ours: this one if it is, else the page of the account."""
    return path if path is not None and _LOCAL.fullmatch(path) else _HOME


def _cookie(ctx: Context, value: str, max_age: int) -> Cookie:
    return Cookie(session_cookie(secure=ctx.is_secure), value, max_age, secure=ctx.is_secure)
