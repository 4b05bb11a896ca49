"""What functions can return besides a model, and how it becomes a response."""

import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import BaseModel
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wrappers import Request
from werkzeug.wsgi import FileWrapper, wrap_file

from analyst.errors import AnalystError, NotFoundError
from analyst.http.problems import RangeError
from analyst.http.response import BUFFERED, Response, html_response
from analyst.store.signing import attachment

M = TypeVar("M", bound=BaseModel)

_BLOCK = 1 << 18

PNG = "image/png"
"""The media type of pictures."""

SPOOLED_TYPES = ("text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet")
"""The media types, besides JSON, of results in files."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """A model with a status of its own, for a function that documents several."""

    body: M
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A text, or bytes, of some media type, for programs."""

    body: str | bytes
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Nothing to say: 202 without a body."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie for our own pages, which no script can read; `max_age` is in seconds, 0 removes it.

    Browsers know it by another name, see `cookie_of`.
    """

    name: str
    value: str
    max_age: int
    secure: bool = True


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the caller to another URL; 307 keeps the method, 303 makes it GET."""

    url: str
    status: int = 307
    cookies: tuple[Cookie, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page for people, made by `pages.page`. `form_targets` are origins besides ours that its form may lead to."""

    html: str
    status: int = 200
    cookies: tuple[Cookie, ...] = ()
    form_targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows: a template with its data. A page that answers GET has a twin, which returns the data as JSON.

    `data` is what the page says, made of the models of the API. `extras` are only for people: forms, plots, hints.
    """

    template: str
    title: str
    data: Mapping[str, Any]
    extras: Mapping[str, Any] = field(default_factory=dict)
    current: str = ""
    """The path of the navigation's entry that the page belongs to."""
    status: int = 200
    cookies: tuple[Cookie, ...] = ()
    error: AnalystError | None = None
    """Why there is nothing to show, which the twin raises; the page explains it and offers a way on."""


@dataclass(frozen=True, slots=True)
class Encoded(Generic[M]):
    """An encoded body: `M` as JSON, unless `media_type` differs.

    A caller with this `etag` receives 304; one that accepts gzip receives `gzipped`.
    """

    body: bytes
    etag: str
    media_type: str = "application/json"
    gzipped: bytes | None = None
    cache_control: str = "private, no-cache"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG picture that never changes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A local file, whole or a range of it, to be saved as `filename`."""

    path: Path
    filename: str
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Streamed:
    """An object of `size` bytes elsewhere, whole or a range of it, which passes through in blocks.

    `read(offset, length)` begins to read, and yields the blocks; it is not called for HEAD.
    """

    size: int
    etag: str
    read: Callable[[int, int], Iterable[bytes]]
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Spooled(Generic[M]):
    """A body in an open file, which the response closes: `M` as JSON, unless `media_type` differs.

    It is sent from the disk, however large it is. With a `filename`, browsers save it.
    """

    file: BinaryIO
    media_type: str = "application/json"
    filename: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def loads(self) -> Any:
        """Return what a body of JSON says, and close the file."""
        with self.file as file:
            file.seek(0)
            return json.load(file)


def render(answer: object, status: int, request: Request) -> Response:  # noqa: C901, PLR0911 - one per kind
    """Convert the result of a function to a response; `status` is the function's own.

    Raises:
        TypeError: a function may not return it.
    """
    match answer:
        case None:
            return Response(status=HTTPStatus.NO_CONTENT)
        case BaseModel():
            return _json(answer, status, {})
        case Text():
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            return Response(body, status=status, headers=answer.headers, content_type=answer.media_type)
        case Picture():
            headers = {"Cache-Control": "private, max-age=86400, immutable", "Content-Disposition": "inline"}
            return Response(answer.data, status=status, headers=headers, content_type=PNG)
        case Accepted():
            return Response(status=HTTPStatus.ACCEPTED)
        case Answer():
            return _json(answer.body, answer.status, answer.headers)
        case Redirect():
            is_ours = answer.url.startswith("/") and not answer.url.startswith("//")
            location = request.root_path + answer.url if is_ours else answer.url
            return _with_cookies(
                Response(status=answer.status, headers={"Location": location}), answer.cookies, request
            )
        case Page():
            response = html_response(answer.html, answer.status, answer.form_targets)
            return _with_cookies(_compressed(response, request), answer.cookies, request)
        case Encoded():
            return _encoded(answer, status, request)
        case FileAnswer():
            return _file(answer, request)
        case Streamed():
            return _streamed(answer, request)
        case Spooled():
            return _spooled(answer, status, request)
    raise TypeError(f"a function can't answer with {type(answer).__name__}")


_WORTH_COMPRESSING = 2048
_SPEED = 4
"""Of gzip: a page of 100 kB takes 1 ms, and becomes an eighth."""


def _compressed(response: Response, request: Request) -> Response:
    """Compress a page. Only pages that are read: the answers to forms may show a secret beside what was sent (BREACH)."""
    response.vary.add("Accept-Encoding")
    body = response.get_data()
    if request.method == "GET" and len(body) >= _WORTH_COMPRESSING and request.accept_encodings["gzip"] > 0:
        response.set_data(gzip.compress(body, _SPEED, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def cookie_of(request: Request, name: str, *, secure: bool | None = None) -> str | None:
    """Return the value of one of our cookies that a browser sent, over HTTPS only if it must be `secure` (`None`: either)."""
    names = [_cookie_name(request, name, secure=one) for one in (True, False) if secure in (None, one)]
    return next((value for one in names if (value := request.cookies.get(one))), None)


def _cookie_name(request: Request, name: str, *, secure: bool) -> str:
    """Return a cookie's name at browsers. With these prefixes, it can be set only over HTTPS, and `__Host-` only by this host.

    Below a path (`BASE_URL`), the host also has other applications, which must not get the cookie, and may be copies of this
    one; `__Host-` allows no path.
    """
    if not secure:
        return name
    return f"__Secure-{name}" if request.root_path else f"__Host-{name}"


def _with_cookies(response: Response, cookies: Iterable[Cookie], request: Request) -> Response:
    for cookie in cookies:
        response.set_cookie(
            _cookie_name(request, cookie.name, secure=cookie.secure),
            cookie.value,
            max_age=cookie.max_age,
            path=request.root_path or "/",
            secure=cookie.secure,
            httponly=True,
            samesite="Lax",
        )
    return response


def _json(model: BaseModel, status: int, headers: Mapping[str, str]) -> Response:
    body = model.model_dump_json(by_alias=True).encode()
    return Response(body, status=status, headers=headers, content_type="application/json")


def _encoded(answer: Encoded[Any], status: int, request: Request) -> Response:
    response = Response(answer.body, status=status, headers=answer.headers, content_type=answer.media_type)
    response.vary.update(["Accept-Encoding", "Authorization"])
    response.headers["Cache-Control"] = answer.cache_control
    response.set_etag(answer.etag, weak=True)  # the plain and the gzipped body share it
    if answer.gzipped is not None and request.accept_encodings["gzip"] > 0:
        response.set_data(answer.gzipped)
        response.headers["Content-Encoding"] = "gzip"
    if request.if_none_match.contains_weak(answer.etag):
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.set_data(b"")
    return response


def _file(answer: FileAnswer, request: Request) -> Response:
    try:
        file = answer.path.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {answer.filename!r}") from error
    try:
        return _opened_file(file, answer, request)
    except BaseException:
        file.close()
        raise


def _streamed(answer: Streamed, request: Request) -> Response:
    response = Response(content_type=answer.media_type, direct_passthrough=True)
    response.content_length = answer.size
    response.set_etag(answer.etag)
    response.headers["Cache-Control"] = "private, no-cache"
    _apply_conditions(response, request, answer.size)
    if request.method != "HEAD" and response.status_code in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        start, end = response.content_range.start or 0, response.content_range.stop or answer.size
        response.response = answer.read(start, end - start) if end > start else []
    else:
        response.direct_passthrough, response.response = False, []
    return response


def _spooled(answer: Spooled[Any], status: int, request: Request) -> Response:
    size = answer.file.seek(0, os.SEEK_END)
    answer.file.seek(0)
    body = wrap_file(request.environ, answer.file, _BLOCK)
    response = Response(
        body, status=status, headers=answer.headers, content_type=answer.media_type, direct_passthrough=True
    )
    response.content_length = size
    if answer.filename is not None:
        response.headers["Content-Disposition"] = attachment(answer.filename)
    return response


def _opened_file(file: BinaryIO, answer: FileAnswer, request: Request) -> Response:
    status = os.fstat(file.fileno())
    response = Response(FileWrapper(file, _BLOCK), content_type=answer.media_type, direct_passthrough=True)
    response.content_length = status.st_size
    response.set_etag(f"{status.st_mtime_ns:x}-{status.st_size:x}")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Content-Disposition"] = attachment(answer.filename)
    _apply_conditions(response, request, status.st_size)
    if request.method == "HEAD" or response.status_code == HTTPStatus.NOT_MODIFIED:
        file.close()
        response.direct_passthrough, response.response = False, []
    elif response.status_code == HTTPStatus.OK:
        response.response = wrap_file(request.environ, file, _BLOCK)  # the server's own, which may use sendfile
    elif request.environ.get(BUFFERED):  # its wrapper sends Content-Length bytes from the file's position
        file.seek(response.content_range.start or 0)
        response.response = wrap_file(request.environ, file, _BLOCK)
    return response


def _apply_conditions(response: Response, request: Request, size: int) -> None:
    """Apply If-None-Match and Range (RFC 9110, section 14). Several or malformed ranges are ignored.

    The last bytes of a file that has fewer are all of it, which Werkzeug takes for a range outside of the file.
    """
    environ = dict(request.environ)
    wanted = request.range
    if request.method != "GET" or wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        environ.pop("HTTP_RANGE", None)
    elif (wanted.ranges[0][0] or 0) < -size < 0:
        environ["HTTP_RANGE"] = "bytes=0-"
    try:
        response.make_conditional(environ, accept_ranges=True, complete_length=size)
    except RequestedRangeNotSatisfiable as error:
        raise RangeError(f"the requested range lies outside the file, which has {size} bytes", size=size) from error
