"""HTTP messages: the request parser for waitress, and the tasks that answer requests."""

from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from types import SimpleNamespace
from typing import Any, Final

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import WSGITask
from waitress.utilities import BadRequest
from werkzeug.wrappers import Request

from analyst.context.request import CLIENT_GONE
from analyst.errors import AnalystError
from analyst.http.dispatch import refuse
from analyst.http.function import process, routes_of
from analyst.http.problems import (
    HeadersTooLargeError,
    MalformedError,
    NotImplementedHereError,
    TooLargeError,
)
from analyst.http.response import BUFFERED

HEADER_BYTES: Final = 128 << 10
"""The maximum size in bytes of the request line and the headers."""

IN_MEMORY: Final = 64 << 10
"""Bytes of one body that stay in memory."""

_CONTROL_LINE: Final = 1 << 10
_TRAILER: Final = 1 << 13

BodyLimit = Callable[[str, str], int]
"""Returns the maximum size in bytes of a request's body, by its method and path."""


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Reads one request. `body_limit` is called as soon as the header is complete."""

    def __init__(self, adj: Any, body_limit: BodyLimit) -> None:
        super().__init__(adj)
        self.completed: bool
        self._body_limit = body_limit
        self.limit = 0

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the header, and look up the limit of the body."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # of `urlsplit`, from which waitress expects only a UnicodeError
            raise ParsingError("the request target is not a valid address") from None
        is_small = not self.chunked and self.content_length <= IN_MEMORY  # the function itself checks it
        self.limit = IN_MEMORY if is_small else self._body_limit(self.command, self.path)
        self.adj = SimpleNamespace(max_request_body_size=self.limit + 1)

    def received(self, data: bytes) -> int:
        """Consume bytes; return how many of them belong to this request."""
        consumed = int(super().received(data))
        if self.chunked and not self.completed and self._is_endless():
            self.error, self.completed = BadRequest("a line of the chunked body is too long"), True
        if self.completed:
            self.expect_continue = False  # it is answered now; an announced body is no longer read
        return consumed

    def fail(self, error: AnalystError) -> None:
        """Stop reading a request, and answer it with an error."""
        self.error, self.completed, self.expect_continue = error, True, False

    def _is_endless(self) -> bool:
        receiver = self.body_rcv
        return len(receiver.control_line) > _CONTROL_LINE or len(receiver.trailer) > _TRAILER


class Work(WSGITask):  # type: ignore[misc]
    """Runs a function."""

    def finish(self) -> None:
        """Send header and body together, from this thread, without waiting for the loop."""
        super().finish()
        self.channel.send_now()

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment of the request."""
        environ: dict[str, Any] = super().get_environment()
        environ[BUFFERED] = True
        environ[CLIENT_GONE] = self.channel.is_gone
        if self.channel.server.is_stopping:
            self.set_close_on_finish()
        return environ


class Refusal(WSGITask):  # type: ignore[misc]
    """Answers invalid, slow or incomplete requests with problem documents, like functions."""

    def execute(self) -> None:
        """Write the response; the connection ends with it."""
        response = refuse(
            Request(self._environ()), _error_of(self.request), process(), routes_of(self.channel.server.application)
        )
        self.set_close_on_finish()
        self.complete = True
        self.status = response.status
        self.response_headers += list(response.headers.items())
        body = b"" if getattr(self.request, "command", "") == "HEAD" else response.get_data()
        self.content_length = len(body)
        self.write(body)

    def _environ(self) -> dict[str, Any]:
        """Return the WSGI environment of the part that was read."""
        request = self.request
        for name, missing in (
            ("command", "-"),
            ("path", ""),
            ("query", ""),
            ("request_uri", ""),
            ("url_scheme", "http"),
        ):
            if not hasattr(request, name):
                setattr(request, name, missing)
        environ: dict[str, Any] = self.get_environment()
        environ["wsgi.input"] = BytesIO()
        return environ


def _error_of(request: Any) -> AnalystError:
    """Convert an error of waitress's parser."""
    error = request.error
    if isinstance(error, AnalystError):
        return error
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLargeError(f"the body is larger than {request.limit} bytes", limit=request.limit)
    if error.code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return HeadersTooLargeError(f"the request line and headers are larger than {HEADER_BYTES} bytes")
    if error.code == HTTPStatus.NOT_IMPLEMENTED:
        return NotImplementedHereError("the only supported transfer encoding is 'chunked'")
    if error.code == HTTPStatus.BAD_REQUEST:
        return MalformedError(f"this is not a valid HTTP request: {error.body.partition(chr(34))[0].strip()}")
    return AnalystError(error.body)
