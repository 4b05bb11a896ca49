"""Errors become responses here, and only here: problem documents (RFC 9457), or pages for browsers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request

from analyst.addresses import parts_of
from analyst.errors import AnalystError
from analyst.http.response import Response, html_response
from analyst.pages import Reader, Site, render
from analyst.pages.html import sentence

MEDIA_TYPE = "application/problem+json"

_INTERNAL = "unexpected error; see the server log for the request id {}"
_TITLES = {
    400: "That did not work",
    401: "Please sign in",
    403: "Access denied",
    404: "Not found",
    405: "Not found",
    408: "The request took too long",
    409: "That did not work",
    413: "Too large",
    415: "That did not work",
    416: "That did not work",
    422: "That did not work",
    429: "Too many attempts",
    431: "The request is too large",
    500: "Something went wrong",
    503: "Temporarily unavailable",
}
_PASSING = (429, 500, 503)
_NOWHERE = "nowhere"
"""The place of a page about an error in the navigation."""
_UNCONFIGURED = "the settings of this server are invalid; see its log for the details"


class MalformedError(AnalystError):
    """The request is malformed."""

    status = 400
    code = "malformed"


class MethodNotAllowedError(AnalystError):
    """The path exists, but not for this method; `allow` has the allowed methods."""

    status = 405
    code = "method_not_allowed"


class TimedOutError(AnalystError):
    """The request did not arrive in time."""

    status = 408
    code = "timed_out"
    retryable = True


class TooLargeError(AnalystError):
    """The body is larger than the function accepts."""

    status = 413
    code = "too_large"


class MediaTypeError(AnalystError):
    """The body has a type that the function does not accept."""

    status = 415
    code = "media_type"


class RangeError(AnalystError):
    """The range lies outside of the file, whose `size` is in bytes."""

    status = 416
    code = "range"


class HeadersTooLargeError(AnalystError):
    """The request line and the headers are larger than the server accepts."""

    status = 431
    code = "headers_too_large"


class NotImplementedHereError(AnalystError):
    """The request needs a feature of HTTP that the server does not implement."""

    status = 501
    code = "not_implemented"


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How failures are reported where a protocol prescribes it: by all functions below a path, and where there is none.

    `body` makes it of the problem document, with the further members that the error has, and of the id of the request.
    """

    prefix: str
    body: Callable[[Mapping[str, Any], str], str]
    media_type: str = "application/json"

    def covers(self, path: str) -> bool:
        """Return whether a path lies below the prefix."""
        return path == self.prefix or path.startswith(self.prefix + "/")


def wants_page(request: Request) -> bool:
    """Return whether a client prefers HTML to JSON, as browsers do; one that accepts both alike is a program."""
    return request.accept_mimetypes["text/html"] > request.accept_mimetypes["application/json"]


def answer(
    error: Exception,
    request_id: str,
    *,
    shape: ErrorShape | None = None,
    page_for: Request | None = None,
    site: Site | None = None,
    reader: Reader | None = None,
    form: Sequence[tuple[str, str]] = (),
) -> Response:
    """Make the response to a request that failed: a problem document, or a page for the browser that sent `page_for`.

    A protocol's own `shape` overrides both.

    `reader` is who has signed in there. `form` are the fields that the page shows, and can send again after signing in. The messages
    of internal errors stay in the log.
    """
    document = describe(error, request_id)
    if shape is not None:
        body = shape.body(document, request_id).encode("utf-8", "replace")
        response = Response(body, status=document["status"], content_type=shape.media_type)
    elif page_for is not None:
        response = _page(document, page_for, site or Site(), reader, form)
    else:
        body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
        response = Response(body, status=document["status"], content_type=MEDIA_TYPE)
    response.headers.update(_headers(error, document["status"]))
    response.vary.add("Accept")
    return response


def describe(error: Exception, request_id: str) -> dict[str, Any]:
    """Return the problem document of a failure."""
    if isinstance(error, AnalystError) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        document = _document(error.status, error.code, str(error))
        return {**document, **error.details, **document}
    if isinstance(error, HTTPException) and error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _document(error.code, _code(error.code), error.description or "")
    code = error.code if isinstance(error, AnalystError) else AnalystError.code
    detail = _UNCONFIGURED if code == "settings" else _INTERNAL.format(request_id)
    return {**_document(500, code, detail), "request_id": request_id}


def _page(
    document: dict[str, Any], request: Request, site: Site, reader: Reader | None, form: Sequence[tuple[str, str]]
) -> Response:
    status = document["status"]
    if form and status == HTTPStatus.UNAUTHORIZED:
        is_again = _page_before(request) == request.path  # sent from this page, which may have no address of its own
        sign_in = "/login" if is_again else _ways_on(status, request, reader)[0]["url"]
        values = {"action": request.path, "fields": form, "sign_in": sign_in}
        html = render("session_ended.html", site, title="Your session has ended", user=None, current=_NOWHERE, **values)
        return html_response(html, status)
    html = render(
        "message.html",
        site,
        title=_TITLES.get(status, document["title"]),
        text=sentence(document["detail"]),
        request_id=document.get("request_id"),
        links=_ways_on(status, request, reader),
        fields=[(name, value) for name, value in form if value and name != "seen"],
        user=reader,
        current=_NOWHERE,
    )
    return html_response(html, status)


def _ways_on(status: int, request: Request, reader: Reader | None) -> list[dict[str, str]]:
    """Say where to go from an error: to sign in and come back, to try again, back to the form, or to the start."""
    is_read = request.method in {"GET", "HEAD"}
    came_from = _page_before(request)
    here = request.full_path.rstrip("?") if is_read else came_from
    if status == HTTPStatus.UNAUTHORIZED:
        return [{"url": "/login" if here is None else f"/login?{urlencode({'next': here})}", "text": "Sign in"}]
    start = {"url": "/", "text": "Sign in" if reader is None else "Go to your tables"}
    if is_read and status in _PASSING:
        return [{"url": here or "/", "text": "Try again"}, start]
    if not is_read and came_from is not None:
        return [{"url": came_from, "text": "Go back"}, start]
    if reader is not None and status == HTTPStatus.NOT_FOUND:
        return [{"url": "/catalog", "text": "Search the catalog"}, start]
    return [start]


def _page_before(request: Request) -> str | None:
    """Return the path of the page of ours from which a form was sent."""
    back = parts_of(request.referrer or "")
    path = back.path.removeprefix(request.root_path)
    is_below = back.path == request.root_path + path
    is_ours = back.netloc == request.host and is_below and path.startswith("/") and not path.startswith("//")
    return path if is_ours else None


def _document(status: int, code: str, detail: str) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}


def _code(status: int) -> str:
    """Return the code of a failure that the web framework found."""
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
