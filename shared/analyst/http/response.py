"""The response of a function."""

from typing import Final

import flask

BUFFERED: Final = "analyst.buffered"
"""What a server sets in a request's `environ` when it has read the whole body, and takes the whole answer at once."""


class Response(flask.Response):
    """A response as the functions framework needs it. What has no body has no type of one."""

    default_mimetype = None

    @property
    def is_streamed(self) -> bool:
        """Keep the framework from reading what is left of a request's body, which it would do without a limit."""
        return True
