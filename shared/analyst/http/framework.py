"""What makes the functions framework answer everything in our words, by our server."""

from contextlib import suppress
from typing import Final

import flask

from analyst.http.dispatch import refuse
from analyst.http.response import Response

_ADOPTED: Final = "analyst"
_WORKER: Final = "analyst.http.worker.Worker"


def adopt_framework() -> None:
    """Take over the application of the framework that is loading a function now, if one is; again, this changes nothing.

    The framework answers /robots.txt, /favicon.ico and its own failures itself, and knows no setting for the kind of
    worker that gunicorn starts, whose default is read when it starts.
    """
    if not flask.has_app_context() or _ADOPTED in flask.current_app.extensions:
        return
    app = flask.current_app
    app.extensions[_ADOPTED] = True
    app.before_request(_run)
    for kind in (Exception, 500):
        app.register_error_handler(kind, _failed)
    with suppress(ImportError):  # where there is no gunicorn, the framework does without
        from gunicorn.config import WorkerClass

        WorkerClass.default = _WORKER


def _run() -> Response:
    """Answer every path with the function."""
    answered: Response = flask.current_app.ensure_sync(flask.current_app.view_functions["run"])(path=flask.request.path)
    return answered


def _failed(error: Exception) -> Response:
    return refuse(flask.request, error)
