"""The shapes of what people type: e-mails, names, ids; and the models that hold them."""

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from analyst.addresses import EMAIL_PATTERN
from analyst.names import Name

_LINE = r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_SCHEDULE = r"^(every [1-9][0-9]{0,4}[mh]|daily ([01][0-9]|2[0-3]):[0-5][0-9](,([01][0-9]|2[0-3]):[0-5][0-9])*)$"

Email = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=EMAIL_PATTERN)]
"""An e-mail address, in lower case."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_LINE)]
"""A name that people give: one line, no spaces around it."""

Text = Annotated[str, StringConstraints(max_length=10_000, pattern=_TEXT)]
"""Text of several lines."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""An id that we gave; whatever else it is, it is not found."""

Schedule = Annotated[str, StringConstraints(max_length=200, pattern=_SCHEDULE)]
"""`every 15m`, `every 6h`, `daily 05:00` or `daily 07:00,13:00` (UTC)."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("names a column twice")
    return names


Columns = Annotated[
    tuple[Name, ...], Field(max_length=100, json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)
]
"""Columns by the names they are published under."""


class Input(BaseModel):
    """What a request says; a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def named(self, *, but: Collection[str] = ()) -> dict[str, Any]:
        """Give the fields that the request names, null included, `but` for some."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set - {*but}}


class Output(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(frozen=True)


def unset() -> Any:
    """Stand in for a field of a change that the request does not name; it can't be null, and nothing reads it."""
    return None
