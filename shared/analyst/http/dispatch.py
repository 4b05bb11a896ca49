"""Dispatch of a request: find the function, admit the caller, read the input, call it, build the response."""

import json
import logging
import time
from functools import cache, partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlencode

from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from analyst.access import SERVICE, Caller, redacted
from analyst.addresses import path_of, without_prefix
from analyst.context import Context, Process, tasks_of
from analyst.counters import DURATIONS, REQUESTS
from analyst.errors import AnalystError, ConflictError, UnauthenticatedError
from analyst.http import problems
from analyst.http.admission import authorize, identify, seen_by, seen_through
from analyst.http.answers import View, render
from analyst.http.audit_trail import audit
from analyst.http.exchange import Exchange
from analyst.http.pages import reader_of, shown
from analyst.http.request_ids import REQUEST_ID, TRACE, request_id_of, trace_of
from analyst.http.request_input import FORM, check_size, read_input
from analyst.http.response import BUFFERED, Response
from analyst.http.routing import Router
from analyst.http.spec import BODY_LIMIT, Allow, FunctionSpec, describe
from analyst.logs import trace_fields
from analyst.pages import Reader, Site
from analyst.spans import Spanned, Value
from analyst.tasks import TASK_ID

log = logging.getLogger(__name__)

VERSION: Final = "X-Server-Version"
"""With every response: how `da` learns that the server has another version."""
_NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"
_BLOCK: Final = 1 << 16
_MOST_DRAINED: Final = 8 * BODY_LIMIT


def serve(functions: Router, request: Request, process: Process, caller: Caller | None = None) -> Response:
    """Answer a request with one of the functions. Nothing is raised; failures become responses.

    A given `caller` needs no credentials: this is how functions call each other in one process.
    """
    _place(functions, request, process)
    request_id = request_id_of(request)
    exchange = Exchange(request, request_id, caller=caller, trace=trace_of(request, request_id))
    exchange.shape = functions.errors_at(request.path)
    is_task = caller is None and TASK_ID in request.headers
    parent = exchange.trace if request.headers.get(TRACE) == exchange.trace else None
    with process.spans.span("request", "consumer" if is_task else "server", parent) as span:
        exchange.trace = span.trace or exchange.trace
        if is_task:
            response = _finished(exchange, _task(functions, exchange, process), process)
        else:
            response = _served(functions, exchange, process)
        _tell(span, exchange, response, is_task=is_task)
        return response


def _place(functions: Router, request: Request, process: Process) -> None:
    """Take the path of `BASE_URL` from a request whose proxy has left it there, and have redirects begin with it.

    A path at which there is a function is left as it is: the proxy has removed the prefix. So is one whose proxy says so;
    otherwise `/data/data/login` would open a page for which the proxy has no rule.
    """
    try:
        prefix = path_of(process.settings.base_url)
    except AnalystError:
        return
    if not prefix:
        return
    request.root_path = prefix
    is_removed = request.headers.get("X-Forwarded-Prefix", "").rstrip("/") == prefix
    if not is_removed and not functions.has(request.path):
        request.path = without_prefix(prefix, request.path)


def _tell(span: Spanned, exchange: Exchange, response: Response, *, is_task: bool) -> None:
    spec, method = exchange.spec, exchange.request.method
    route = spec.path.text if spec else None
    attributes: dict[str, Value] = {
        "http.request.method": method,
        "http.route": None if is_task else route,
        "http.response.status_code": response.status_code,
        "analyst.function": spec.name if spec else None,
        "analyst.request_id": exchange.request_id,
        "error.type": getattr(exchange.error, "code", None),
    }
    is_failed = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    name = f"{method} {route or 'unknown'}"
    if is_task:  # the path of a task is that of a function, unless somebody may not have one run
        name = f"task {exchange.request.path}" if exchange.error is None else "task"
    span.tell(name, attributes, failed=is_failed)


def _served(functions: Router, exchange: Exchange, process: Process) -> Response:
    try:
        response = _answer(functions, exchange, process)
    except Exception as error:  # noqa: BLE001 - the one place where failures become answers
        response = _failure(exchange, error, process)
    response = _audited(exchange, response, process)  # before it is sent: what is not on record must not be answered
    if not exchange.request.environ.get(BUFFERED):
        _drain(exchange.request)
    return _finished(exchange, response, process)


def task(_ctx: Context) -> None:
    """Run a task; callers of service functions may have one run."""


_TASK: Final = describe(task, "POST", "/", allow=Allow.SERVICE, hidden=True)


