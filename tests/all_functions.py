"""All functions, and their description, which is made once in a process, when a test asks for it."""

from functools import cache
from typing import Any

from analyst.http import HttpFunction
from analyst.http.application import discover
from analyst.http.openapi import build

FUNCTIONS: list[HttpFunction] = discover(["functions"])


@cache
def description() -> dict[str, Any]:
    """Return what `/openapi.json` answers with."""
    return build(each.function for each in FUNCTIONS)
