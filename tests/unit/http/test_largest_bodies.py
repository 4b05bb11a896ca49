"""No function refuses as too large what its description allows."""

import math
import re
from typing import Any

import pytest

from tests.all_functions import FUNCTIONS, description

_CHARACTER = len("\\ud83d\\ude00")
"""Bytes that JSON may take for one character."""


def largest(schema: dict[str, Any], above: tuple[str, ...] = ()) -> float:  # noqa: PLR0911 - one for each kind
    """Return how many bytes a value may take that keeps to a schema; infinity when nothing bounds it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return math.inf if name in above else largest(description()["components"]["schemas"][name], (*above, name))
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


@pytest.fixture(scope="module")
def sizes() -> dict[str, tuple[float, int]]:
    """How large the body of each function may be: by its description, and by its limit."""
    return {
        f"{each.method} {each.path.text}": (largest(body["content"]["application/json"]["schema"]), each.body_limit)
        for each in (each.function for each in FUNCTIONS)
        if (operation := description()["paths"].get(each.path.text, {}).get(each.method.lower()))
        and "application/json" in (body := operation.get("requestBody", {"content": {}}))["content"]
    }


def test_inputs_that_the_schema_allows_fit_the_limit(sizes: dict[str, tuple[float, int]]) -> None:
    assert len(sizes) > 80
    assert [name for name, (size, limit) in sizes.items() if limit < size < math.inf] == []


def test_the_estimate_respects_the_bounds_of_the_schema(sizes: dict[str, tuple[float, int]]) -> None:
    assert largest({"type": "string", "maxLength": 10}) == 122
    assert math.isinf(largest({"type": "string"}))
    assert {"POST /api/admin/config/check", "POST /extract/csv"} <= {
        name for name, (size, _) in sizes.items() if not math.isinf(size)
    }
