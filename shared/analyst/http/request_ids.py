"""Request ids: one for each request, in its answer, its log lines, its audit event, and in the calls that it causes."""

import re
import secrets
from typing import Final

from werkzeug.wrappers import Request

REQUEST_ID: Final = "X-Request-Id"
"""The header of requests and responses."""

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def request_id_of(request: Request) -> str:
    """Return the id that the client sent, or a new one if it sent none or one that is unsafe to log."""
    given = request.headers.get(REQUEST_ID, "")
    return given if _ACCEPTED.fullmatch(given) else secrets.token_hex(16)
