"""Descriptions of tables by people: texts, tags, owners, tier, grain, things to know; with the history of their changes.

`catalog/descriptions.json` has those of all tables, and what was imported from another catalog: one object, so that a
process that starts makes one request. What people say belongs to a registration, and overrides what the registry, the
other catalog or the source says, in this order. A tag such as `PII` hides the values of a column, or of a whole table,
in profiles.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from ulid import ULID

from analyst.access import AccessList
from analyst.catalog import Column, Table
from analyst.errors import InvalidInputError, UnavailableError
from analyst.names import Name, TableId, did_you_mean
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

KEY: Final = "catalog/descriptions.json"
_KEPT: Final = 50
_RECENT: Final = 50

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Lines = Annotated[tuple[Line, ...], Field(max_length=200)]


class ColumnDescription(BaseModel):
    """The description of a column by people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Text | None = None
    tags: Lines = ()


class ForeignKey(BaseModel):
    """Columns whose values are those of as many columns of another table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    table: TableId
    references: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]


class Description(BaseModel):
    """The description of a table by people. `grain` is what one row stands for, `notes` are things to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Text | None = None
    tags: Lines = ()
    owners: Lines = ()
    tier: Line | None = None
    grain: Line | None = None
    notes: Lines = ()
    foreign_keys: Annotated[tuple[ForeignKey, ...], Field(max_length=100)] = ()
    columns: Annotated[dict[Name, ColumnDescription], Field(max_length=10_000)] = {}


class DescriptionChange(BaseModel):
    """A change by a person: the replaced fields with their earlier values."""

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


class ImportedTable(BaseModel):
    """The description of a table in another catalog. `url` is its page there; names of `columns` are in lowercase."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    description: str | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tier: str | None = None
    url: str | None = None
    columns: dict[str, ColumnDescription] = {}


class Imported(BaseModel):
    """The descriptions of tables in another catalog, by id, as of a time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    origin: str = ""
    fetched_at: datetime | None = None
    tables: dict[str, ImportedTable] = {}


