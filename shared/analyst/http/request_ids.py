"""Request ids: one for each request, in its answer, its log lines, its audit event, and in the calls that it causes."""

import re
import secrets
from typing import Final

from werkzeug.wrappers import Request

REQUEST_ID: Final = "X-Request-Id"
"""The header of requests and responses."""

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")


TRACE: Final = "traceparent"
"""The header of W3C Trace Context, which requests, tasks and the calls between functions pass on."""

_TRACE: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


def trace_of(request: Request, request_id: str) -> str:
    """Return the trace that a request belongs to; one without a valid trace begins its own."""
    given = request.headers.get(TRACE, "")
    if _TRACE.fullmatch(given):
        return given
    trace_id = request_id if _TRACE_ID.fullmatch(request_id) else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def request_id_of(request: Request) -> str:
    """Return the id that the client sent, or a new one if it sent none or one that is unsafe to log."""
    given = request.headers.get(REQUEST_ID, "")
    return given if _ACCEPTED.fullmatch(given) else secrets.token_hex(16)
