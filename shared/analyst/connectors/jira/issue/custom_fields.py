"""Custom fields as columns of `issues`, and the options that rows depend on."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

from analyst.connectors.jira.issue import documents, values
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.hierarchy import Hierarchy
from analyst.connectors.jira.issue.tables import BUILT_IN, PRESET, TABLES, Table, custom_column
from analyst.connectors.jira.issue.values import Report
from analyst.errors import InvalidInputError
from analyst.settings.kinds import CustomField, CustomFieldType

KIND: Final = "kind"
"""The member of a field with its type, such as `com.pyxis.greenhopper.jira:gh-sprint`."""

VERSION = 2
"""The version of the transform. Increase it whenever the same document yields different rows, so that all rows are
rebuilt."""

_ONE_COLUMN: dict[CustomFieldType, str] = {
    **dict.fromkeys(("text", "option", "options", "user", "users", "json"), "VARCHAR"),
    "number": "DOUBLE",
    "integer": "BIGINT",
    "date": "DATE",
    "instant": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True, slots=True)
class BoundField:
    """A configured custom field, with the ids under which an issue may contain it and the columns that it fills."""

    ids: tuple[str, ...]
    column: str
    type: CustomFieldType
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Privacy:
    """The restricted data that the tables contain.

    `restricted`: comments and worklogs for roles, groups or agents; `secured`: issues with a security level; `emails`:
    people's e-mail addresses, instead of the ids of their accounts.
    """

    restricted: bool = False
    secured: bool = True
    emails: bool = True


@dataclass(frozen=True)
class TransformOptions:
    """What rows depend on besides the issue.

    `base_url` is the address of Jira without a trailing slash; `added` are the types of columns of custom fields that are
    not preset; `unresolved` are configured fields that Jira does not have, and `former` the ids of those that it had under
    the configured name. If there are `projects`, issues of others have no rows.
    """

    base_url: str = ""
    custom: tuple[BoundField, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()
    former: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    privacy: Privacy = field(default_factory=Privacy)
    projects: tuple[str, ...] = ()
    hierarchy: Hierarchy = field(default_factory=Hierarchy)

    @staticmethod
    def of(
        domain: str = "",
        custom_fields: Iterable[CustomField | Mapping[str, Any]] = (),
        catalog: Iterable[Any] = (),
        *,
        privacy: Privacy | None = None,
        projects: Iterable[str] = (),
    ) -> "TransformOptions":
        """Look up custom fields by name in the response of `GET /rest/api/3/field` (`catalog`); ids need no lookup.

        Raises:
            InvalidInputError: two fields would fill one column, or a column of another type.
        """
        catalog = list(catalog)
        ids, earlier = _ids_by_name(catalog, _names), _ids_by_name(catalog, _former_names)
        known = {found for several in ids.values() for found in several}
        bound: list[BoundField] = []
        added: dict[str, str] = {}
        former: dict[str, tuple[str, ...]] = {}
        for spelled in custom_fields:
            custom = CustomField.model_validate(spelled)
            _check(custom, {column for one in bound for column in one.columns})
            columns = _columns(custom)
            added |= {name: kind for name, kind in columns.items() if name not in PRESET}
            named = [] if custom.field in known else ids.get(custom.field.casefold(), [])
            if custom.field not in known and not named and (named := earlier.get(custom.field.casefold(), [])):
                former[custom.field] = tuple(named)
            bound.append(BoundField(tuple(named or [custom.field]), custom.column, custom.type, tuple(columns)))
        known |= {found for several in former.values() for found in several}
        unresolved = [name for one in bound if ids and len(one.ids) == 1 for name in one.ids if name not in known]
        return TransformOptions(
            base_url(domain),
            tuple(bound),
            added,
            tuple(unresolved),
            former,
            privacy or Privacy(),
            tuple(projects),
            Hierarchy.of(catalog),
        )

    @property
    def sla_ids(self) -> tuple[str, ...]:
        """The ids of the fields that contain SLAs."""
        return tuple(name for one in self.custom if one.type == "sla" for name in one.ids)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The tables with the columns of all custom fields."""
        added = {name: custom_column(name, kind) for name, kind in self.added.items()}
        return TABLES | {"issues": TABLES["issues"].with_columns(added)}

    @cached_property
    def fingerprint(self) -> str:
        """A hash that changes whenever the same documents yield other rows."""
        fields = [[one.ids, one.column, one.type] for one in self.custom]
        schema = [[table.name, table.types, table.key] for table in self.tables.values()]
        others = [asdict(self.privacy), sorted(self.projects), asdict(self.hierarchy)]
        return hashlib.sha256(documents.canonical([VERSION, self.base_url, fields, schema, others])).hexdigest()[:16]