def _task(functions: Router, exchange: Exchange, process: Process) -> Response:
    """Run a task of the ledger for its deliverer. The call of the function in it is audited and logged by itself."""
    request, exchange.spec = exchange.request, _TASK
    try:
        exchange.caller = identify(_TASK, request, process)
        authorize(_TASK, exchange.caller)
        local = partial(_local, functions, process, trace=exchange.trace)
        tasks = tasks_of(process, local, exchange.request_id, exchange.trace)
        ran = tasks.runner().run(request.headers[TASK_ID], request.path)
    except Exception as error:  # noqa: BLE001 - the other place where failures become answers
        return _failure(exchange, error, process)
    # a task that runs elsewhere is asked for again later, in case that process dies
    status = HTTPStatus.CONFLICT if ran == "running" else HTTPStatus.OK
    return Response(json.dumps({"task": ran}), status=status, mimetype="application/json")


def refuse(request: Request, error: Exception, process: Process, functions: Router | None) -> Response:
    """Answer a request that reaches no function, because the server or the framework found it invalid."""
    if functions is not None:
        _place(functions, request, process)
    shape = None if functions is None else functions.errors_at(request.path)
    exchange = Exchange(request, request_id_of(request), error=error, shape=shape)
    page_for = request if problems.wants_page(request) else None
    site = None if page_for is None else site_of(process)
    response = problems.answer(error, exchange.request_id, shape=shape, page_for=page_for, site=site)
    return _finished(exchange, response, process)


def _finished(exchange: Exchange, response: Response, process: Process) -> Response:
    """Add the headers that every response has, count it and log it."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Content-Security-Policy", _NO_PAGE)
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers[REQUEST_ID] = exchange.request_id
    response.headers[VERSION] = _version()
    if (counters := process.counters) is not None:
        name = exchange.spec.name if exchange.spec else "none"
        counters.add(REQUESTS, (name, str(response.status_code)))
        counters.observe(DURATIONS, (name,), time.perf_counter() - exchange.began)
    _log(exchange, response)
    return response


def _answer(functions: Router, exchange: Exchange, process: Process) -> Response:
    request = exchange.request
    request.max_content_length = BODY_LIMIT  # also where there is no function for it
    exchange.spec, path = functions.match(request.method, request.path)
    check_size(request, exchange.spec.body_limit)
    if exchange.caller is None:
        exchange.caller = identify(exchange.spec, request, process)
        authorize(exchange.spec, exchange.caller)
    if exchange.caller is not None and exchange.caller.token_id is not None:
        process.last_uses.saw(exchange.caller.token_id, process.clock())
    caller = seen_through(exchange.spec, request, process, exchange.caller, exchange.note)
    model = read_input(exchange.spec, path, request)
    context = Context(
        process,
        request,
        exchange.request_id,
        process.clock(),
        caller,
        partial(_local, functions, process, trace=exchange.trace),
        exchange.began,
        exchange.note,
        exchange.trace,
    )
    arguments: tuple[Any, ...] = (context,) if model is None else (model, context)
    answer = exchange.spec.call(*arguments)
    if isinstance(answer, View):
        answer = shown(answer, context, as_json=exchange.spec.is_twin)
    return render(answer, exchange.spec.status, request)


def _failure(exchange: Exchange, error: Exception, process: Process) -> Response:
    """Make the response to a failure: a page for a browser, a problem document for a program.

    A browser without a session that opens one of our pages is sent to sign in, and comes back.
    """
    exchange.error = error
    spec, request = exchange.spec, exchange.request
    is_page = spec is not None and spec.is_page
    if isinstance(error, UnauthenticatedError) and is_page and request.method == "GET" and not _is_open(spec):
        path = request.full_path.rstrip("?")
        return Response(status=303, headers={"Location": f"{request.root_path}/login?{urlencode({'next': path})}"})
    page_for = request if exchange.shape is None and (is_page or problems.wants_page(request)) else None
    site, reader = (None, None) if page_for is None else (site_of(process), _reader(exchange, process))
    form = _unsent(exchange, error) if is_page else ()
    response = problems.answer(
        error, exchange.request_id, shape=exchange.shape, page_for=page_for, site=site, reader=reader, form=form
    )
    if spec is not None and spec.resource is not None and response.status_code == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = _challenge(spec.resource, process)
    return response


def _challenge(resource: str, process: Process) -> str:
    """Say where an agent learns how to get a token (RFC 9728, section 5.1); without BASE_URL, there is no such place."""
    try:
        base = process.settings.base_url
    except AnalystError:
        base = None
    if base is None:
        return "Bearer"
    metadata = f"{base.rstrip('/')}/.well-known/oauth-protected-resource{resource}"
    return f'Bearer resource_metadata="{metadata}", scope="read query sync"'


def _unsent(exchange: Exchange, error: Exception) -> tuple[tuple[str, str], ...]:
    """Return the fields of a form of ours that could not be saved, unless it is a decision or has a secret.

    If its session has ended, it can be sent again; if it conflicts with another change, its reader can copy what it has: a
    browser keeps nothing of a page that it must not store. That the form is ours was checked before its caller, so what the page shows is what its reader has typed.
    """
    request, spec = exchange.request, exchange.spec
    if not isinstance(error, UnauthenticatedError | ConflictError) or request.method != "POST" or _is_open(spec):
        return ()
    if spec is None or not spec.keeps_form or request.mimetype != FORM:
        return ()
    try:
        return tuple(request.form.items(multi=True))
    except HTTPException:  # it is too large
        return ()


def _is_open(spec: FunctionSpec | None) -> bool:
    return spec is not None and spec.allow is Allow.ANYBODY


def site_of(process: Process) -> Site:
    """Return what pages show of the instance; without usable settings, which may be the failure, the default."""
    try:
        return Site.of(process.settings)
    except AnalystError:
        return Site()


def _reader(exchange: Exchange, process: Process) -> Reader | None:
    """Return who has signed in where a page about a failure is shown; `None` also if that can't be found out."""
    try:
        return reader_of(seen_by(exchange.request, process), exchange.request, process)
    except Exception:  # noqa: BLE001 - it may fail for the same reason, and a page about a failure is always shown
        return None


