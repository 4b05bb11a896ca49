"""Custom fields: which of them become columns of `issues`, as what, and the options of the whole transform."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

from analyst.connectors.jira.issue import documents, rich_text, service_desk, values
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.tables import BUILT_IN, PRESET, TABLES, Table
from analyst.connectors.jira.issue.values import Report
from analyst.errors import InvalidInputError
from analyst.settings.kinds import CustomField, CustomFieldType

VERSION = 2
"""Counts up with each change of what the transform makes of a document: then all rows are made anew."""

_ONE_COLUMN: dict[CustomFieldType, str] = {
    **dict.fromkeys(("text", "option", "options", "user", "users", "json"), "VARCHAR"),
    "number": "DOUBLE",
    "integer": "BIGINT",
    "date": "DATE",
    "instant": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True, slots=True)
class BoundField:
    """A custom field by the ids under which an issue may have it."""

    ids: tuple[str, ...]
    column: str
    type: CustomFieldType
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Privacy:
    """What readers of the tables may see of what Jira shows to some people only.

    `restricted` are comments and logged work for roles, groups or agents; `secured` are issues with a security level;
    `emails` are addresses of people, who have the ids of their accounts otherwise.
    """

    restricted: bool = False
    secured: bool = True
    emails: bool = True


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The custom fields of Jira Software by their ids, as far as they are known."""

    epics: tuple[str, ...] = ("customfield_10014",)
    sprints: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @staticmethod
    def of(catalogue: Iterable[Any]) -> "Hierarchy":
        """Find them by what Jira says they are; without that, the cloud's usual id of `Epic Link` is taken."""
        found: dict[str, list[str]] = {}
        for told in catalogue:
            if isinstance(told, dict) and isinstance(kind := told.get("kind"), str):
                found.setdefault(kind.rpartition(":")[2], []).append(str(told.get("id")))
        epics, sprints, parents = (sorted(found.get(kind, ())) for kind in _SOFTWARE)
        return Hierarchy(tuple(epics) or Hierarchy().epics, tuple(sprints), tuple(parents))


_SOFTWARE = ("gh-epic-link", "gh-sprint", "jpo-custom-field-parent")


@dataclass(frozen=True)
class TransformOptions:
    """What rows depend on besides the issue: where Jira is, without a slash at the end, and the custom fields.

    `added` are the columns behind those that every `issues` has, `unresolved` the fields that Jira does not know.
    Issues of other `projects` have no rows, if there are any.
    """

    base_url: str = ""
    custom: tuple[BoundField, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()
    privacy: Privacy = field(default_factory=Privacy)
    projects: tuple[str, ...] = ()
    hierarchy: Hierarchy = field(default_factory=Hierarchy)

    @staticmethod
    def of(
        domain: str = "",
        custom_fields: Iterable[CustomField | Mapping[str, Any]] = (),
        catalogue: Iterable[Any] = (),
        *,
        privacy: Privacy | None = None,
        projects: Iterable[str] = (),
    ) -> "TransformOptions":
        """Bind custom fields to what `GET /rest/api/3/field` answered (`catalogue`); fields named by id need none.

        Raises:
            InvalidInputError: two fields would fill one column, or a column of another type.
        """
        catalogue = list(catalogue)
        ids = _ids_by_name(catalogue)
        known = {found for several in ids.values() for found in several}
        bound: list[BoundField] = []
        added: dict[str, str] = {}
        for spelled in custom_fields:
            custom = CustomField.model_validate(spelled)
            _check(custom, {column for one in bound for column in one.columns})
            columns = _columns(custom)
            added |= {name: kind for name, kind in columns.items() if name not in PRESET}
            named = [] if custom.field in known else ids.get(custom.field.casefold(), [])
            bound.append(BoundField(tuple(named or [custom.field]), custom.column, custom.type, tuple(columns)))
        unresolved = [name for one in bound if ids and len(one.ids) == 1 for name in one.ids if name not in known]
        return TransformOptions(
            base_url(domain),
            tuple(bound),
            added,
            tuple(unresolved),
            privacy or Privacy(),
            tuple(projects),
            Hierarchy.of(catalogue),
        )

    @property
    def sla_ids(self) -> tuple[str, ...]:
        """The ids of the fields that hold SLAs."""
        return tuple(name for one in self.custom if one.type == "sla" for name in one.ids)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The tables with the columns of all custom fields."""
        return TABLES | {"issues": TABLES["issues"].with_columns(self.added)}

    @cached_property
    def fingerprint(self) -> str:
        """A text that changes when the same documents make other rows."""
        fields = [[one.ids, one.column, one.type] for one in self.custom]
        schema = [[table.name, dict(table.columns), table.key] for table in self.tables.values()]
        others = [asdict(self.privacy), sorted(self.projects), asdict(self.hierarchy)]
        return hashlib.sha256(documents.canonical([VERSION, self.base_url, fields, schema, others])).hexdigest()[:16]


def _columns(custom: CustomField) -> dict[str, str]:
    """Give the columns that a custom field fills, with their DuckDB types.

    An `sla` fills `<column>_breached`, `<column>_goal_millis` and `<column>_elapsed_millis`; a `request_type` the column
    and its status: `request_status` for `request_type`, else `<column>_status`.
    """
    if custom.type == "sla":
        return {
            f"{custom.column}_breached": "VARCHAR",
            f"{custom.column}_goal_millis": "BIGINT",
            f"{custom.column}_elapsed_millis": "BIGINT",
        }
    if custom.type == "request_type":
        status = "request_status" if custom.column == "request_type" else f"{custom.column}_status"
        return {custom.column: "VARCHAR", status: "VARCHAR"}
    return {custom.column: _ONE_COLUMN[custom.type]}


def base_url(domain: str) -> str:
    """Give the address of a host, which may be one already; nothing when nothing is said."""
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
    plain = TABLES["issues"].columns.keys() - PRESET.keys() - BUILT_IN.keys()
    for column, kind in _columns(custom).items():
        if column in taken or column in plain:
            raise InvalidInputError(f"the custom field {custom.field!r} can't fill {column!r}, which is taken")
        if PRESET.get(column, kind) != kind:
            raise InvalidInputError(
                f"the custom field {custom.field!r} is of the type {custom.type}, which does not fit the column "
                f"{column!r} of type {PRESET[column]}"
            )


def columns_of(
    fields: Document, custom: Iterable[BoundField], report: Report, *, emails: bool = True
) -> dict[str, Any]:
    """Give the values of the columns that the custom fields of an issue fill; those of absent fields are not in it."""
    found: dict[str, Any] = {}
    for bound in custom:
        present = (value for name in bound.ids if (value := fields.get(name)) is not None)
        if (value := next(present, None)) is not None:
            found |= zip(bound.columns, _converted(bound, value, report, emails=emails), strict=True)
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
    "sla": service_desk.sla,
    "request_type": service_desk.request_type,
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
