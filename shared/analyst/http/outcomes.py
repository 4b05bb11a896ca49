"""What a function may answer, as far as its description tells."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from analyst.http import problems
from analyst.http.answers import Answer, Encoded, FileAnswer, Redirect
from analyst.http.schemas import Schemas
from analyst.http.spec import BINARY, Allow, FunctionSpec, Json

_JSON: Final = "application/json"
_NOT_MODIFIED: Final = "The caller has the newest version already (`If-None-Match`)."

_FAILURES: Final = {
    400: "The request can't be understood.",
    401: "There is no proof of who is calling, or a wrong one.",
    403: "The caller's role does not suffice.",
    404: "There is no such thing, or none that the caller may know of.",
    413: "The body is too large.",
    415: "The body is not of the type that this takes.",
    422: "The input is wrong; `errors` tells where.",
    503: "Something that this needs does not answer now; try again after `Retry-After` seconds.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers of one status. `models` are of JSON answers, `media_types` of what has no model."""

    status: int
    description: str
    models: tuple[type[BaseModel], ...] = ()
    media_types: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()

    def describe(self, schemas: Schemas) -> Json:
        """Describe it as OpenAPI does, or refer to `standard_failures`."""
        if _FAILURES.get(self.status) == self.description and self.media_types == (problems.MEDIA_TYPE,):
            return {"$ref": f"#/components/responses/{_name(self.status)}"}
        return self.in_full(schemas)

    def in_full(self, schemas: Schemas) -> Json:
        """Describe it as OpenAPI does."""
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

    def __or__(self, other: "Outcome") -> "Outcome":
        """Join what two parts of a description say about one status; the later description counts."""
        return Outcome(
            self.status,
            other.description,
            tuple(dict.fromkeys((*self.models, *other.models))),
            tuple(dict.fromkeys((*self.media_types, *other.media_types))),
            tuple(dict.fromkeys((*self.headers, *other.headers))),
        )


def standard_failures(schemas: Schemas) -> Json:
    """Describe the failures that many functions share, by name."""
    return {_name(status): _failure(status, said).in_full(schemas) for status, said in _FAILURES.items()}


def outcomes(spec: FunctionSpec) -> list[Outcome]:
    """Tell what a function may answer: as annotated, as declared, and what the decorator answers of itself."""
    joined: dict[int, Outcome] = {}
    for outcome in (*_failures(spec), *_successes(spec), *_declared(spec)):
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
        elif kind is Redirect:
            yield Outcome(HTTPStatus.TEMPORARY_REDIRECT, "It is at `Location`.", headers=("Location",))
        elif kind is FileAnswer:
            yield from _file()
        elif kind is Encoded:
            yield Outcome(spec.status, phrase, models, headers=("ETag",))
            yield Outcome(HTTPStatus.NOT_MODIFIED, _NOT_MODIFIED, headers=("ETag",))
        else:
            yield Outcome(spec.status, phrase, models if kind is Answer else (kind,))


def _file() -> Iterable[Outcome]:
    yield Outcome(200, "The whole file.", media_types=(BINARY,), headers=("ETag", "Content-Disposition"))
    yield Outcome(206, "The part of the file that `Range` asks for.", media_types=(BINARY,), headers=("Content-Range",))
    yield Outcome(304, _NOT_MODIFIED)
    yield _failure(416, "The file has nothing in this range.")


def _declared(spec: FunctionSpec) -> Iterator[Outcome]:
    """Tell of the further answers; a success carries what the function returns unless it names a model."""
    models = tuple(model for output in _alternatives(spec.output) for model in _models(output))
    for status, said in spec.answers.items():
        if not isinstance(said, str):
            yield Outcome(status, (said.__doc__ or HTTPStatus(status).phrase).partition("\n")[0], (said,))
        elif status < HTTPStatus.BAD_REQUEST:
            yield Outcome(status, said, models)
        else:
            yield _failure(status, said)


def _models(output: Any) -> Iterable[type[BaseModel]]:
    return filter(_is_model, (output, *get_args(output)))


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _alternatives(output: Any) -> tuple[Any, ...]:
    return get_args(output) if get_origin(output) in {Union, UnionType} else (output,)
