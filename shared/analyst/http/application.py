"""Several functions as one WSGI application."""

from collections.abc import Callable, Iterable

from werkzeug.wrappers import Request

from analyst.context import Process
from analyst.http.builtin import HEALTHZ
from analyst.http.dispatch import serve
from analyst.http.documentation import documentation
from analyst.http.function import HttpFunction
from analyst.http.response import Response
from analyst.http.routing import Router

WSGIApp = Callable[..., Iterable[bytes]]


def router(functions: Iterable[HttpFunction]) -> Router:
    """Put functions together, with the pages that describe them.

    Raises:
        ValueError: two of them are for the same method and path.
    """
    specs = [function.function for function in functions]
    return Router([*specs, *documentation(specs), HEALTHZ])


def app(process: Process, functions: Iterable[HttpFunction]) -> WSGIApp:
    """Make a WSGI application of functions; what they share is `process`."""
    routes = router(functions)

    @Request.application
    def application(request: Request) -> Response:
        return serve(routes, request, process)

    return application
