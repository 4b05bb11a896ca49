"""Descriptions of tables by people: texts, tags, owners, tier, grain, things to know; with the history of their changes.

`catalog/descriptions.json` has those of all tables. They belong to a registration, and come before what a source or the
registry says. A tag such as `PII` hides the values of a column, or of a whole table, in profiles.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from ulid import ULID

from analyst.errors import InvalidInputError, UnavailableError
from analyst.names import Name, did_you_mean
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

KEY: Final = "catalog/descriptions.json"
_KEPT: Final = 50
_RECENT: Final = 50

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Lines = Annotated[tuple[Line, ...], Field(max_length=200)]


class ColumnDescription(BaseModel):
    """What people say of a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Text | None = None
    tags: Lines = ()


class Description(BaseModel):
    """What people say of a table. `grain` is what one row stands for, `notes` are things to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Text | None = None
    tags: Lines = ()
    owners: Lines = ()
    tier: Line | None = None
    grain: Line | None = None
    notes: Lines = ()
    columns: Annotated[dict[Name, ColumnDescription], Field(max_length=10_000)] = {}


class DescriptionChange(BaseModel):
    """A change by a person: the fields that it replaced, with what they said before."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    by: str | None
    before: dict[str, Any]


class Described(BaseModel):
    """The description of a table, and its changes, newest first."""

    model_config = ConfigDict(frozen=True)

    registration: str | None
    said: Description
    history: tuple[DescriptionChange, ...] = ()


class _All(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    tables: dict[str, Described] = {}


def read(store: Store, table_id: str, registration: str | None) -> Described:
    """Return what people say of a table; what was said of an earlier registration of its id does not count."""
    return _of(_all(store.read(KEY)), table_id, registration)


def everything(store: Store) -> Mapping[str, Described]:
    """Return the descriptions of all tables by id."""
    return _all(store.read(KEY)).tables


def all_of(data: bytes | None) -> Mapping[str, Described]:
    """Return the descriptions of all tables by id, from the content of the object `KEY`."""
    return _All.model_validate_json(data).tables if data else {}


def tagged_columns(said: Description, columns: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the tags of each column, those of the table among them."""
    return {name: (*said.tags, *(said.columns[name].tags if name in said.columns else ())) for name in columns}


def change(
    store: Store,
    table_id: str,
    registration: str | None,
    fields: Mapping[str, Any],
    columns: Mapping[str, Any],
    *,
    by: str | None,
    at: datetime,
) -> Described:
    """Replace the given fields of a description, and of each given column; return the new one.

    Raises:
        InvalidInputError: the table has no such column.
    """
    id_, made = str(ULID()), list[Described]()

    def edit(current: Object | None) -> bytes:
        known = _all(current)
        new = _changed(_of(known, table_id, registration), fields, columns, by=by, at=at)
        made.append(new)
        tables = {**known.tables, table_id: new}
        return (
            _All(recent=(*known.recent, id_)[-_RECENT:], tables=tables).model_dump_json(exclude_defaults=True).encode()
        )

    swap(store, KEY, edit, done=lambda current: id_ in _all(current).recent)
    return made[-1]


def _changed(
    known: Described, fields: Mapping[str, Any], columns: Mapping[str, Any], *, by: str | None, at: datetime
) -> Described:
    values = dict(fields)
    for name in values.get("columns") or {}:
        if name not in columns:
            raise InvalidInputError(f"the table has no column {name!r}{did_you_mean(name, columns)}")
    if "columns" in values:
        values["columns"] = {**known.said.columns, **(values["columns"] or {})}
    empty = Description()
    replaced = {name: getattr(empty, name) if value is None else value for name, value in values.items()}
    said = known.said.model_copy(update=replaced)
    if said == known.said:
        return known
    before = known.said.model_dump(mode="json", include=set(replaced))
    entry = DescriptionChange(at=at, by=by, before=before)
    return Described(registration=known.registration, said=said, history=(entry, *known.history)[:_KEPT])


def _of(known: _All, table_id: str, registration: str | None) -> Described:
    found = known.tables.get(table_id)
    if found is None or found.registration != registration:
        return Described(registration=registration, said=Description())
    return found


def _all(found: Object | None) -> _All:
    try:
        return _All() if found is None else _All.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{KEY!r} is damaged or of a newer version; restore it from a backup") from error
