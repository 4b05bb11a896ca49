"""The types of sources, and the schemas of their config and of their tables' options.

The models of configs and options are defined by the connectors and passed in as `SourceTypes`. A type without models
accepts any JSON object.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from analyst import validation
from analyst.errors import InvalidInputError
from analyst.settings.kinds import SourceKind
from analyst.validation import reason

EXTERNAL: Final = "external"
"""A source whose extract.duckdb is written by an external program."""

SOURCE_TYPES: Final = frozenset(get_args(SourceKind))


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled job of a source besides its extract: the function at `path` is called with the name of the source.

    It may be called at any time, even during an earlier call.
    """

    name: str
    path: str
    schedule: str


@dataclass(frozen=True, slots=True)
class SourceType:
    """The schemas of a connector: the `config` of a source, the `options` of one of its tables; and its jobs.

    `is_outside` is whether people outside the company write the texts of its tables; agents are given these as data.
    """

    config: type[BaseModel]
    options: type[BaseModel]
    jobs: tuple[Job, ...] = ()
    is_outside: bool = False


SourceTypes = Mapping[str, SourceType]


def check_config(types: SourceTypes, type_: str, config: Mapping[str, Any]) -> None:
    """Check the config of a source.

    Raises:
        InvalidInputError: the type is unknown, or the config is invalid; the message lists the reasons.
    """
    if type_ not in SOURCE_TYPES:
        known = ", ".join(sorted(SOURCE_TYPES))
        raise InvalidInputError(f"unknown source type {type_!r}; use one of: {known}")
    if type_ in types:
        _check(types[type_].config, config, f"the config of a source of type {type_!r} is")


def check_options(types: SourceTypes, type_: str, options: Mapping[str, Any]) -> None:
    """Check the options of a table.

    Raises:
        InvalidInputError: they are invalid for sources of this type; the message lists the reasons.
    """
    if type_ in types:
        _check(types[type_].options, options, f"the options of the table, of a '{type_}' source, are")


def by_current_names(
    types: SourceTypes, type_: str, options: Mapping[str, Any], before: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the options of a table by their current names.

    An earlier name whose value was overridden `before` by the current one is left out: it must not take effect when the
    current one is removed.
    """
    if type_ not in types:
        return dict(options)
    model = types[type_].options
    overridden = {name for name in before if validation.current_name(model, name) in before.keys() - {name}}
    kept = {name: value for name, value in options.items() if name not in overridden}
    return validation.by_current_names(model, kept)


def _check(model: type[BaseModel], values: Mapping[str, Any], what: str) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"{what} invalid: {'; '.join(problems_of(error, model))}") from None


_WORDS: Final = {
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "string_type": "should be a text",
}


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Describe the problems of the options of a source or table, for the person who wrote them."""
    return [_problem(one, sorted(model.model_fields)) for one in error.errors(include_url=False)]


def _problem(error: ErrorDetails, names: list[str]) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"the option '{name}' is missing"
    if error["type"] != "extra_forbidden":
        text = _WORDS.get(error["type"]) or reason(error).removeprefix("Input ")
        return f"the option '{name}' {text}"
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}" if names else "there are none"
    return f"there is no option '{name}'; {hint}"
