"""Examples of calls, made of the API's description."""

import json
from collections.abc import Mapping
from typing import Any

from analyst.http.spec import BINARY

Json = Mapping[str, Any]


def curl(method: str, path: str, operation: Json, document: Json) -> str:
    """Write a call of an operation; `$SERVER`, `$TOKEN`, `$FILE` and what is in braces are for the reader to fill in."""
    query = "&".join(f"{it['name']}={{{it['name']}}}" for it in operation.get("parameters", ()) if _is_needed(it))
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
    """Give the schema of the body, an empty one if there is none."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    schema: Json = content.get("application/json", {}).get("schema", {})
    return schema


def resolved(schema: Json, document: Json) -> Json:
    """Follow a reference within a document."""
    while "$ref" in schema:
        *_, kind, name = schema["$ref"].split("/")
        schema = document["components"][kind][name]
    return schema


def _is_needed(parameter: Json) -> bool:
    return bool(parameter["in"] == "query" and parameter["required"])


def _example(schema: Json, document: Json) -> Any:
    """Make up a value; of an object the required fields, or the first one."""
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
