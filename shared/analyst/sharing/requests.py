"""What readers ask of a table, and of lists: the capabilities, the body of a query, times, and page tokens.

Source: the Delta Sharing protocol, 'Read Data from a Table', 'Delta Sharing Capabilities Header' and 'File ID Hash
Header'.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from analyst.errors import InvalidInputError

Json = dict[str, Any]

_LONGEST_PAGE: Final = 500
_PAGES_FOR: Final = timedelta(days=3)
_REFRESH_FOR: Final = timedelta(days=1)
_INT32: Final = (1 << 31) - 1
_INT64: Final = (1 << 63) - 1
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE)


_CODES: Final = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "METHOD_NOT_ALLOWED",
    413: "MALFORMED_REQUEST",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""The codes of failures without a code of their own, by status."""


class SharingError(InvalidInputError):
    """A request that the protocol does not allow."""

    status = 400
    code = "invalid"

    def __init__(self, message: str, *, code: str = "INVALID_PARAMETER_VALUE") -> None:
        super().__init__(message, errorCode=code)
        self.details["message"] = message


class MalformedBodyError(SharingError):
    """A body that is not JSON, or has a member of another type."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="MALFORMED_REQUEST")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader accepts: the headers `delta-sharing-capabilities` and `fileidhash`."""

    formats: frozenset[str] = frozenset({"parquet"})
    with_end: bool = False
    file_ids: str | None = None
    """The scheme of the ids of files; `None` is that of the format."""

    @classmethod
    def of(cls, header: str | None, file_ids: str | None = None) -> "Capabilities":
        """Read the headers; keys and values have any case.

        `asyncquery` is not among what this server recognizes: it answers from the catalog at once, so every query is
        served synchronously, as the protocol says of such servers.

        Raises:
            SharingError: a format or a scheme is unknown.
        """
        found: dict[str, str] = {}
        for part in (header or "").lower().split(";"):
            key, _, value = part.partition("=")
            found[key.strip()] = value.strip()
        formats = frozenset(each.strip() for each in found.get("responseformat", "").split(",")) & {"parquet", "delta"}
        if found.get("responseformat") and not formats:
            raise SharingError("responseformat must be parquet, delta, or both")
        scheme = None if file_ids is None else file_ids.strip().lower()
        if scheme not in {None, "parquet", "delta"}:
            raise SharingError(f"Unsupported fileidhash: {file_ids!r}; use 'parquet' or 'delta'")
        return cls(formats or frozenset({"parquet"}), found.get("includeendstreamaction") == "true", scheme)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query: hints, a limit, a version, and paging. What is not given has no effect."""

    sql_hints: tuple[str, ...] = ()
    json_hints: str | None = None
    limit: int | None = None
    version: int | None = None
    timestamp: datetime | None = None
    starting_version: int | None = None
    ending_version: int | None = None
    with_protocols: bool = False
    """Whether protocols that change between the versions are returned too."""
    max_files: int | None = None
    page_token: str | None = None
    refresh_token: str | None = None
    with_refresh_token: bool = False


def asked_of(document: Mapping[str, Any]) -> Asked:
    """Read the body of a query; members that are not known are ignored, as the protocol says.

    Raises:
        SharingError: a member has the wrong type or value, or two contradict each other.
    """

    def text(name: str) -> str | None:
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedBodyError(f"'{name}' must be a text")
        return value or None

    def flag(name: str) -> bool:
        value = document.get(name)
        if value is not None and not isinstance(value, bool):
            raise MalformedBodyError(f"'{name}' must be true or false")
        return value is True

    hints = document.get("predicateHints")
    if hints is not None and not isinstance(hints, list):
        raise MalformedBodyError("'predicateHints' must be a list of texts")
    _one_of(document, "version", "timestamp", "startingVersion")
    of_version = any(document.get(name) is not None for name in ("version", "timestamp", "startingVersion"))
    page_token, refresh_token, with_refresh = text("pageToken"), text("refreshToken"), flag("includeRefreshToken")
    for name, is_given in (("includeRefreshToken", with_refresh), ("refreshToken", refresh_token is not None)):
        if is_given and of_version:
            raise SharingError(f"'{name}' can't be used when a version is queried")
        if is_given and page_token is not None:
            raise SharingError(f"'{name}' must be used in the request for the first page")
    timestamp = text("timestamp")
    return Asked(
        sql_hints=tuple(each for each in hints or () if isinstance(each, str)),
        json_hints=text("jsonPredicateHints"),
        limit=whole("limitHint", document.get("limitHint"), most=_INT32),
        version=whole("version", document.get("version")),
        timestamp=None if timestamp is None else parse_time("timestamp", timestamp),
        starting_version=whole("startingVersion", document.get("startingVersion")),
        ending_version=whole("endingVersion", document.get("endingVersion")),
        with_protocols=flag("includeHistoricalProtocol"),
        max_files=page_size(document.get("maxFiles")),
        page_token=page_token,
        refresh_token=refresh_token,
        with_refresh_token=with_refresh,
    )


def _one_of(given: Mapping[str, Any], *names: str) -> None:
    if sum(given.get(name) is not None for name in names) > 1:
        raise SharingError(f"only one of {', '.join(names)} can be used")


@dataclass(frozen=True, slots=True)
class Span:
    """The versions, or times, from and until which changes are requested, and what else to return; in pages."""

    first: int | datetime
    last: int | datetime | None = None
    with_metadata: bool = False
    """Whether metadata that changes in the span is returned, and that of its first version at the start."""
    with_protocols: bool = False
    max_files: int | None = None
    page_token: str | None = None


def span_of(given: Mapping[str, str]) -> Span:
    """Read the parameters of a query for changes.

    Raises:
        SharingError: the start is missing, a bound is given twice, or a value is not valid.
    """
    max_files = page_size(given.get("maxFiles"))
    bounds: list[int | datetime | None] = []
    for name in ("starting", "ending"):
        _one_of(given, f"{name}Version", f"{name}Timestamp")
        time = given.get(f"{name}Timestamp")
        version = whole(f"{name}Version", given.get(f"{name}Version"))
        bounds.append(version if time is None else parse_time(f"{name}Timestamp", time))
    first, last = bounds
    if first is None:
        raise SharingError("startingVersion or startingTimestamp is missing")
    return Span(
        first,
        last,
        given.get("includeHistoricalMetadata", "").lower() == "true",
        given.get("includeHistoricalProtocol", "").lower() == "true",
        max_files,
        given.get("pageToken"),
    )


def read_body(data: bytes) -> Mapping[str, Any]:
    """Read the body of a query; `{}` asks for everything.

    Raises:
        SharingError: it is not a JSON object.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise MalformedBodyError("the body must be a JSON object; use {} to ask for everything")
    return document


