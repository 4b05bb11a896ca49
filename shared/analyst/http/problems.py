"""Errors become responses here, and only here: problem documents (RFC 9457), or pages for browsers."""

import json
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException

from analyst.errors import AnalystError
from analyst.http.html import html_response, render, sentence
from analyst.http.response import Response

MEDIA_TYPE = "application/problem+json"

_INTERNAL = "unexpected error; see the server log for the request id {}"
_TITLES = {401: "Please sign in", 403: "Access denied", 404: "Not found", 429: "Too many attempts"}
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


def answer(error: Exception, request_id: str, *, as_page: bool = False) -> Response:
    """Return the response to a failed request, a page for browsers. Details of internal errors stay in the log."""
    document = describe(error, request_id)
    if as_page:
        return _page(error, document)
    body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
    response = Response(body, status=document["status"], content_type=MEDIA_TYPE)
    response.headers.update(_headers(error, document["status"]))
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


def _page(error: Exception, document: dict[str, Any]) -> Response:
    link = {"url": "/login", "text": "Sign in"} if document["status"] == HTTPStatus.UNAUTHORIZED else None
    title = _TITLES.get(document["status"], document["title"])
    response = html_response(
        render("message.html", title=title, text=sentence(document["detail"]), link=link), document["status"]
    )
    response.headers.update(_headers(error, document["status"]))
    return response


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
