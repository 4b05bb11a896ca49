"""JSON schemas of models for the OpenAPI document."""

import copy
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from analyst.http.spec import Json

_REF: Final = "#/components/schemas/"
_NO_NUL: Final = r"^[^\u0000]*$"
_NOT_EMPTY: Final = r"^[^\u0000]+$"
_SEGMENT: Final = r"^[^/\u0000]+$"
_ANY: Final = {"$ref": _REF + "AnyJson"}
_ANY_JSON: Final = {
    "description": "Any JSON value without NUL characters in its strings.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string", "pattern": _NO_NUL},
        {"type": "array", "items": _ANY},
        {"type": "object", "additionalProperties": _ANY, "propertyNames": {"pattern": _NO_NUL}},
    ],
}
_SAYS_WHICH_TEXT: Final = frozenset({"pattern", "format", "enum", "const"})


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Leave titles out that only repeat a name."""
        return False


class Schemas:
    """The schemas of input and output models."""

    def __init__(self, inputs: Iterable[type[BaseModel]], outputs: Iterable[type[BaseModel]]) -> None:
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = []
        wanted += [(model, "validation") for model in dict.fromkeys(inputs)]
        wanted += [(model, "serialization") for model in dict.fromkeys(outputs)]
        self._places, definitions = models_json_schema(
            wanted, ref_template=_REF + "{model}", schema_generator=_Untitled
        )
        self._definitions: dict[str, Json] = {**definitions.get("$defs", {}), "AnyJson": _ANY_JSON}
        self._inputs = {model: self._input(model) for model, mode in wanted if mode == "validation"}

    def reference(self, model: type[BaseModel]) -> Json:
        """Return a reference to an output model."""
        return dict(self._places[model, "serialization"])

    def problem(self) -> Json:
        """Refer to the problem document."""
        return {"$ref": _REF + "ProblemDocument"}

    def parameters(self, model: type[BaseModel]) -> list[Json]:
        """Describe the fields of a model as parameters of the query."""
        schema = self._inputs[model]
        required = schema.get("required", ())
        return [
            _parameter(name, copy.deepcopy(field), required=name in required)
            for name, field in schema.get("properties", {}).items()
        ]

    def body(self, model: type[BaseModel], *, without: Collection[str]) -> Json:
        """Describe a model as a body, without the fields in the path."""
        schema = copy.deepcopy(self._inputs[model])
        schema["properties"] = {k: v for k, v in schema.get("properties", {}).items() if k not in without}
        required = [name for name in schema.pop("required", ()) if name not in without]
        if required:
            schema["required"] = required
        return {"required": _demands(schema), "content": {"application/json": {"schema": schema}}}

    @staticmethod
    def limit_to_segment(schema: Json, *, spans: bool) -> None:
        """Say what a part of a path can hold."""
        if schema.get("pattern") == _NO_NUL:
            schema["pattern"] = _NOT_EMPTY if spans else _SEGMENT

    def used_in(self, document: Any) -> dict[str, Json]:
        """Collect the definitions that a document refers to, directly or not."""
        used: dict[str, Json] = {}
        waiting = list(_references(document))
        while waiting:
            name = waiting.pop()
            if name not in used:
                used[name] = self._definitions[name]
                waiting += _references(used[name])
        return dict(sorted(used.items()))

    def _input(self, model: type[BaseModel]) -> Json:
        name = str(self._places[model, "validation"]["$ref"]).removeprefix(_REF)
        for reached in self.used_in(self._definitions[name]).values():
            _tighten(reached)
        schema = copy.deepcopy(self._definitions[name])
        _tighten(schema)
        return schema


def _parameter(name: str, schema: Json, *, required: bool) -> Json:
    """Describe one parameter. It is omitted rather than null."""
    described: Json = {"name": name, "in": "query", "required": required}
    if text := schema.pop("description", None):
        described["description"] = text
    if schema.get("default", ...) is None:
        del schema["default"]
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    if kinds:
        schema |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {**described, "schema": schema}


def _demands(schema: Json) -> bool:
    """Return whether an empty object is not enough."""
    alternatives = [schema[word] for word in ("anyOf", "oneOf") if word in schema]
    return (
        bool(schema.get("required"))
        or any(map(_demands, schema.get("allOf", ())))
        or any(all(map(_demands, several)) for several in alternatives)
    )


def _tighten(schema: Any) -> None:
    """Add constraints that pydantic omits: texts without NUL, and keys that match their pattern."""
    for part in _parts(schema):
        says_which = _SAYS_WHICH_TEXT & part.keys() and (part.get("format") != "password" or "pattern" in part)
        if part.get("type") == "string" and not says_which:
            part["pattern"] = _NO_NUL
        if part.get("additionalProperties") is True:
            part["additionalProperties"] = _ANY
        if isinstance(part.get("additionalProperties"), dict):
            part.setdefault("propertyNames", {"pattern": _NO_NUL})
        if "patternProperties" in part:
            part.setdefault("additionalProperties", False)


def _parts(schema: Any) -> Iterator[Json]:
    """Walk through a schema and all that is in it."""
    if isinstance(schema, dict):
        yield schema
        for value in list(schema.values()):
            yield from _parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _parts(value)


def _references(document: Any) -> Iterator[str]:
    for part in _parts(document):
        if str(part.get("$ref", "")).startswith(_REF):
            yield part["$ref"].removeprefix(_REF)
