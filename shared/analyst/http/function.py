"""The decorator that makes a Python function an HTTP function."""

import atexit
import os
import threading
from collections.abc import Callable
from functools import update_wrapper
from types import MappingProxyType
from typing import Any, Protocol

from werkzeug.wrappers import Request

from analyst.access import Role, Scope
from analyst.context import Process
from analyst.http.builtin import HEALTHZ
from analyst.http.dispatch import serve
from analyst.http.framework import adopt_framework
from analyst.http.response import Response
from analyst.http.routing import Router
from analyst.http.spec import BODY_LIMIT, Allow, Answers, FunctionSpec, describe
from analyst.logs import to_stdout
from analyst.settings.configuration import DEFAULT_FILE


class HttpFunction(Protocol):
    """A function as the functions framework takes it, with its description."""

    __name__: str
    function: FunctionSpec

    def __call__(self, request: Request) -> Response:
        """Answer a request."""


def function(
    method: str,
    path: str,
    *,
    allow: Role | Allow,
    scope: Scope | None = None,
    any_scope: bool = False,
    status: int = 200,
    answers: Answers = MappingProxyType({}),
    body_limit: int = BODY_LIMIT,
    hidden: bool = False,
    audit: str | None = None,
    audit_success: bool = True,
    binary: bool = False,
    foreign: bool = False,
) -> Callable[[Callable[..., Any]], HttpFunction]:
    """Make `call([model,] ctx)` an HTTP function.

    What stands in the path's braces is read into the model's fields of those names, the rest from the query (GET,
    DELETE) or the JSON body. It answers with a model, `None` (204), `Answer`, `Redirect`, `Encoded` or `FileAnswer`.

    Args:
        method: GET (which answers HEAD as well), POST, PUT, PATCH or DELETE.
        path: with `{name}` for one part and `{name:path}` for what may hold slashes.
        allow: the lowest role that may call it, or an `Allow`.
        scope: what a token must be for, to call it; `read`, and `admin` for the roles above analyst.
        any_scope: a token with any scope may call it; the function itself checks what the token may do.
        status: of a successful answer.
        answers: further documented answers by status: what it means, or the model that it carries.
        body_limit: bytes that a body may have.
        hidden: left out of the API's description and, while it succeeds, of the log.
        audit: the action as which calls of it are audited, before they are answered; `ctx.audited` adds to it. Failed
            authorization is audited for every function.
        audit_success: whether a call that succeeds is audited too; not where it is a row of an edit.
        binary: the body is bytes of any kind, which the function takes from `blocks(ctx.request)` as they come.
        foreign: it is called as another system has it, which may say more in the query, and any type of a binary body.
    """

    def decorate(call: Callable[..., Any]) -> HttpFunction:
        spec = describe(
            call,
            method,
            path,
            allow=allow,
            scope=scope,
            any_scope=any_scope,
            status=status,
            answers=answers,
            body_limit=body_limit,
            hidden=hidden,
            audit=audit,
            audit_success=audit_success,
            binary=binary,
            foreign=foreign,
        )
        return as_function(call, spec)

    return decorate


def as_function(call: Callable[..., Any], spec: FunctionSpec) -> HttpFunction:
    """Make what the framework wants, a plain Python function that takes a request."""
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
    """The process-wide object, made by the first request."""

    process: Process | None = None
    making = threading.Lock()


def process() -> Process:
    """Give what the requests of this process share, configured by its environment."""
    with _One.making:
        if _One.process is None:
            to_stdout()
            _One.process = Process(os.environ, default_file=DEFAULT_FILE)
            atexit.register(_One.process.close)
        return _One.process
