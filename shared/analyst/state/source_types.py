"""The types of sources, and the schemas of their config and of their tables' options.

A connector declares its own schemas, which are passed in as `SourceTypes`. A type without a schema accepts any JSON
object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from analyst.errors import InvalidInputError
from analyst.settings.kinds import SourceKind
from analyst.validation import reasons

EXTERNAL: Final = "external"
"""A source whose extract.duckdb is written by an external program."""

SOURCE_TYPES: Final = frozenset(get_args(SourceKind))


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a source besides its extract: the function at `path` is called with the source's name, on a schedule.

    It may be called at any time, even while an earlier call is running.
    """

    name: str
    path: str
    schedule: str


@dataclass(frozen=True, slots=True)
class SourceType:
    """The schemas of a connector: the `config` of a source, the `options` of one of its tables; and its jobs."""

    config: type[BaseModel]
    options: type[BaseModel]
    jobs: tuple[Job, ...] = ()


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
        _check(types[type_].config, config, f"the config of a source of type {type_!r}")


def check_options(types: SourceTypes, type_: str, options: Mapping[str, Any]) -> None:
    """Check the options of a table.

    Raises:
        InvalidInputError: they are invalid for sources of this type; the message lists the reasons.
    """
    if type_ in types:
        _check(types[type_].options, options, f"the options of a table of a {type_!r} source")


def _check(model: type[BaseModel], values: Mapping[str, Any], what: str) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"{what} is invalid: {reasons(error)}") from None
