"""Custom fields: which of them become columns of `issues`, as what, and the options of the whole transform."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from analyst.errors import InvalidInputError
from analyst.names import Name
from functions.extract.jira import documents
from functions.extract.jira.tables import PRESET, TABLES, Table

VERSION = 1
"""Counts up with each change of what the transform makes of a document: then all rows are made anew."""

FieldType = Literal[
    "text", "option", "options", "user", "users", "number", "integer", "date", "instant", "sla", "request_type", "json"
]  # fmt: skip

_ONE_COLUMN: dict[FieldType, str] = {
    **dict.fromkeys(("text", "option", "options", "user", "users", "json"), "VARCHAR"),
    "number": "DOUBLE",
    "integer": "BIGINT",
    "date": "DATE",
    "instant": "TIMESTAMP WITH TIME ZONE",
}


class CustomField(BaseModel):
    """A field of issues that becomes a column, or, of the types `sla` and `request_type`, several.

    `field` is its id, as `customfield_10004`, or its name; of several fields with one name the first with a value
    counts. An `sla` fills `<column>_breached`, `<column>_goal_millis` and `<column>_elapsed_millis`; a `request_type`
    the column and its status: `request_status` for `request_type`, else `<column>_status`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: Annotated[str, StringConstraints(min_length=1)]
    column: Name
    type: FieldType = "text"

    def columns(self) -> dict[str, str]:
        """Give the columns that it fills, with their DuckDB types."""
        if self.type == "sla":
            return {
                f"{self.column}_breached": "VARCHAR",
                f"{self.column}_goal_millis": "BIGINT",
                f"{self.column}_elapsed_millis": "BIGINT",
            }
        if self.type == "request_type":
            status = "request_status" if self.column == "request_type" else f"{self.column}_status"
            return {self.column: "VARCHAR", status: "VARCHAR"}
        return {self.column: _ONE_COLUMN[self.type]}


@dataclass(frozen=True, slots=True)
class BoundField:
    """A custom field by the ids under which an issue may have it."""

    ids: tuple[str, ...]
    column: str
    type: FieldType
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TransformOptions:
    """What rows depend on besides the issue: where Jira is, without a slash at the end, and the custom fields.

    `added` are the columns behind those that every `issues` has, `unresolved` the fields that Jira does not know.
    """

    base_url: str = ""
    custom: tuple[BoundField, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()

    @staticmethod
    def of(
        domain: str = "", custom_fields: Iterable[CustomField | Mapping[str, Any]] = (), catalogue: Iterable[Any] = ()
    ) -> "TransformOptions":
        """Bind custom fields to what `GET /rest/api/3/field` answered (`catalogue`); fields named by id need none.

        Raises:
            InvalidInputError: two fields would fill one column, or a column of another type.
        """
        ids = _ids_by_name(catalogue)
        known = {found for several in ids.values() for found in several}
        bound: list[BoundField] = []
        added: dict[str, str] = {}
        for spelled in custom_fields:
            custom = CustomField.model_validate(spelled)
            _check(custom, {column for one in bound for column in one.columns})
            columns = custom.columns()
            added |= {name: kind for name, kind in columns.items() if name not in PRESET}
            named = [] if custom.field in known else ids.get(custom.field.casefold(), [])
            bound.append(BoundField(tuple(named or [custom.field]), custom.column, custom.type, tuple(columns)))
        unresolved = [name for one in bound if ids and len(one.ids) == 1 for name in one.ids if name not in known]
        return TransformOptions(_base_url(domain), tuple(bound), added, tuple(unresolved))

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The tables with the columns of all custom fields."""
        return TABLES | {"issues": TABLES["issues"].with_columns(self.added)}

    @cached_property
    def fingerprint(self) -> str:
        """A text that changes when the same documents make other rows."""
        fields = [[one.ids, one.column, one.type] for one in self.custom]
        schema = [[table.name, dict(table.columns), table.key] for table in self.tables.values()]
        return hashlib.sha256(documents.canonical([VERSION, self.base_url, fields, schema])).hexdigest()[:16]


_BY_SCHEMA: dict[str, FieldType] = {
    "string": "text",
    "number": "number",
    "option": "option",
    "option-with-child": "option",
    "user": "user",
    "date": "date",
    "datetime": "instant",
    "sd-servicelevelagreement": "sla",
    "sd-customerrequesttype": "request_type",
    "sd-feedback": "integer",
    **dict.fromkeys(("priority", "resolution", "status", "issuetype", "project", "version", "group"), "option"),
}
_NAMED = ("option", "string", "version", "component", "group", "sd-customerorganization")


def suggested_type(told: Mapping[str, Any]) -> FieldType:
    """Suggest the type of a field by the `schema` that `GET /rest/api/3/field` tells of it."""
    schema = told.get("schema")
    kind, items = (schema.get("type"), schema.get("items")) if isinstance(schema, dict) else (None, None)
    if kind == "array" and items in ("user", *_NAMED):
        return "users" if items == "user" else "options"
    return _BY_SCHEMA.get(kind, "json") if isinstance(kind, str) else "json"


def _base_url(domain: str) -> str:
    if not domain:
        return ""
    return (domain if "://" in domain else f"https://{domain}").rstrip("/")


def _ids_by_name(catalogue: Iterable[Any]) -> dict[str, list[str]]:
    """Give the ids of the fields by their names, and by the names that Jira has not translated."""
    found: dict[str, set[str]] = {}
    for told in catalogue:
        if isinstance(told, dict) and isinstance(field_id := told.get("id"), str):
            for member in ("name", "untranslatedName", "id"):
                if isinstance(name := told.get(member), str):
                    found.setdefault(name.casefold(), set()).add(field_id)
    return {name: sorted(ids) for name, ids in found.items()}


def _check(custom: CustomField, taken: set[str]) -> None:
    """Refuse a field whose columns are taken, or are there with another type."""
    plain = TABLES["issues"].columns.keys() - PRESET.keys()
    for column, kind in custom.columns().items():
        if column in taken or column in plain:
            raise InvalidInputError(f"the custom field {custom.field!r} can't fill {column!r}, which is taken")
        if PRESET.get(column, kind) != kind:
            raise InvalidInputError(
                f"the custom field {custom.field!r} is of the type {custom.type}, which does not fit the column "
                f"{column!r} of type {PRESET[column]}"
            )
