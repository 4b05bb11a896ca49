"""The OpenAPI 3.1 document, generated from the declarations of the functions."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib.metadata import version
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from analyst.access import Role
from analyst.http import problems
from analyst.http.answers import (
    PNG,
    SPOOLED_TYPES,
    Accepted,
    Answer,
    Encoded,
    FileAnswer,
    Picture,
    Redirect,
    Spooled,
    Streamed,
    Text,
)
from analyst.http.schemas import Schemas
from analyst.http.spec import BINARY, Allow, FunctionSpec, Json

_JSON: Final = "application/json"
_NOT_MODIFIED: Final = "The version in `If-None-Match` is the current one."

_TEXTS: Final = ("text/plain", "text/markdown", "application/json", "application/x-ndjson", "text/event-stream")

_FAILURES: Final = {
    400: "The request is malformed.",
    401: "The credentials are missing or invalid.",
    403: "The caller's role or the scope of the token is not sufficient.",
    404: "The resource does not exist, or the caller can't see it.",
    413: "The request body is too large.",
    415: "The media type of the request body is not supported.",
    422: "The input is invalid; `errors` lists where and why.",
    503: "A dependency is temporarily unavailable; try again after `Retry-After` seconds.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The responses of one status. `models` are the models of JSON bodies, `media_types` those of other bodies."""

    status: int
    description: str
    models: tuple[type[BaseModel], ...] = ()
    media_types: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()

    def describe(self, schemas: Schemas) -> Json:
        """Return the OpenAPI description, or a reference to one of the `standard_failures`."""
        if _FAILURES.get(self.status) == self.description and self.media_types == (problems.MEDIA_TYPE,):
            return {"$ref": f"#/components/responses/{_name(self.status)}"}
        return self.in_full(schemas)

    def in_full(self, schemas: Schemas) -> Json:
        """Return the OpenAPI description."""
        content: Json = {name: {"schema": self._bare(name, schemas)} for name in self.media_types}
        if len(self.models) == 1:
            content[_JSON] = {"schema": schemas.reference(self.models[0])}
        elif self.models:
            content[_JSON] = {"schema": {"anyOf": [schemas.reference(model) for model in self.models]}}
        described: Json = {"description": self.description}
        if self.headers:
            described["headers"] = {name: {"schema": {"type": "string"}} for name in self.headers}
        return {**described, "content": content} if content else described

    @staticmethod
    def _bare(media_type: str, schemas: Schemas) -> Json:
        return schemas.problem() if media_type == problems.MEDIA_TYPE else {}

    def shaped(self, media_type: str) -> "Outcome":
        """Return the outcome with failures of another media type, where a protocol prescribes their form."""
        changed = (media_type if name == problems.MEDIA_TYPE else name for name in self.media_types)
        return replace(self, media_types=tuple(changed))

    def __or__(self, other: "Outcome") -> "Outcome":
        """Merge two parts of a description by status; the later description overrides the earlier one."""
        return Outcome(
            self.status,
            other.description,
            tuple(dict.fromkeys((*self.models, *other.models))),
            tuple(dict.fromkeys((*self.media_types, *other.media_types))),
            tuple(dict.fromkeys((*self.headers, *other.headers))),
        )


def standard_failures(schemas: Schemas) -> Json:
    """Describe the failures that many functions share, by name."""
    return {_name(status): _failure(status, description).in_full(schemas) for status, description in _FAILURES.items()}


def outcomes(spec: FunctionSpec) -> list[Outcome]:
    """Return the possible responses of a function: as annotated, as declared, and those of the decorator."""
    joined: dict[int, Outcome] = {}
    for each in (*_failures(spec), *_successes(spec), *_declared(spec)):
        outcome = each if spec.errors is None else each.shaped(spec.errors.media_type)
        joined[outcome.status] = joined[outcome.status] | outcome if outcome.status in joined else outcome
    return list(joined.values())


def _failures(spec: FunctionSpec) -> Iterator[Outcome]:
    statuses = {400, 422, 503}
    if spec.allow is not Allow.ANYBODY:
        statuses |= {401, 403}
    if spec.path.names:
        statuses.add(404)
    if spec.binary:
        statuses |= {413} if spec.foreign else {413, 415}
    if spec.takes_body and spec.input is not None:
        statuses |= {413, 415}
    return (_failure(status, _FAILURES[status]) for status in sorted(statuses))


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _failure(status: int, description: str) -> Outcome:
    headers = {401: ("WWW-Authenticate",), 416: ("Content-Range",), 429: ("Retry-After",), 503: ("Retry-After",)}
    return Outcome(status, description, media_types=(problems.MEDIA_TYPE,), headers=headers.get(status, ()))


def _successes(spec: FunctionSpec) -> Iterator[Outcome]:
    phrase = HTTPStatus(spec.status).phrase
    for output in _alternatives(spec.output):
        kind, models = get_origin(output) or output, tuple(filter(_is_model, get_args(output)))
        if kind is None or kind is type(None):
            yield Outcome(HTTPStatus.NO_CONTENT, HTTPStatus.NO_CONTENT.phrase)
        elif kind is Text:
            yield Outcome(spec.status, phrase, media_types=_TEXTS)
        elif kind is Picture:
            yield Outcome(spec.status, phrase, media_types=(PNG,))
        elif kind is Accepted:
            yield Outcome(HTTPStatus.ACCEPTED, HTTPStatus.ACCEPTED.phrase)
        elif kind is Redirect:
            yield Outcome(HTTPStatus.TEMPORARY_REDIRECT, "Redirects to `Location`.", headers=("Location",))
        elif kind in {FileAnswer, Streamed}:
            yield from _file()
        elif kind is Spooled:
            yield Outcome(spec.status, phrase, models, media_types=SPOOLED_TYPES)
        elif kind is Encoded:
            yield Outcome(spec.status, phrase, models, headers=("ETag",))
            yield Outcome(HTTPStatus.NOT_MODIFIED, _NOT_MODIFIED, headers=("ETag",))
        else:
            yield Outcome(spec.status, phrase, models if kind is Answer else (kind,))


