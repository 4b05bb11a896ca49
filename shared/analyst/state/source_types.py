"""The types of sources, and what the config of a source and the options of its tables must look like.

What a connector understands stands beside the connector; it is handed in as `SourceTypes`. A type without a
description there takes any JSON object.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from analyst.errors import InvalidInputError
from analyst.settings.kinds import SourceKind

EXTERNAL: Final = "external"
"""A source whose extract.duckdb somebody else writes."""

SOURCE_TYPES: Final = frozenset(get_args(SourceKind))


@dataclass(frozen=True, slots=True)
class Job:
    """What is done for a source besides its extract: the function at `path` is called with its name, on a schedule.

    It may be called at any time, also while an earlier call goes on.
    """

    name: str
    path: str
    schedule: str


@dataclass(frozen=True, slots=True)
class SourceType:
    """What a connector understands: the `config` of a source, and the `options` of one of its tables; and its jobs."""

    config: type[BaseModel]
    options: type[BaseModel]
    jobs: tuple[Job, ...] = ()


SourceTypes = Mapping[str, SourceType]


def check_config(types: SourceTypes, type_: str, config: Mapping[str, Any]) -> None:
    """Check the config of a source.

    Raises:
        InvalidInputError: the type is not known, or the config is nothing it understands; the message lists why.
    """
    if type_ not in SOURCE_TYPES:
        known = ", ".join(sorted(SOURCE_TYPES))
        raise InvalidInputError(f"there is no type of source {type_!r}; there are {known}")
    if type_ in types:
        _check(types[type_].config, config, f"the config of a source of type {type_}")


def check_options(types: SourceTypes, type_: str, options: Mapping[str, Any]) -> None:
    """Check the options of a table.

    Raises:
        InvalidInputError: they are nothing that sources of this type understand; the message lists why.
    """
    if type_ in types:
        _check(types[type_].options, options, f"the options of a table of a {type_} source")


def _check(model: type[BaseModel], values: Mapping[str, Any], what: str) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"{what} can't be used: {'; '.join(problems_of(error, model))}") from None


_EXPECTED: Final = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "dict_type": 'an object, such as {"id": "VARCHAR"}',
    "tuple_type": 'a list, such as ["a", "b"]',
}
"""What a person should write, by the kind of pydantic's error."""


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Explain what is wrong with values of a model, in words for the person who wrote them."""
    return [_explained(dict(problem), sorted(model.model_fields)) for problem in error.errors()]


def _explained(problem: dict[str, Any], names: list[str]) -> str:
    name, kind, context = ".".join(map(str, problem["loc"])), problem["type"], problem.get("ctx") or {}
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name.lower(), names, 1)
        return f"there is no option '{name}'; " + (
            f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
        )
    if kind == "missing":
        return f"the option '{name}' is missing"
    if kind == "value_error":
        return f"the option '{name}' {problem['msg'].removeprefix('Value error, ')}"
    if kind == "literal_error":
        return f"the option '{name}' is {problem['input']!r}; expected {context['expected']}"
    if kind == "greater_than_equal":
        return f"the option '{name}' is {problem['input']!r}; expected at least {context['ge']}"
    expected = _EXPECTED.get(kind, problem["msg"].removeprefix("Input should be "))
    return f"the option '{name}' is {problem['input']!r}; expected {expected}"