class _All(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    tables: dict[str, Described] = {}
    imported: Imported = Imported()


_EMPTY: Final = Description()


@dataclass(frozen=True, slots=True)
class Texts:
    """The descriptions of tables: by people and from another catalog."""

    said: Mapping[str, Described] = field(default_factory=dict)
    imported: Mapping[str, ImportedTable] = field(default_factory=dict)
    imported_at: datetime | None = None

    def of(self, table: Table) -> Description:
        """Return the description of a table and its columns; the other catalog fills fields that people left empty."""
        found, other = self.said.get(table.id), self.imported.get(table.id)
        people = found.said if found is not None and found.registration == table.registration else _EMPTY
        if other is None:
            return people
        columns = dict(people.columns)
        for column in table.columns:
            if (known := other.columns.get(column.name.lower())) is not None:
                mine = columns.get(column.name, ColumnDescription())
                tags = tuple(dict.fromkeys((*mine.tags, *known.tags)))
                text = mine.description or column.description or known.description
                columns[column.name] = ColumnDescription(description=text, tags=tags)
        return people.model_copy(
            update={
                "tags": tuple(dict.fromkeys((*people.tags, *other.tags))),
                "owners": people.owners or other.owners,
                "tier": people.tier or other.tier,
                "columns": columns,
            }
        )

    def description(self, table: Table, access: AccessList) -> str | None:
        """Return the description of a table: of people, the registry, the other catalog or the source."""
        found, other = self.said.get(table.id), self.imported.get(table.id)
        if found is not None and found.registration == table.registration and found.said.description:
            return found.said.description
        imported = other.description if other is not None else None
        return access.description(table.id, imported or table.description)

    def columns(self, table: Table) -> tuple[Column, ...]:
        """Return the columns of a table with their descriptions."""
        if table.id not in self.said and table.id not in self.imported:
            return table.columns
        columns = self.of(table).columns
        texts = {name: each.description for name, each in columns.items()}
        return tuple(
            column.model_copy(update={"description": text}) if (text := texts.get(column.name)) else column
            for column in table.columns
        )

    def url(self, table: Table) -> str | None:
        """Return the page of a table in the other catalog."""
        other = self.imported.get(table.id)
        return None if other is None else other.url

    def tags_by_column(self, table: Table) -> dict[str, tuple[str, ...]]:
        """Return the tags of each column, those of the table among them."""
        description = self.of(table)
        return tagged_columns(description, {column.name: column for column in table.columns})


def read_imported(store: Store) -> Imported:
    """Read the descriptions from another catalog, as of the last import."""
    return _all(store.read(KEY)).imported


def put_imported(store: Store, imported: Imported) -> None:
    """Replace the descriptions from another catalog."""
    id_ = str(ULID())

    def edit(current: Object | None) -> bytes:
        known = _all(current)
        new = known.model_copy(update={"recent": (*known.recent, id_)[-_RECENT:], "imported": imported})
        return new.model_dump_json(exclude_defaults=True).encode()

    swap(store, KEY, edit, done=lambda current: id_ in _all(current).recent)


def read_texts(store: Store) -> Texts:
    """Read the current descriptions of all tables."""
    known = _all(store.read(KEY))
    return Texts(known.tables, known.imported.tables, known.imported.fetched_at)


@dataclass(slots=True)
class TextReader:
    """The texts of a process, read again when they are older than `max_age` seconds. Thread-safe."""

    store: Store
    max_age: float
    monotonic: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _texts: Texts = field(default_factory=Texts)
    _version: str | None = None
    _as_of: float = float("-inf")

    def current(self) -> Texts:
        """Return the texts; the same object as long as nothing has changed.

        Raises:
            UnavailableError: the store does not respond, or an object is damaged.
        """
        with self._lock:
            if self.monotonic() - self._as_of >= self.max_age:
                began = self.monotonic()
                found = self.store.read(KEY, unless=self._version)
                version = None if found is None else found.version
                if version != self._version:
                    known = _all(found)
                    self._version = version
                    self._texts = Texts(known.tables, known.imported.tables, known.imported.fetched_at)
                self._as_of = began
            return self._texts

    def expire(self) -> None:
        """Read the texts again before the next answer, because something has changed."""
        self._as_of = float("-inf")


def read(store: Store, table_id: str, registration: str | None) -> Described:
    """Return the description of a table by people; descriptions of earlier registrations of its id are ignored."""
    return _of(_all(store.read(KEY)), table_id, registration)


def everything(store: Store) -> Mapping[str, Described]:
    """Return the descriptions of all tables by id."""
    return _all(store.read(KEY)).tables


def tagged_columns(description: Description, columns: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the tags of each column, those of the table among them."""
    return {
        name: (*description.tags, *(description.columns[name].tags if name in description.columns else ()))
        for name in columns
    }


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
            known.model_copy(update={"recent": (*known.recent, id_)[-_RECENT:], "tables": tables})
            .model_dump_json(exclude_defaults=True)
            .encode()
        )

    swap(store, KEY, edit, done=lambda current: id_ in _all(current).recent)
    return made[-1]


def without_hidden(description: Description, is_seen: Callable[[str], bool]) -> Description:
    """Return a description without foreign keys to tables that a caller may not see."""
    return description.model_copy(
        update={"foreign_keys": tuple(key for key in description.foreign_keys if is_seen(key.table))}
    )


def change_without_hidden(change_: DescriptionChange, is_seen: Callable[[str], bool]) -> DescriptionChange:
    """Return an earlier state without foreign keys to tables that a caller may not see."""
    if "foreign_keys" not in change_.before:
        return change_
    keys = [key for key in change_.before["foreign_keys"] if is_seen(key["table"])]
    return change_.model_copy(update={"before": {**change_.before, "foreign_keys": keys}})


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
    changed = known.said.model_copy(update=replaced)
    if changed == known.said:
        return known
    before = known.said.model_dump(mode="json", include=set(replaced))
    entry = DescriptionChange(at=at, by=by, before=before)
    return Described(registration=known.registration, said=changed, history=(entry, *known.history)[:_KEPT])


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
