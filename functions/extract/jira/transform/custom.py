"""The columns that custom fields fill."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from functions.extract.jira.documents import Document
from functions.extract.jira.transform import rich_text, sla, values
from functions.extract.jira.transform.fields import BoundField
from functions.extract.jira.transform.report import Report


def columns_of(
    fields: Document, custom: Iterable[BoundField], report: Report, *, emails: bool = True
) -> dict[str, Any]:
    """Give the values of the columns that the custom fields of an issue fill; those of absent fields are not in it."""
    found: dict[str, Any] = {}
    for field in custom:
        present = (value for name in field.ids if (value := fields.get(name)) is not None)
        if (value := next(present, None)) is not None:
            found |= zip(field.columns, _converted(field, value, report, emails=emails), strict=True)
    return found


_Convert = Callable[[Any, str, Report], Any]

_ONE: Final[dict[str, _Convert]] = {
    "option": values.option,
    "options": values.options,
    "number": values.number,
    "integer": values.whole,
    "date": values.day,
    "instant": values.instant,
}
_PEOPLE: Final[dict[str, Callable[..., str | None]]] = {"user": values.user, "users": values.users}
_SEVERAL: Final[dict[str, Callable[[Any, str, Report], tuple[Any, ...]]]] = {
    "sla": sla.sla,
    "request_type": sla.request_type,
}


def _converted(field: BoundField, value: Any, report: Report, *, emails: bool) -> tuple[Any, ...]:
    """Give what a custom field fills its columns with; it is counted under the name of its first column."""
    if field.type in _SEVERAL:
        return _SEVERAL[field.type](value, field.column, report)
    if field.type in _PEOPLE:
        return (_PEOPLE[field.type](value, field.column, report, emails=emails),)
    if field.type == "json":
        return (values.json(value),)
    if field.type == "text":
        return (_plain_text(value, field.column, report),)
    return (_ONE[field.type](value, field.column, report),)


def _plain_text(value: Any, name: str, report: Report) -> str | None:
    """Take a text as it is: whether it is wiki markup, a field does not say. ADF becomes plain text."""
    return value if isinstance(value, str) else rich_text.plain(value, name, report)
