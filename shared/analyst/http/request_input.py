"""Reading the input of a function from a request, with strict JSON semantics for path, query and body alike."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request

from analyst.errors import InvalidInputError
from analyst.http.problems import MalformedError, MediaTypeError, TooLargeError
from analyst.http.spec import BINARY, FunctionSpec, Json
from analyst.validation import reason

Place = Literal["path", "query", "body"]

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_WORDS: Final = {"true": True, "false": False}
_LONGEST_INTEGER: Final = 308
_EXACT: Final = 1 << 53
FORM: Final = "application/x-www-form-urlencoded"
"""What forms of pages are sent as."""
_BLOCK: Final = 1 << 18
_MOST_PARAMETERS: Final = 1000
_MOST_ERRORS: Final = 20
_LONGEST_NAME: Final = 100
_VERBS: Final = ("must ", "is ", "has ", "lists ")
_EXTRA: Final = "is not a known field"


def check_size(request: Request, limit: int) -> None:
    """Reject a body of more than `limit` bytes.

    Raises:
        TooLargeError: its Content-Length is greater.
    """
    request.max_content_length = (
        limit + 1
    )  # a body without a Content-Length is cut off one byte later, which is then detected
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def read_input(spec: FunctionSpec, path: Mapping[str, str], request: Request) -> BaseModel | None:
    """Read the model that a function takes; `None` if it takes none.

    Raises:
        MalformedError, MediaTypeError, TooLargeError: the body can't be read.
        InvalidInputError: the input does not match the model; `errors` has the places and reasons, not the values.
    """
    query = {} if spec.foreign else _pairs(request.query_string)
    body = _data(request, spec.body_limit) if spec.takes_body else b""
    if spec.input is None or spec.takes_body:
        _refuse("query", query, "this function has no query parameters")
    if spec.input is None:
        return None
    given = _given(spec, request, body) if spec.takes_body else _typed(spec.input, query)
    source: Place = "body" if spec.takes_body else "query"
    _refuse(source, given.keys() & path.keys(), "the path already sets it")
    parts = _typed(spec.input, {name: [text] for name, text in path.items()})
    read = _validate(spec.input, {**given, **parts}, source, frozenset(path))
    if spec.binary and not spec.foreign:
        _require_type(request, BINARY)
    return read


def _given(spec: FunctionSpec, request: Request, body: bytes) -> Json:
    if spec.is_page and spec.input is not None and request.mimetype == FORM:
        return _typed(spec.input, _pairs(body))
    return _body(request, body)


def _validate(model: type[BaseModel], document: Json, source: Place, path: frozenset[str]) -> BaseModel:
    try:
        return model.model_validate_json(_portable(document), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    errors: list[Json] = []
    listed: set[tuple[str, ...]] = set()
    for item in found[:_MOST_ERRORS]:
        loc = item["loc"]
        place = "path" if loc and loc[0] in path else source
        message = reason(item)
        if item["type"] == "extra_forbidden":
            fields = tuple(sorted(name for name in _fields_at(model, loc[:-1]) if len(loc) > 1 or name not in path))
            message = _unknown(str(loc[-1]), fields, is_listed=fields in listed)
            listed.add(fields)
        errors.append({"loc": [place, *_shown(loc)], "msg": message})
    raise _invalid(errors)


def _unknown(name: str, fields: tuple[str, ...], *, is_listed: bool) -> str:
    """Return the message about an unknown field, with the fields that exist in its place."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME].lower(), fields, 1)
    near = near or [field for field in fields if name.lower() in field.split("_")]
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    if is_listed:
        return _EXTRA + suggestion
    listing = f"the fields are {', '.join(map(repr, fields))}" if fields else "there are no fields"
    return f"{_EXTRA}{suggestion or ';'} {listing[:1].upper() + listing[1:] if suggestion else listing}"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """Return the names of the fields in a place of a document; `loc` also names the members of unions, and items."""
    models = {model}
    for part in loc:
        fields = [field for each in models for name, field in each.model_fields.items() if _name(name, field) == part]
        if fields:
            models = {inner for field in fields for inner in _models(field.annotation)}
        else:
            models = {each for each in models if each.__name__ == part or _is_tagged(each, part)} or models
    return {_name(name, field) for each in models for name, field in each.model_fields.items()}


