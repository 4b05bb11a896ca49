"""Errors become responses here, and only here: problem documents (RFC 9457), or pages for browsers."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request

from analyst.errors import AnalystError
from analyst.http.response import Response, html_response
from analyst.pages import Site, render
from analyst.pages.rendering import sentence

MEDIA_TYPE = "application/problem+json"

_INTERNAL = "unexpected error; see the server log for the request id {}"
_TITLES = {
    401: "Please sign in",
    403: "Access denied",
    404: "Not found",
    405: "Not found",
    422: "That did not work",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Temporarily unavailable",
}
_PASSING = (429, 500, 503)
_UNCONFIGURED = "the settings of this server are invalid; see its log for the details"


class MalformedError(AnalystError):
    """The request can't be understood."""

    status = 400
    code = "malformed"


class MethodNotAllowedError(AnalystError):
    """The path is there, and not for this method; `allow` has the methods that it is for."""

    status = 405
    code = "method_not_allowed"


class TimedOutError(AnalystError):
    """The request did not arrive in time."""

    status = 408
    code = "timed_out"
    retryable = True


class TooLargeError(AnalystError):
    """The body is larger than the function takes."""

    status = 413
    code = "too_large"


class MediaTypeError(AnalystError):
    """The body is not of a type that the function takes."""

    status = 415
    code = "media_type"


class RangeError(AnalystError):
    """The range lies outside of the file, whose `size` is in bytes."""

    status = 416
    code = "range"


class HeadersTooLargeError(AnalystError):
    """The request line and the headers are larger than the server takes."""

    status = 431
    code = "headers_too_large"


class NotImplementedHereError(AnalystError):
    """The request asks for something of HTTP that the server does not implement."""

    status = 501
    code = "not_implemented"


def wants_page(request: Request) -> bool:
    """Return whether a client prefers HTML to JSON, as browsers do; one that accepts both alike is a program."""
    return request.accept_mimetypes["text/html"] > request.accept_mimetypes["application/json"]


def answer(error: Exception, request_id: str, *, page_for: Request | None = None, site: Site | None = None) -> Response:
    """Make the response to a request that failed: a problem document, or a page for the browser that sent `page_for`.

    The messages of internal errors stay in the log.
    """
    document = describe(error, request_id)
    if page_for is not None:
        response = _page(document, page_for, site or Site())
    else:
        body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
        response = Response(body, status=document["status"], content_type=MEDIA_TYPE)
    response.headers.update(_headers(error, document["status"]))
    response.vary.add("Accept")
    return response


def describe(error: Exception, request_id: str) -> dict[str, Any]:
    """Make the problem document of a failure."""
    if isinstance(error, AnalystError) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        document = _document(error.status, error.code, str(error))
        return {**document, **error.details, **document}
    if isinstance(error, HTTPException) and error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _document(error.code, _code(error.code), error.description or "")
    code = error.code if isinstance(error, AnalystError) else AnalystError.code
    detail = _UNCONFIGURED if code == "settings" else _INTERNAL.format(request_id)
    return {**_document(500, code, detail), "request_id": request_id}


def _page(document: dict[str, Any], request: Request, site: Site) -> Response:
    status = document["status"]
    html = render(
        "message.html",
        site,
        title=_TITLES.get(status, document["title"]),
        text=sentence(document["detail"]),
        request_id=document.get("request_id"),
        links=_ways_on(status, request),
    )
    return html_response(html, status)


def _ways_on(status: int, request: Request) -> list[dict[str, str]]:
    """Say where to go from an error: to sign in and come back, to try again, or to the start."""
    here = request.full_path.rstrip("?")
    start = {"url": "/", "text": "Go to your tables"}
    is_read = request.method in {"GET", "HEAD"}
    if status == HTTPStatus.UNAUTHORIZED:
        return [{"url": f"/login?{urlencode({'next': here})}" if is_read else "/login", "text": "Sign in"}]
    if is_read and status in _PASSING:
        return [{"url": here, "text": "Try again"}, start]
    back = urlsplit(request.referrer or "")
    if not is_read and back.netloc == request.host and back.path.startswith("/") and not back.path.startswith("//"):
        return [{"url": back.path, "text": "Go back"}, start]
    return [start]


def _document(status: int, code: str, detail: str) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}


def _code(status: int) -> str:
    """Name a failure that the web framework found."""
    own = (MalformedError, TooLargeError, MediaTypeError, RangeError)
    return next((kind.code for kind in own if kind.status == status), MalformedError.code)


def _headers(error: Exception, status: int) -> dict[str, str]:
    details = error.details if isinstance(error, AnalystError) else {}
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return {"Allow": ", ".join(details["allow"])}
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return {"Content-Range": f"bytes */{details.get('size', '*')}"}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        return {"Retry-After": str(details.get("retry_after", 1))}
    return {}
