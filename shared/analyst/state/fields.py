"""The types of user input: e-mail addresses, names, ids; and the base models of requests and responses."""

import re
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from analyst import schedule
from analyst.addresses import EMAIL_PATTERN
from analyst.names import Name
from analyst.validation import Matching

_LINE = r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"
_PLAIN_TEXT = Matching(r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$", "text without control characters")

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    Matching(EMAIL_PATTERN, "an e-mail address such as ann@example.com"),
    AfterValidator(str.lower),
]
"""An e-mail address, checked before it is lowercased: otherwise KELVIN SIGN would pass as `k`."""

Line = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    Matching(_LINE, "one line of text without spaces at its ends"),
]
"""A name given by a person: one line without spaces at its ends."""

Text = Annotated[str, StringConstraints(max_length=10_000), _PLAIN_TEXT]
"""Text of several lines."""

Note = Annotated[str, StringConstraints(min_length=1, max_length=1000), _PLAIN_TEXT]
"""A message of a few sentences."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""An id issued by this system; any other text is not found."""


def _like_a_schedule(text: str) -> str:
    if re.fullmatch(schedule.PATTERN, text) is None:
        raise ValueError(f"{text[:100]!r} is not a valid schedule; write {schedule.what_to_write(text)}")
    return text


Schedule = Annotated[
    str, Field(max_length=200, json_schema_extra={"pattern": schedule.PATTERN}), AfterValidator(_like_a_schedule)
]
"""Text in the syntax of a schedule. `check_schedule` also checks its time zone and dates."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("lists a column twice")
    return names


Columns = Annotated[
    tuple[Name, ...], Field(max_length=100, json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)
]
"""Columns by their published names."""


def check_schedule(text: str | None) -> None:
    """Check that the time zone and the dates of a schedule exist.

    Raises:
        InvalidInputError: they do not; the message says what to write.
    """
    if text is not None:
        schedule.Schedule.parse(text)


class Input(BaseModel):
    """The base of inputs. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def named(self, *, but: Collection[str] = ()) -> dict[str, Any]:
        """Return the fields that the request contains, including null, without those in `but`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set - {*but}}


class Output(BaseModel):
    """The base of outputs."""

    model_config = ConfigDict(frozen=True)


def unset() -> Any:
    """The default of a field that a change can omit but not set to null; nothing reads it."""
    return None
