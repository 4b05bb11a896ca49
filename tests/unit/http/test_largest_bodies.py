"""No function refuses as too large what its description allows."""

import math
import re
from typing import Any

import pytest

from analyst.http.application import discover
from analyst.http.openapi import build

FUNCTIONS = [each.function for each in discover(["functions"])]
DOCUMENT = build(FUNCTIONS)
_CHARACTER = len("\\ud83d\\ude00")
"""Bytes that JSON may take for one character."""


def largest(schema: dict[str, Any], above: tuple[str, ...] = ()) -> float:  # noqa: PLR0911 - one for each kind
    """Tell how many bytes a value may take that keeps to a schema; infinity when nothing bounds it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return math.inf if name in above else largest(DOCUMENT["components"]["schemas"][name], (*above, name))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return max(largest(each, above) for each in schema[word])
    if "const" in schema or "enum" in schema:
        return 100
    match schema.get("type"):
        case "string":
            return _CHARACTER * _characters(schema) + 2
        case "array":
            return float(schema.get("maxItems", math.inf)) * (largest(schema.get("items", {}), above) + 1) + 2
        case "object" if not schema.get("additionalProperties") and "patternProperties" not in schema:
            members = schema.get("properties", {}).items()
            return sum(len(name) + 4 + largest(member, above) for name, member in members) + 2
        case "integer" | "number" | "boolean" | "null":
            return 400
    return math.inf


def _characters(schema: dict[str, Any]) -> float:
    bound = re.search(r"\{(?:\d+,)?(\d+)\}\$$", schema.get("pattern", ""))
    return float(schema.get("maxLength", int(bound[1]) if bound else math.inf))


BODIES = {
    f"{each.method} {each.path.text}": (body["content"]["application/json"]["schema"], each.body_limit)
    for each in FUNCTIONS
    if (operation := DOCUMENT["paths"].get(each.path.text, {}).get(each.method.lower()))
    and "application/json" in (body := operation.get("requestBody", {"content": {}}))["content"]
}


@pytest.mark.parametrize("name", BODIES)
def test_what_the_description_allows_fits_into_the_limit(name: str) -> None:
    schema, limit = BODIES[name]
    size = largest(schema)
    assert size <= limit or math.isinf(size)


def test_the_estimate_knows_bounds() -> None:
    assert largest({"type": "string", "maxLength": 10}) == 122
    assert math.isinf(largest({"type": "string"}))
    bounded = [name for name, (schema, _) in BODIES.items() if not math.isinf(largest(schema))]
    assert {"POST /api/admin/config/check", "POST /extract/csv"} <= set(bounded)