def whole(name: str, value: object, *, most: int = _INT64) -> int | None:
    """Read a whole number that is not negative; JSON of the protocol has large ones as text too.

    Raises:
        SharingError: it is not one, or is greater than `most`.
    """
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or not (text.isascii() and text.isdecimal()):
        raise SharingError(f"'{name}' must be a whole number that is not negative")
    if len(text) > len(str(most)) or int(text) > most:
        raise SharingError(f"'{name}' must not be greater than {most}")
    return int(text)


def page_size(value: object) -> int | None:
    """Read `maxFiles`.

    Raises:
        SharingError: it is not a positive number of 32 bits.
    """
    found = whole("maxFiles", value, most=_INT32)
    if found == 0:
        raise SharingError("'maxFiles' must be greater than 0")
    return found


def parse_time(name: str, text: str) -> datetime:
    """Read a time such as `2026-03-01T00:00:00Z`, which has a zone: without one, it would depend on the reader.

    Raises:
        SharingError: it is not one.
    """
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise SharingError(f"{name} {text[:100]!r} is not a time; use the form 2026-03-01T00:00:00Z")


def page_of(
    items: Sequence[Json], most: int | None, token: str | None, about: str, now: datetime
) -> tuple[Sequence[Json], str | None]:
    """Return a page of the list of a path, and the token of the next one.

    Raises:
        SharingError: the token is not one of ours, or of another list.
    """
    start = Token.read(token, about, now).start if token else 0
    end = start + (_LONGEST_PAGE if most is None else min(most, _LONGEST_PAGE))
    return items[start:end], Token.page(0, end, about, now) if end < len(items) else None


def list_page(items: Sequence[Json], given: Mapping[str, str], about: str, now: datetime) -> str:
    """Return a page of a list as one line of JSON: readers take the first line of an answer for the whole of it.

    Raises:
        SharingError: `maxResults` or `pageToken` is not valid.
    """
    page, token = page_of(items, whole("maxResults", given.get("maxResults")), given.get("pageToken"), about, now)
    document: Json = {"items": page, **({"nextPageToken": token} if token else {})}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def error_body(document: Mapping[str, Any], _request_id: str) -> str:
    """Return a problem document with the members that the protocol prescribes for failures."""
    code = document.get("errorCode") or _CODES.get(document["status"], "INVALID_PARAMETER_VALUE")
    return json.dumps({**document, "errorCode": code, "message": document["detail"]}, ensure_ascii=False, default=str)


@dataclass(frozen=True, slots=True)
class Token:
    """The place in a list or query where a page begins, or the version of a query whose URLs are wanted again.

    It is not a secret and grants nothing: what it names is read as the caller who sends it.
    """

    version: int
    start: int

    @staticmethod
    def page(version: int, start: int, about: str, now: datetime) -> str:
        """Return the token of a page of what `about` describes."""
        return _token(version, start, about, now + _PAGES_FOR)

    @staticmethod
    def refresh(version: int, about: str, now: datetime) -> str:
        """Return the token with which the same files are signed again."""
        return _token(version, 0, about, now + _REFRESH_FOR)

    @classmethod
    def read(cls, token: str, about: str, now: datetime) -> "Token":
        """Read a token.

        Raises:
            SharingError: it is not one of ours, belongs to something else, or has expired.
        """
        try:
            text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
            kind, version, start, until = text.split(":")
            made, ends = cls(int(version), int(start)), int(until)
        except ValueError:
            raise SharingError("the page token or refresh token can't be read; start from the beginning") from None
        if kind != _short(about) or not 0 <= made.start <= _INT64:
            raise SharingError("the page token or refresh token belongs to another table, query or list")
        if now.timestamp() > ends:
            raise SharingError("the page token or refresh token has expired; start from the beginning")
        return made


def _token(version: int, start: int, about: str, until: datetime) -> str:
    text = f"{_short(about)}:{version}:{start}:{round(until.timestamp())}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _short(about: str) -> str:
    return hashlib.sha256(about.encode()).hexdigest()[:16]
