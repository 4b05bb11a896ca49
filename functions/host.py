"""Several functions in one process: those of the modules in `FUNCTIONS`, or all of them."""

import os

from werkzeug.wrappers import Request

from analyst.http.application import discover, router
from analyst.http.dispatch import serve
from analyst.http.function import process
from analyst.http.response import Response

_ROUTES = router(discover(name.strip() for name in (os.environ.get("FUNCTIONS") or "functions").split(",")))


def host(request: Request) -> Response:
    """Answer a request with the function of its route."""
    return serve(_ROUTES, request, process())


host.routes = _ROUTES  # type: ignore[attr-defined]  # the server asks them how large a body may be