def _is_tagged(model: type[BaseModel], tag: int | str) -> bool:
    """Return whether a member of a discriminated union is the one with this tag."""
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _portable(document: Json) -> bytes:
    """Write the document as JSON again, to check that every database and client can represent it."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except (ValueError, RecursionError) as error:
        raise MalformedError("the request contains text that is not valid Unicode, or is nested too deeply") from error
    if _NUL.search(text):
        raise MalformedError("the request contains a NUL character")
    return data


def _refuse(place: Place, names: Iterable[str], reason: str) -> None:
    """Reject input that the function does not take."""
    errors = [{"loc": [place, *_shown([name])], "msg": f"{_EXTRA}; {reason}"} for name in sorted(names)]
    if errors:
        raise _invalid(errors[:_MOST_ERRORS])


def _invalid(errors: list[Json]) -> InvalidInputError:
    return InvalidInputError("; ".join(map(_sentence, errors)), errors=errors)


def _sentence(error: Json) -> str:
    """Return one text from the place and the message of an error; most messages continue the name of the field."""
    place, message = ".".join(map(str, error["loc"][1:])) or error["loc"][0], error["msg"]
    return f"'{place}' {message}" if message.startswith(_VERBS) else f"{place}: {message}"


def _shown(loc: Iterable[int | str]) -> list[int | str]:
    return [part[:_LONGEST_NAME] if isinstance(part, str) else part for part in loc]


def _pairs(data: bytes) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise MalformedError("the query string or form is not UTF-8, or has too many parameters") from error
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _typed(model: type[BaseModel], values: Mapping[str, list[str]]) -> Json:
    """Convert texts to the JSON types of a model's fields; texts that do not fit are left for the model to reject."""
    typed: Json = {}
    for name, texts in values.items():
        kinds = _kinds(model).get(name, frozenset({str}))
        if list in kinds:
            typed[name] = [_scalar(text, kinds) for text in texts]
        elif len(texts) > 1:
            raise _invalid([{"loc": ["query", *_shown([name])], "msg": "must be given only once"}])
        else:
            typed[name] = _scalar(texts[0], kinds)
    return typed


def _scalar(text: str, kinds: frozenset[type]) -> bool | int | float | str:
    if bool in kinds and text in _WORDS:
        return _WORDS[text]
    if int in kinds and _INTEGER.fullmatch(text):
        return int(text)
    if {int, float} & kinds and _NUMBER.fullmatch(text):
        with suppress(ValueError):  # out of range
            return _number(text)
    return text


@cache
def _kinds(model: type[BaseModel]) -> Mapping[str, frozenset[type]]:
    """Return the types that each field may have, by its name in a request; `list` for every collection."""
    return {_name(name, field): frozenset(_types(field.annotation)) for name, field in model.model_fields.items()}


def _name(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name


def _types(annotation: Any) -> Iterable[type]:
    origin = get_origin(annotation)
    if origin in {list, tuple, set, frozenset}:
        yield list
    elif isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


def _body(request: Request, data: bytes) -> Json:
    if not data:
        return {}
    _require_type(request, "application/json")
    document = _parse(data)
    if not isinstance(document, dict):
        raise _invalid([{"loc": ["body"], "msg": "must be an object"}])
    return document


def _require_type(request: Request, media_type: str) -> None:
    if request.mimetype != media_type or request.headers.get("Content-Encoding", "identity") != "identity":
        raise MediaTypeError(f"the body must have the content type {media_type} and no content encoding")


def _data(request: Request, limit: int) -> bytes:
    """Read the whole body; the request keeps it."""
    try:
        data = request.get_data()
    except Exception as error:  # servers raise exceptions of their own for a truncated or malformed body
        raise MalformedError("the body can't be read") from error
    if len(data) > limit:
        raise _too_large(limit)
    if len(data) < (request.content_length or 0):
        raise MalformedError("the body was incomplete when the connection closed")
    return data


def blocks(request: Request) -> Iterator[bytes]:
    """Yield the blocks of a binary body as they arrive.

    Raises:
        MalformedError: it is truncated.
        RequestEntityTooLarge: it has no Content-Length, and is larger than the function accepts.
    """
    while block := _block(request):
        yield block


def _block(request: Request) -> bytes:
    try:
        return request.stream.read(_BLOCK)
    except RequestEntityTooLarge:
        raise
    except Exception as error:  # servers raise exceptions of their own here, too
        raise MalformedError("the body was incomplete when the connection closed") from error


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limit} bytes", limit=limit)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_number,
            parse_int=_bounded,
        )
    except RecursionError as error:
        raise MalformedError("the body is nested too deeply") from error
    except ValueError as error:
        raise MalformedError(f"the body is not valid JSON: {_reason(error)}") from error


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("an object has a duplicate key")
    return document


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _number(text: str) -> int | float:
    """Parse a number; in JSON Schema, 1.0 is an integer."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _bounded(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError("an integer is out of range")
    return int(text)