def _columns(custom: CustomField) -> dict[str, str]:
    """Return the columns that a custom field fills, with their DuckDB types.

    An `sla` fills `<column>_breached`, `<column>_goal_millis` and `<column>_elapsed_millis`; a `request_type` fills the
    column and that of its status, `request_status` for `request_type` and `<column>_status` otherwise.
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
    """Return the address of a host, which may be given as an address; empty for an empty domain."""
    if not domain:
        return ""
    return (domain if "://" in domain else f"https://{domain}").rstrip("/")


def _ids_by_name(catalog: Iterable[Any], names_of: Callable[[Document], Iterable[Any]]) -> dict[str, list[str]]:
    """Return the ids of the fields by their names."""
    found: dict[str, set[str]] = {}
    for entry in catalog:
        if isinstance(entry, dict) and isinstance(field_id := entry.get("id"), str):
            for name in names_of(entry):
                if isinstance(name, str):
                    found.setdefault(name.casefold(), set()).add(field_id)
    return {name: sorted(ids) for name, ids in found.items()}


def _names(entry: Document) -> Iterable[Any]:
    """Return the names of a field, translated and untranslated, and its id; none of a field that Jira no longer has."""
    return () if entry.get("isGone") else (entry.get(member) for member in ("name", "untranslatedName", "id"))


def _former_names(entry: Document) -> Iterable[Any]:
    return entry.get("formerNames") or ()


def with_former_names(fields: Iterable[Document], known: Iterable[Document]) -> list[Document]:
    """Return a catalog with the names that its fields had in an earlier one, and with the fields that only that one has.

    Columns are configured by names: if a field is renamed, or an account may no longer see it, all values would be lost.
    """
    found = {field["id"]: field for field in fields}
    for old in known:
        field = found.setdefault(
            old["id"], {name: old[name] for name in ("id", KIND) if name in old} | {"isGone": True}
        )
        names = (*_names(old), *_former_names(old))
        if former := sorted({name for name in names if isinstance(name, str)} - {old["id"], *map(str, _names(field))}):
            field["formerNames"] = former
    return [found[field_id] for field_id in sorted(found)]


def _check(custom: CustomField, taken: set[str]) -> None:
    """Reject a field whose columns are taken, or exist with another type."""
    plain = TABLES["issues"].types.keys() - PRESET.keys() - BUILT_IN.keys()
    for column, kind in _columns(custom).items():
        if column in taken or column in plain:
            raise InvalidInputError(
                f"the custom field {custom.field!r} can't fill the column {column!r}: it is taken; choose another "
                "column"
            )
        if column in PRESET and PRESET[column].type != kind:
            raise InvalidInputError(
                f"the custom field {custom.field!r} of type {custom.type!r} can't fill the column {column!r}: its "
                "type is "
                f"{PRESET[column].type}; choose another column"
            )


def columns_of(
    fields: Document, custom: Iterable[BoundField], report: Report, *, emails: bool = True
) -> dict[str, Any]:
    """Return the values of the columns that custom fields fill, without those of absent fields."""
    found: dict[str, Any] = {}
    for bound in custom:
        present = (value for name in bound.ids if (value := fields.get(name)) is not None)
        if (value := next(present, None)) is not None:
            found |= zip(bound.columns, _converted(bound, value, report, emails=emails), strict=True)
    return found


def sla(value: Any, name: str, report: Report) -> tuple[str | None, int | None, int | None]:
    """Return the ongoing cycle of an SLA, or the last completed one: breached or not, its goal and elapsed time in ms.

    An SLA that Jira could not determine (`errorMessage`) has no cycle.
    """
    if value is None:
        return None, None, None
    if not isinstance(value, dict):
        report.count(name)
        return None, None, None
    cycle = value.get("ongoingCycle")
    completed = value.get("completedCycles")
    if cycle is None and isinstance(completed, list) and completed:
        cycle = completed[-1]
    elif cycle is None and completed is not None and not isinstance(completed, list):
        report.count(name)
    if cycle is None:
        return None, None, None
    if not isinstance(cycle, dict):
        report.count(name)
        return None, None, None
    return (
        values.text(cycle.get("breached"), name, report),
        _millis(cycle.get("goalDuration"), name, report),
        _millis(cycle.get("elapsedTime"), name, report),
    )


def _millis(duration: Any, name: str, report: Report) -> int | None:
    if isinstance(duration, dict):
        duration = duration.get("millis")
    return values.whole(duration, name, report)


def request_type(value: Any, name: str, report: Report) -> tuple[str | None, str | None]:
    """Return the name of a request's type, and its status as the customer sees it."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        report.count(name)
        return None, None
    kind = values.member(value.get("requestType"), "name", name, report)
    return kind, values.member(value.get("currentStatus"), "status", name, report)


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
    "sla": sla,
    "request_type": request_type,
}


def _converted(field: BoundField, value: Any, report: Report, *, emails: bool) -> tuple[Any, ...]:
    """Convert the value of a custom field for its columns; misshapen values are counted by the first column's name."""
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
    """Return a text unchanged, because a field does not say whether it is wiki markup. ADF becomes plain text."""
    return value if isinstance(value, str) else values.plain_text(value, name, report)
