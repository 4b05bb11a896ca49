"""Expectations of tables, and the results of their checks, in the bucket."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from ulid import ULID

from analyst.errors import UnavailableError
from analyst.names import Name
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

KEY: Final = "catalog/expectations.json"
RESULTS: Final = "catalog/results/"
_KEPT: Final = 100
_RECENT: Final = 50

Kind = Literal["not_null", "unique", "range", "set", "regex", "freshness", "row_count", "sql"]
Severity = Literal["warn", "block"]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Value = Annotated[str, StringConstraints(max_length=100)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1000)]

_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "not_null": ("columns",),
    "unique": ("columns",),
    "range": ("columns",),
    "set": ("columns", "values"),
    "regex": ("columns", "pattern"),
    "freshness": ("columns", "max_age_hours"),
    "row_count": (),
    "sql": ("sql",),
}
_BOUNDS: Final[dict[str, tuple[str, ...]]] = {
    "range": ("min", "max"),
    "row_count": ("min", "max", "max_decrease_percent", "max_increase_percent"),
}


class Expectation(BaseModel):
    """A condition that the rows of a table should meet.

    `warn` publishes the table with a notice, `block` keeps its last version. `values` are compared as texts; `pattern`
    must match the whole value (RE2); null meets every expectation but `not_null`. `max_share` is the share of rows that
    may fail. `sql` is a query of the rows of `this` that fail.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    severity: Severity = "warn"
    name: Line | None = None
    columns: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    min: Number | None = None
    max: Number | None = None
    values: Annotated[tuple[Value, ...], Field(max_length=250)] = ()
    pattern: Line | None = None
    max_age_hours: Annotated[float, Field(gt=0, le=1e6)] | None = None
    max_decrease_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    max_increase_percent: Annotated[float, Field(ge=0, le=1e9)] | None = None
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    sql: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "Expectation":
        for field in _NEEDS[self.kind]:
            if not getattr(self, field):
                raise ValueError(f"{self.kind} needs {field!r}")
        bounds = _BOUNDS.get(self.kind, ())
        if bounds and all(getattr(self, field) is None for field in bounds):
            raise ValueError(f"{self.kind} needs one of {', '.join(bounds)}")
        return self

    @property
    def label(self) -> str:
        """The name of the expectation in messages."""
        return self.name or " ".join([self.kind, ", ".join(self.columns)]).strip()


class Result(BaseModel):
    """The result of one expectation; `failed` counts the rows that fail it, `newest` is the time that freshness looks at."""

    model_config = ConfigDict(frozen=True)

    label: str
    kind: Kind
    severity: Severity
    passed: bool
    failed: int | None = None
    message: str | None = None
    newest: datetime | None = None

    @property
    def text(self) -> str:
        """The message about its failure."""
        return f"{self.label}: {self.message}"


class Check(BaseModel):
    """The results for the rows that one run was about to publish; `published` is false if they were blocked."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    rows: int
    published: bool
    results: tuple[Result, ...]


class ColumnChange(BaseModel):
    """Columns that a version of a table added, removed, or gave another type (before → after)."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    added: dict[str, str] = {}
    removed: dict[str, str] = {}
    changed: dict[str, tuple[str, str]] = {}


class History(BaseModel):
    """The last checks of a table and changes of its columns, newest first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    registration: str | None = None
    recent: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    column_changes: tuple[ColumnChange, ...] = ()


class Expected(BaseModel):
    """The expectations of a table, and the registration that they belong to."""

    model_config = ConfigDict(frozen=True)

    registration: str | None
    expectations: tuple[Expectation, ...]
    changed_by: str | None = None
    changed_at: datetime


class _All(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    tables: dict[str, Expected] = {}


def read(store: Store, table_id: str, registration: str | None) -> tuple[Expectation, ...]:
    """Return the expectations of a table; those of an earlier registration of its id do not count."""
    found = _all(store.read(KEY)).tables.get(table_id)
    return found.expectations if found is not None and found.registration == registration else ()


def everything(store: Store) -> Mapping[str, Expected]:
    """Return the expectations of all tables, by id."""
    return _all(store.read(KEY)).tables


def put(store: Store, table_id: str, expected: Expected) -> None:
    """Replace the expectations of a table."""
    id_ = str(ULID())

    def change(current: Object | None) -> bytes:
        known = _all(current)
        tables = {**known.tables, table_id: expected}
        if not expected.expectations:
            del tables[table_id]
        return _All(recent=(*known.recent, id_)[-_RECENT:], tables=tables).model_dump_json().encode()

    swap(store, KEY, change, done=lambda current: id_ in _all(current).recent)


def history(store: Store, table_id: str, registration: str | None) -> History:
    """Return the history of a table; that of an earlier registration of its id does not count."""
    found = _history(store.read(_key(table_id)))
    return found if found.registration == registration else History(registration=registration)


def add_to_history(
    store: Store, table_id: str, registration: str | None, check: Check | None, change: ColumnChange | None
) -> None:
    """Add the results of a check, or a change of columns, to the history of a table."""
    id_ = str(ULID())

    def edit(current: Object | None) -> bytes:
        known = _history(current)
        if known.registration != registration:
            known = History(registration=registration)
        made = History(
            registration=registration,
            recent=(*known.recent, id_)[-_RECENT:],
            checks=(*((check,) if check else ()), *known.checks)[:_KEPT],
            column_changes=(*((change,) if change else ()), *known.column_changes)[:_KEPT],
        )
        return made.model_dump_json(exclude_defaults=True).encode()

    swap(store, _key(table_id), edit, done=lambda current: id_ in _history(current).recent)


def change_of(before: Sequence[Any], after: Sequence[Any], now: Callable[[], datetime]) -> ColumnChange | None:
    """Return how columns changed from one version to the next; `None` if they did not, or there was no version."""
    old, new = ({column.name: column.type for column in columns} for columns in (before, after))
    if not old or old == new:
        return None
    return ColumnChange(
        at=now(),
        added={name: kind for name, kind in new.items() if name not in old},
        removed={name: kind for name, kind in old.items() if name not in new},
        changed={name: (old[name], kind) for name, kind in new.items() if old.get(name, kind) != kind},
    )


def _key(table_id: str) -> str:
    source, _, name = table_id.partition(".")
    return f"{RESULTS}{source}/{name}.json"


def _all(found: Object | None) -> _All:
    try:
        return _All() if found is None else _All.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{KEY!r} is damaged or of a newer version; restore it from a backup") from error


def _history(found: Object | None) -> History:
    try:
        return History() if found is None else History.model_validate_json(found.data)
    except ValidationError:  # of another version: start again
        return History()
