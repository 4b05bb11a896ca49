"""The description of the API (OpenAPI 3.1), made of what the functions say about themselves."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from pydantic import BaseModel

from analyst.access import Role
from analyst.http.outcomes import outcomes, standard_failures
from analyst.http.schemas import Schemas
from analyst.http.spec import BINARY, Allow, FunctionSpec, Json

_TITLE: Final = "AI Data Analyst"
_ABOUT: Final = (
    "A company's data for its analysts and their agents. Every answer carries `X-Request-Id`, every failure is a "
    "problem document (RFC 9457). What a caller may not read answers as if it did not exist."
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
        "description": "The token of schedulers and other functions: `SERVICE_TOKEN` of the settings.",
    },
}


class ProblemDocument(BaseModel):
    """Why a request failed. Some kinds of failures have more members; `errors` has the wrong parts of an input."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list["WrongPart"] | None = None


class WrongPart(BaseModel):
    """Where an input is wrong, and why."""

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
        str(outcome.status): outcome.describe(schemas) for outcome in sorted(outcomes(spec), key=lambda it: it.status)
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
    in_path = [{**it, "in": "path", "required": True} for it in parameters if it["name"] in spec.path.names]
    for parameter in in_path:
        schemas.limit_to_segment(parameter["schema"], spans=parameter["name"] in spec.path.spanning)
    return in_path if spec.takes_body else [*in_path, *(it for it in parameters if it["name"] not in spec.path.names)]


def _operation_ids(functions: Sequence[FunctionSpec]) -> dict[int, str]:
    """Name each function; where two have one name, with the names of their modules in front."""
    times = Counter(spec.name for spec in functions)
    return {id(spec): spec.name if times[spec.name] == 1 else f"{spec.tag}_{spec.name}" for spec in functions}


def _tags(functions: Iterable[FunctionSpec]) -> list[Json]:
    modules = {spec.tag: spec.module for spec in functions}
    return [{"name": tag, "description": _first_line(modules[tag])} for tag in sorted(modules)]


def _first_line(module: str) -> str:
    return (sys.modules[module].__doc__ or "").partition("\n")[0]
