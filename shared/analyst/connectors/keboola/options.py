"""The config of a Keboola source, and the options of its tables."""

import calendar
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from analyst.addresses import ServerUrl
from analyst.connectors.keboola.columns import SchemaChanges, chosen_type
from analyst.contract import cursors
from analyst.errors import InvalidInputError
from analyst.names import name_of
from analyst.settings.kinds import KeboolaStack
from analyst.validation import Renamed

Operator = Literal["eq", "ne", "gt", "ge", "lt", "le"]

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_MONTHS_AGO: Final[Mapping[str, int]] = {
    "last_month": 1,
    "last_2_months": 2,
    "last_3_months": 3,
    "last_6_months": 6,
    "last_year": 12,
    "last_2_years": 24,
}
PLACEHOLDERS: Final = ("today", "last_week", *_MONTHS_AGO, "start_of_3_months_ago")
_BRANCH: Final = re.compile(r"default|[0-9]{1,20}")
_TOKEN_ENV: Final = re.compile(r"(?:KBC|KEBOOLA)(?:_[A-Z0-9]+)*_TOKEN")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _months_ago(day: date, months: int) -> date:
    """Return the same day some months ago, or the last one of a month that is shorter."""
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _day(placeholder: str, today: date) -> date:
    if placeholder == "today":
        return today
    if placeholder == "last_week":
        return today - timedelta(days=7)
    if placeholder == "start_of_3_months_ago":
        return _months_ago(today, 3).replace(day=1)
    return _months_ago(today, _MONTHS_AGO[placeholder])


def _known_placeholders(text: str) -> str:
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise ValueError(f"has the unknown placeholder {{{{{name}}}}}; use one of {', '.join(PLACEHOLDERS)}")
    return text


def _as_texts(value: object) -> object:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in values)


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _duration(text: str) -> str:
    try:
        found = cursors.lag(text)
    except InvalidInputError as error:
        raise ValueError(f"can't be used: {error}") from None
    if found[-1] not in _SECONDS:
        raise ValueError(f"can't be used: '{text}' has no unit; write a time such as 90m, 12h or 7d")
    return found


def _types(types: dict[str, str]) -> dict[str, str]:
    try:
        return {column: chosen_type(kind) for column, kind in types.items()}
    except InvalidInputError as error:
        raise ValueError(f"can't be used: {error}") from None


def _normalised(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name_of(name) for name in names)


def _branch(text: object) -> object:
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if isinstance(text, str) and not _BRANCH.fullmatch(text):
        raise ValueError(f"is not the id of a development branch: '{text}' (expected a number, or default)")
    return text


def _token_env(name: str) -> str:
    if not _TOKEN_ENV.fullmatch(name):
        raise ValueError(f"is not a variable for a token: '{name}' (expected something like KEBOOLA_CRM_TOKEN)")
    return name


def seconds(duration: str) -> float:
    """Return a duration such as `7d` in seconds."""
    return float(duration[:-1]) * _SECONDS[duration[-1]]


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Duration = Annotated[str, AfterValidator(_duration)]
Texts = Annotated[
    tuple[Annotated[str, AfterValidator(_known_placeholders)], ...], BeforeValidator(_as_texts), Field(min_length=1)
]


