"""Values of JSON documents from other systems, which may be of another type than documented, or missing."""

from collections.abc import Mapping
from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    """Return an object; an empty one for anything else, such as the `[]` as which some servers encode one without members."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; none for anything else."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def whole(value: Any) -> int | None:
    """Return a whole number, which may be written as a text; `None` for anything else."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
