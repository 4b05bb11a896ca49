"""Findings about settings: problems and warnings, and their wording."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from analyst.validation import reason

Path = tuple[str | int, ...]
"""The path to a value in a file: keys, and numbers of list items from 0."""


class Finding(BaseModel):
    """A problem or warning about one setting, and how to fix it.

    `path` is a key of config/instance.yaml, such as `auth.allowed_domains[0]`, or a variable. `line` is the line in the
    file, counted from 1.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    line: int | None = None
    message: str

    def as_line(self, file: str | None = None) -> str:
        """Return the finding as one line, with its place in the file."""
        place = f"{file}:{self.line} " if file and self.line else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


@dataclass(slots=True)
class FileContent:
    """The content of a file: the `values` and `lines` of settings, problems and warnings."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int | None] = field(default_factory=dict)
    """Of every setting in the file, valid or not."""
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def dotted(path: Iterable[str | int]) -> str:
    """Format a path: `auth.allowed_domains[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def wording(error: ErrorDetails, *, default: Any = None, hidden: str | None = None, known: Iterable[str] = ()) -> str:
    """Word a validation error of a setting, with what to write instead.

    Args:
        error: one of a `ValidationError`.
        default: of the setting, which serves as an example.
        hidden: replaces the value if it must not be shown.
        known: names that an unknown one may be a misspelling of.
    """
    message = reason(error)
    if error["type"] == "missing":
        return "is required, but not set"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), list(known), 1)
        return f"is not a known setting; did you mean {near[0]}?" if near else "is not a known setting; remove it"
    context = error.get("ctx", {})
    if value := context.get("value"):
        without_value = (
            f"{hidden} {context['plain']}" if "plain" in context else message.replace(f'"{value}"', f"{hidden}", 1)
        )
        return message if hidden is None else without_value
    if error["type"] == "value_error":
        return message
    given = error["input"]
    shown = hidden if hidden is not None else f'"{given}"' if isinstance(given, str) else _shape(given)
    example = (
        f" (expected something like {_plain(default)})" if default not in (None, (), {}, PydanticUndefined) else ""
    )
    continued = f"it {message}" if message.startswith(("must ", "has ", "is ")) else _lower(message)
    return f"{shown} is not valid: {continued}{example}"


def errors_of(error: ValidationError) -> list[ErrorDetails]:
    """List the errors of pydantic, each place once; of the alternatives for a value, the first counts."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for each in error.errors(include_url=False):
        if each["type"] != "default_factory_not_called":  # it is a consequence of the others
            found.setdefault(each["loc"], each)
    return list(found.values())


def _shape(value: object) -> str:
    return "a section" if isinstance(value, Mapping) else "a list" if isinstance(value, (list, tuple)) else "this"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