def _audited(exchange: Exchange, response: Response, process: Process) -> Response:
    """Write the audit event before the response is sent. If that fails, the request fails, unless it has failed anyway."""
    try:
        audit(exchange, _status(exchange, response), process)
    except Exception as error:  # noqa: BLE001 - a failure is an answer too
        if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            response.close()
            return _failure(exchange, error, process)
    return response


def _status(exchange: Exchange, response: Response) -> int:
    """Return the status for the audit log: 401 even if a page redirects to the sign-in page."""
    return exchange.error.status if isinstance(exchange.error, UnauthenticatedError) else response.status_code


def _local(
    functions: Router, process: Process, path: str, body: bytes, request_id: str, *, trace: str
) -> tuple[int, bytes] | None:
    """Run a function for another one of this process, with the rights of a service."""
    if not any(spec.method == "POST" and spec.path.match(path) is not None for spec in functions.functions):
        return None
    builder = EnvironBuilder(
        path,
        method="POST",
        data=body,
        content_type="application/json",
        headers=[(REQUEST_ID, request_id), (TRACE, trace)],
    )
    response = serve(functions, builder.get_request(), process, SERVICE)
    return response.status_code, response.get_data()


@cache
def _version() -> str:
    return version("ai-data-analyst")


def _drain(request: Request) -> None:
    """Read the rest of a body: closing a connection with unread bytes resets it, and the response is lost.

    A far too large rest stays unread.
    """
    environ = request.environ
    try:
        ends = environ.get("wsgi.input_terminated", False)  # then it ends by itself, and the limit does not apply
        stream = environ["wsgi.input"] if ends else request.stream
        left = _MOST_DRAINED
        while left > 0 and (block := stream.read(_BLOCK)):
            left -= len(block)
    except Exception:  # noqa: BLE001, S110 - broken off: the answer is made, and is given either way
        pass


def _log(exchange: Exchange, response: Response) -> None:
    spec, caller = exchange.spec, exchange.caller
    status = response.status_code
    if spec is not None and spec.hidden and status < HTTPStatus.BAD_REQUEST:
        return
    fields = {
        "request_id": exchange.request_id,
        **trace_fields(exchange.trace),
        "function": spec.name if spec else None,
        "method": exchange.request.method,
        "path": spec.path.text if spec else redacted(exchange.request.path)[:200],
        "status": status,
        "ms": round((time.perf_counter() - exchange.began) * 1000, 1),
        "bytes": response.content_length,
        "code": getattr(exchange.error, "code", None),
        "caller": "service" if caller and caller.is_service else caller and caller.user_id,
    }
    failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    log.log(
        logging.ERROR if failed else logging.INFO,
        "%s %s %s", fields["method"], fields["path"], status,
        extra={"fields": fields},
        exc_info=exchange.error if failed else None,
    )  # fmt: skip
