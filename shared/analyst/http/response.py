"""The responses of functions."""

from collections.abc import Iterable
from typing import Final

import flask

from analyst.pages import security_policy

BUFFERED: Final = "analyst.buffered"
"""What a server sets in a request's `environ` when it has read the whole body, and takes the whole answer at once."""


class Response(flask.Response):
    """A response as the functions framework needs it. Without a body, it has no content type."""

    default_mimetype = None

    @property
    def is_streamed(self) -> bool:
        """Keep the framework from reading what is left of a request's body, which it would do without a limit."""
        return True


def html_response(html: str, status: int, form_targets: Iterable[str] = ()) -> Response:
    """Make the response of a page. Its forms can be sent only to us and to the `form_targets`."""
    response = Response(html, status=status, content_type="text/html; charset=utf-8")
    style = html.partition("<style>")[2].partition("</style>")[0]  # ours: texts before it are escaped
    response.headers["Content-Security-Policy"] = security_policy(style, ("'self'", *form_targets))
    response.headers["Referrer-Policy"] = "same-origin"  # with none at all, browsers don't say where a form comes from
    return response
