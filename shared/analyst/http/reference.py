"""The API reference as one HTML page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analyst.http.spec import BINARY
from analyst.pages import Site, below

Json = Mapping[str, Any]


def curl(method: str, path: str, operation: Json, document: Json) -> str:
    """Write an example call; the reader fills in `$SERVER`, `$TOKEN`, `$FILE` and the parts in braces."""
    query = "&".join(
        f"{parameter['name']}={{{parameter['name']}}}"
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and parameter["required"]
    )
    lines = [f'curl "$SERVER{path}{"?" if query else ""}{query}"']
    if method not in {"GET", "POST"} or (method == "POST" and not body_schema(operation)):
        lines.append(f"-X {method}")
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if body_schema(operation):
        example = json.dumps(_example(body_schema(operation), document), ensure_ascii=False)
        lines.append("--json '" + example.replace("'", "'\\''") + "'")
    if BINARY in operation.get("requestBody", {}).get("content", {}):
        lines.append(f'-H "Content-Type: {BINARY}" --data-binary "@$FILE"')
    return " \\\n  ".join(lines)


def body_schema(operation: Json) -> Json:
    """Return the schema of the body, empty without one."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    schema: Json = content.get("application/json", {}).get("schema", {})
    return schema


def resolved(schema: Json, document: Json) -> Json:
    """Follow a reference within a document."""
    while "$ref" in schema:
        *_, kind, name = schema["$ref"].split("/")
        schema = document["components"][kind][name]
    return schema


def _example(schema: Json, document: Json) -> Any:
    """Return an example of a value; for an object, of the required fields, or of the first one."""
    schema = resolved(schema, document)
    if schema.get("default") is not None:
        return schema["default"]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return _example(alternatives[0], document)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        names = schema.get("required") or list(fields)[:1]
        return {name: _example(fields[name], document) for name in names}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), document)]
    return {"integer": schema.get("minimum", 1), "number": 1.0, "boolean": True}.get(schema.get("type", ""), "…")


_TEMPLATE: Final = Path(__file__).with_name("reference.html")
_WHO: Final = {
    "anybody": "anybody",
    "caller": "everyone with a token, and services",
    "service": "services and admins",
    "viewer": "everyone with a token",
    "analyst": "analysts and above",
    "km_admin": "km_admins and admins",
    "admin": "admins",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an input or a model, or one parameter. `kind` is markup."""

    name: str
    kind: Markup
    place: str
    required: bool
    description: str
    default: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One function, as the template shows it."""

    id: str
    tag: str
    method: str
    path: str
    summary: str
    description: str
    who: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, Markup], ...]
    curl: str


def render(document: Json, site: Site) -> str:
    """Render an OpenAPI document, with the name and logo of the instance."""
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    operations = list(_operations(document))
    markup = page.render(
        info=document["info"],
        site=site,
        logo=site.shown_logo,
        groups=[
            (tag, [operation for operation in operations if operation.tag == tag["name"]]) for tag in document["tags"]
        ],
        models={
            name: (schema.get("description", ""), _fields(schema, document), kind_of(schema))
            for name, schema in document["components"]["schemas"].items()
        },
    )
    return below(site.prefix, markup)


def kind_of(schema: Json) -> Markup:
    """Return a schema as a short type, with links to the models."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#model-{0}">{0}</a>').format(name)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return Markup(" | ").join(map(kind_of, alternatives))
    if "const" in schema or "enum" in schema:
        return Markup(" | ").join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return Markup("list of {}").format(kind_of(schema.get("items", {})))
    if schema.get("type") == "object" and not schema.get("properties"):
        return Markup("map of {}").format(kind_of(_values(schema)))
    return Markup("{}{}").format(schema.get("format") or schema.get("type", "anything"), _limits(schema))


def _values(schema: Json) -> Json:
    """Return the schema of a map's values."""
    values = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    return values if isinstance(values, Mapping) else {}


def _default(schema: Json) -> str:
    """Return the default of a field, empty if there is none."""
    default = schema.get("default")
    return "" if default in (None, "", [], {}) else json.dumps(default, ensure_ascii=False)


def _limits(schema: Json) -> str:
    """Return the bounds of a number."""
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = f" {least if least is not None else ''}…{most if most is not None else ''}"
    return bounds if least is not None or most is not None else ""


def _operations(document: Json) -> Iterable[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            fields = (*_parameters(operation), *_fields(body_schema(operation), document, place="body"))
            yield Operation(
                id=operation["operationId"],
                tag=operation["tags"][0],
                method=method.upper(),
                path=path,
                summary=operation["summary"],
                description=operation.get("description", ""),
                who=_WHO[operation["x-allow"]],
                fields=fields,
                answers=tuple(map(partial(_answer, document), *zip(*operation["responses"].items(), strict=True))),
                curl=curl(method.upper(), path, operation, document),
            )


def _parameters(operation: Json) -> Iterable[Field]:
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        yield Field(
            parameter["name"],
            kind_of(schema),
            parameter["in"],
            parameter["required"],
            parameter.get("description", ""),
            _default(schema),
        )


def _fields(schema: Json, document: Json, place: str = "") -> list[Field]:
    required = schema.get("required", ())
    found = resolved(schema, document).get("properties", {})
    return [
        Field(name, kind_of(field), place, name in required, field.get("description", ""), _default(field))
        for name, field in found.items()
    ]


def _answer(document: Json, status: str, response: Json) -> tuple[str, str, Markup]:
    found = resolved(response, document)
    content = found.get("content", {})
    kinds = [kind_of(media["schema"]) if media.get("schema") else Markup(name) for name, media in content.items()]  # noqa: S704
    return status, found["description"], Markup(", ").join(kinds)
