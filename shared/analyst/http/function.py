"""The decorator that makes a Python function an HTTP function."""

import atexit
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Final, Literal, Protocol, Unpack

import flask
from pydantic import BaseModel
from werkzeug.wrappers import Request

from analyst.context import Context, Process
from analyst.http.dispatch import refuse, serve
from analyst.http.response import Response
from analyst.http.routing import Router
from analyst.http.spec import Allow, FunctionSpec, Options, describe
from analyst.logs import to_stdout
from analyst.settings.configuration import DEFAULT_FILE

_ADOPTED: Final = "analyst"
_WORKER: Final = "analyst.http.server.worker.Worker"


def adopt_framework() -> None:
    """Take over the application of the framework that is loading a function now, if there is one; idempotent.

    The framework answers /robots.txt, /favicon.ico and its own failures itself, and has no settings for the worker class and
    the control socket of gunicorn, which reads the defaults when it starts.
    """
    if not flask.has_app_context() or _ADOPTED in flask.current_app.extensions:
        return
    app = flask.current_app
    app.extensions[_ADOPTED] = True
    app.before_request(_run)
    for kind in (Exception, 500):
        app.register_error_handler(kind, _failed)
    with suppress(ImportError):  # without gunicorn, the framework uses another server
        from gunicorn import config

        config.WorkerClass.default = _WORKER
        if (control := getattr(config, "ControlSocketDisable", None)) is not None:
            control.default = True  # its socket is in the home folder, which containers can't write to


def _run() -> Response:
    """Answer every path with the function."""
    answered: Response = flask.current_app.ensure_sync(flask.current_app.view_functions["run"])(path=flask.request.path)
    return answered


def _failed(error: Exception) -> Response:
    return refuse(flask.request, error, process(), routes_of(flask.current_app))


def routes_of(application: Any) -> Router | None:
    """Return the routes of an application of the framework, `None` if it serves something else."""
    functions: Mapping[str, Any] = getattr(application, "view_functions", {})
    routes: Router | None = getattr(functions.get("run"), "routes", None)
    return routes


class Alive(BaseModel):
    """This process responds."""

    status: Literal["ok"] = "ok"


def healthz(_ctx: Context) -> Alive:
    """Return that this process responds, without settings or other services."""
    return Alive()


HEALTHZ = describe(healthz, "GET", "/healthz", allow=Allow.ANYBODY, hidden=True)


class HttpFunction(Protocol):
    """A function as the functions framework expects it, with its specification."""

    __name__: str
    function: FunctionSpec

    def __call__(self, request: Request) -> Response:
        """Answer a request."""


def function(method: str, path: str, **options: Unpack[Options]) -> Callable[[Callable[..., Any]], HttpFunction]:
    """Make `call([model,] ctx)` an HTTP function, or `call(id, ctx)` if its only input is the `{id}` of its path.

    Parts of the path in braces set the model's fields of the same names; the query (GET, DELETE) or the JSON body sets
    the others. The function returns a model, `None` (204), or one of the values of `analyst.http.answers`.

    Args:
        method: GET (which answers HEAD as well), POST, PUT, PATCH or DELETE.
        path: with `{name}` for one part and `{name:path}` for parts that may contain slashes.
        options: see `Options`.
    """

    def decorate(call: Callable[..., Any]) -> HttpFunction:
        return as_function(call, describe(call, method, path, **options))

    return decorate


def as_function(call: Callable[..., Any], spec: FunctionSpec) -> HttpFunction:
    """Return the object that the framework expects: a plain Python function that takes a request."""
    functions = Router([spec, HEALTHZ])

    def entry(request: Request) -> Response:
        return serve(functions, request, process())

    adopt_framework()
    update_wrapper(entry, call, updated=())
    del entry.__wrapped__  # type: ignore[attr-defined]  # its signature is the request's, not the call's
    entry.function = spec  # type: ignore[attr-defined]
    entry.routes = functions  # type: ignore[attr-defined]
    return entry  # type: ignore[return-value]


class _One:
    """The process-wide object, created by the first request."""

    process: Process | None = None
    making = threading.Lock()


def process() -> Process:
    """Return the objects shared by the requests of this process, configured by its environment."""
    with _One.making:
        if _One.process is None:
            to_stdout()
            _One.process = Process(os.environ, default_file=DEFAULT_FILE)
            atexit.register(_One.process.close)
        return _One.process
