"""Descriptions of invalid values, in words for people.

Pydantic's own messages name regular expressions and Python types. `Matching` checks a string against a pattern and
describes what is expected in words; `reason` rewords the rest, so that it continues the name of a field. Values of
`Renamed` models may have earlier names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import AliasChoices, BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

_WORDS: Final = (
    (re.compile(r"(?:Input|String|Value|List|Data) should be a valid "), "must be a valid "),
    (re.compile(r"String should have at least 1 character$"), "must not be empty"),
    (re.compile(r"(?:Input|String|Value|List|Data) should "), "must "),
    (re.compile(r"Field required$"), "is missing"),
    (re.compile(r"Extra inputs are not permitted"), "is not a known field"),
)
"""How pydantic begins a message, and how it reads after the name of a field."""

_TIME: Final = "must be a time such as 2026-03-01T00:00:00Z"
_DATE: Final = "must be a date such as 2026-03-01"
_LIST: Final = "must be a list"
_OBJECT: Final = "must be an object"
_REWORDED: Final = {
    "dataclass_type": _OBJECT,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "model_type": _OBJECT,
    "frozen_set_type": _LIST,
    "iterable_type": _LIST,
    "list_type": _LIST,
    "set_type": _LIST,
    "tuple_type": _LIST,
    "none_required": "must be null",
    "string_pattern_mismatch": "has the wrong format",
    "date_from_datetime_inexact": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_parsing": _DATE,
    "date_type": _DATE,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "datetime_parsing": _TIME,
    "datetime_type": _TIME,
    "timezone_aware": f"{_TIME}, with a time zone",
    "is_instance_of": "is not of a supported kind",
    "union_tag_invalid": "must be one of the documented kinds",  # pydantic's message repeats the value
    "union_tag_not_found": "must be one of the documented kinds",
}


@dataclass(frozen=True, slots=True)
class Matching:
    """Metadata of a string type: the whole string must match `pattern`; `expected` completes "must be …".

    JSON schemas show the pattern, which has the syntax that Python, Rust and ECMAScript share.
    """

    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after the other constraints of its type."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the pattern to the schema of the text."""
        return {**handler(schema), "pattern": self.pattern}

    def _checked(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise PydanticCustomError("format", "must be {expected}", {"expected": self.expected})
        return text


class Renamed(BaseModel):
    """A model with fields that had earlier names, which are further choices of their alias and still work."""

    @model_validator(mode="before")
    @classmethod
    def _by_current_names(cls, values: Any) -> Any:
        return by_current_names(cls, values) if isinstance(values, Mapping) else values


def by_current_names(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the current names of the fields of a model; they override values by earlier names."""
    current = {name: current_name(model, name) for name in values}
    earlier = {current[name]: value for name, value in values.items() if current[name] != name}
    return {**earlier, **{name: value for name, value in values.items() if current[name] == name}}


def current_name(model: type[BaseModel], name: str) -> str:
    """Return the current name of a field of a model that may be given by an earlier one."""
    for field, info in model.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices) and name in alias.choices:
            return field
    return name


def reason(error: ErrorDetails) -> str:
    """Describe why a value is invalid, without repeating it: it may be a secret."""
    context = error.get("ctx", {})
    if error["type"] == "too_long":
        return f"must have at most {context['max_length']} items"
    if error["type"] == "too_short":
        return f"must have at least {context['min_length']} item{'s' if context['min_length'] > 1 else ''}"
    return _REWORDED.get(error["type"]) or _worded(error["msg"].removeprefix("Value error, "))


def _worded(message: str) -> str:
    for pattern, words in _WORDS:
        message, found = pattern.subn(words, message, count=1)
        if found:
            break
    return message