def _file() -> Iterable[Outcome]:
    yield Outcome(200, "The whole file.", media_types=(BINARY,), headers=("ETag", "Content-Disposition"))
    yield Outcome(206, "The requested range of the file.", media_types=(BINARY,), headers=("Content-Range",))
    yield Outcome(304, _NOT_MODIFIED)
    yield _failure(416, "The requested range lies outside the file.")


def _declared(spec: FunctionSpec) -> Iterator[Outcome]:
    """List the further documented responses. A success has the output of the function unless it names a model."""
    models = tuple(model for output in _alternatives(spec.output) for model in _models(output))
    for status, answer in spec.answers.items():
        if not isinstance(answer, str):
            yield Outcome(status, (answer.__doc__ or HTTPStatus(status).phrase).partition("\n")[0], (answer,))
        elif status < HTTPStatus.BAD_REQUEST:
            yield Outcome(status, answer, models)
        else:
            yield _failure(status, answer)


def _models(output: Any) -> Iterable[type[BaseModel]]:
    return filter(_is_model, (output, *get_args(output)))


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _alternatives(output: Any) -> tuple[Any, ...]:
    return get_args(output) if get_origin(output) in {Union, UnionType} else (output,)


_TITLE: Final = "AI Data Analyst"
_ABOUT: Final = (
    "The API of AI Data Analyst. Every response has an `X-Request-Id` header, and every error is a problem document "
    "(RFC 9457). Requests for tables that the caller can't read are answered as if the tables did not exist."
)
_SECURITY_SCHEMES: Final[Json] = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal access token, `da_…`: `Authorization: Bearer da_…`.",
    },
    "serviceToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of schedulers and other functions: the setting `SERVICE_TOKEN`.",
    },
}


class ProblemDocument(BaseModel):
    """Why a request failed. `errors` lists the invalid parts of the input; some errors have further members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list["WrongPart"] | None = None


class WrongPart(BaseModel):
    """The location of an invalid part of the input, and the reason."""

    loc: list[int | str]
    msg: str


def build(functions: Iterable[FunctionSpec]) -> Json:
    """Describe functions."""
    shown = [spec for spec in functions if not spec.hidden and not spec.is_page]
    outputs = [model for spec in shown for outcome in outcomes(spec) for model in outcome.models]
    schemas = Schemas([spec.input for spec in shown if spec.input], [*outputs, ProblemDocument])
    names = _operation_ids(shown)
    paths: dict[str, Json] = {}
    for spec in sorted(shown, key=lambda spec: (spec.tag, spec.path.order)):
        paths.setdefault(spec.path.text, {})[spec.method.lower()] = _operation(spec, names[id(spec)], schemas)
    failures = standard_failures(schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version("ai-data-analyst"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": _tags(shown),
        "paths": paths,
        "components": {
            "schemas": schemas.used_in([paths, failures]),
            "responses": failures,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(spec: FunctionSpec, operation_id: str, schemas: Schemas) -> Json:
    summary, _, description = spec.description.partition("\n")
    operation: Json = {"operationId": operation_id, "tags": [spec.tag], "summary": summary.strip().rstrip(".")}
    if description.strip():
        operation["description"] = description.strip()
    operation["x-allow"] = spec.allow.value
    operation["security"] = _security(spec.allow)
    if parameters := _parameters(spec, schemas):
        operation["parameters"] = parameters
    if spec.input is not None and spec.takes_body:
        operation["requestBody"] = schemas.body(spec.input, without=spec.path.names)
    if spec.binary:
        media_type = "*/*" if spec.foreign else BINARY
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": {"format": "binary"}}}}
    operation["responses"] = {
        str(outcome.status): outcome.describe(schemas)
        for outcome in sorted(outcomes(spec), key=lambda outcome: outcome.status)
    }
    return operation


def _security(allow: Role | Allow) -> list[Mapping[str, list[str]]]:
    if allow is Allow.ANYBODY:
        return []
    if allow in {Allow.SERVICE, Allow.CALLER}:
        return [{"serviceToken": []}, {"accessToken": []}]
    return [{"accessToken": []}]


def _parameters(spec: FunctionSpec, schemas: Schemas) -> list[Json]:
    if spec.input is None:
        return []
    parameters = schemas.parameters(spec.input)
    in_path = [{**field, "in": "path", "required": True} for field in parameters if field["name"] in spec.path.names]
    for parameter in in_path:
        schemas.limit_to_segment(parameter["schema"], spans=parameter["name"] in spec.path.spanning)
    return (
        in_path
        if spec.takes_body
        else [*in_path, *(field for field in parameters if field["name"] not in spec.path.names)]
    )


def _operation_ids(functions: Sequence[FunctionSpec]) -> dict[int, str]:
    """Name each function; functions of the same name are prefixed by their modules."""
    times = Counter(spec.name for spec in functions)
    return {id(spec): spec.name if times[spec.name] == 1 else f"{spec.tag}_{spec.name}" for spec in functions}


def _tags(functions: Iterable[FunctionSpec]) -> list[Json]:
    modules = {spec.tag: spec.module for spec in functions}
    texts = {tag: sys.modules[module].__doc__ or "" for tag, module in modules.items()}
    return [{"name": tag, "description": texts[tag].partition("\n")[0]} for tag in sorted(texts)]