class WhereFilter(BaseModel):
    """A condition on a column; all filters of a table must be met. Values may contain placeholders such as `{{today}}`.

    `data_type` says as what Snowflake compares the values; without it, they are compared as texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    operator: Operator = "eq"
    values: Texts
    data_type: Literal["INTEGER", "DOUBLE", "BIGINT", "REAL", "DECIMAL", "TIMESTAMP"] | None = None

    def order(self, now: datetime) -> dict[str, Any]:
        """Return the filter as the Storage API expects it."""

        def day(found: re.Match[str]) -> str:
            return _day(found[1], now.date()).isoformat()

        values = [_PLACEHOLDER.sub(day, value) for value in self.values]
        typed = {} if self.data_type is None else {"dataType": self.data_type}
        return {"column": self.column, "operator": self.operator, "values": values, **typed}


class KeboolaTableOptions(Renamed):
    """The options of one table.

    `sync_strategy`: whether each sync reads the table as a whole, only changes, or changes of a table that is stored by
    periods. `primary_key`: the columns that identify a row; by default, Keboola's. `cursor_column`: not used, since
    Keboola knows when rows changed. `columns`: the columns to read, besides the key. `where_filters`: conditions, all
    of which rows must meet. `row_limit`: the maximum number of rows of a full refresh. `types`: types of columns,
    instead of Keboola's. `schema_changes`: whether columns follow the table (evolve), a change fails it (freeze), or
    new columns are not read (discard). `file_type`: the format in which Keboola exports the table. `overlap`: how far
    before the last change an increment begins; longer than the longest import into the table. `full_reload`: how often
    an incremental table that changed is read as a whole, which removes rows that were deleted in Keboola, or never.
    `initial_load_chunk_days`: the first load of an incremental table is read in windows of that many days of changes,
    each published on its own. `max_history_days`: how many days of changes the first load reads. `partition_by`: the
    column by whose periods a partitioned table is stored. `partition_granularity`: the length of these periods.
    `allow_fewer`: the table may lose many or all of its rows at once; an earlier name is allow_empty. `check_rows`:
    whether the number of rows is compared with Keboola's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sync_strategy: Literal["full_refresh", "incremental", "partitioned"] = "full_refresh"
    primary_key: Annotated[Names, AfterValidator(_normalised)] = ()
    columns: Names = ()
    where_filters: tuple[WhereFilter, ...] = ()
    row_limit: Annotated[int, Field(ge=1)] | None = None
    types: Annotated[dict[str, str], AfterValidator(_types)] = Field(default_factory=dict)
    schema_changes: SchemaChanges = "evolve"
    file_type: Literal["auto", "csv", "parquet"] = "auto"
    overlap: Duration = "1d"
    full_reload: Literal["never"] | Duration = "30d"
    initial_load_chunk_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    max_history_days: Annotated[int, Field(ge=1, le=36600)] | None = None
    partition_by: Annotated[str, AfterValidator(name_of)] | None = None
    partition_granularity: Literal["day", "month", "year"] = "month"
    # fingerprints have its earlier name, or an upgrade would read every table again
    allow_fewer: bool = Field(
        default=False, validation_alias=AliasChoices("allow_fewer", "allow_empty"), serialization_alias="allow_empty"
    )
    check_rows: bool = True
    cursor_column: str | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.row_limit is not None and self.is_incremental:
            raise ValueError("row_limit needs the sync_strategy full_refresh: an increment must have all its rows")
        if self.sync_strategy == "partitioned" and self.partition_by is None:
            raise ValueError("a partitioned table needs partition_by, the column whose periods are its partitions")
        return self

    def basis(self, now: datetime, *place: str | None) -> str:
        """Return a hash of what decides which rows of a place are read; the day is part of it if the options depend on it."""
        without = {"full_reload", "overlap", "check_rows", "allow_fewer", "where_filters"}
        filters = [one.order(now) for one in self.where_filters]
        day = None if self.max_history_days is None else now.date().isoformat()
        content = [place, self.model_dump(mode="json", exclude=without), filters, day]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def is_incremental(self) -> bool:
        """Whether only changes are read."""
        return self.sync_strategy != "full_refresh"

    @property
    def is_partial(self) -> bool:
        """Whether fewer rows are read than the table has."""
        return bool(self.where_filters) or self.row_limit is not None or self.max_history_days is not None

    @property
    def chunk_days(self) -> int | None:
        """The days of a window of the first load; `None` if it is read at once."""
        return self.initial_load_chunk_days or (30 if self.sync_strategy == "partitioned" else None)


class KeboolaSource(BaseModel):
    """The config of a Keboola source. The stack and the token are in the settings, unless they are given here.

    `stack_url`: the address of another Keboola stack. `project_id`: the id of another project. `token_env`: the
    environment variable with the token of another project. `branch`: the id of a development branch. `buckets`:
    patterns of the buckets whose tables are discovered; by default, all but system buckets. `discover`: every sync
    registers the new tables in these buckets. `parallel`: the maximum number of simultaneous exports; by default, what
    the project allows. `extension`: whether the DuckDB extension keboola is used where possible. `file_endpoint`:
    replaces the addresses of Google Cloud Storage and of S3.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack_url: KeboolaStack | None = None
    project_id: str | None = None
    token_env: Annotated[str, AfterValidator(_token_env)] | None = None
    branch: Annotated[str, BeforeValidator(_branch)] | None = None
    buckets: Names = ()
    discover: bool = False
    parallel: Annotated[int, Field(ge=1, le=64)] | None = None
    extension: Literal["auto", "never"] = "auto"
    file_endpoint: ServerUrl | None = None

    def has_bucket(self, bucket: str) -> bool:
        """Return whether the tables of a bucket are discovered; without patterns, those of all but the system's are."""
        if not self.buckets:
            return not bucket.startswith("sys.")
        return any(fnmatchcase(bucket, pattern) for pattern in self.buckets)
