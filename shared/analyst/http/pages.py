"""Pages as the answers of functions."""

from typing import Any

from analyst.context import Context
from analyst.http.answers import Cookie, Page
from analyst.pages import Site, render


def page(
    ctx: Context,
    template: str,
    *,
    title: str,
    status: int = 200,
    cookies: tuple[Cookie, ...] = (),
    form_targets: tuple[str, ...] = (),
    current: str = "",
    **values: Any,
) -> Page:
    """Render a page for the caller of a request; see `analyst.pages.render`."""
    user = None if ctx.caller_or_none is None else ctx.caller_or_none.email
    html = render(template, Site.of(ctx.settings), title=title, user=user, current=current, **values)
    return Page(html, status, cookies, form_targets)
