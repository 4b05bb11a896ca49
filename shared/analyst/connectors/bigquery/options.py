"""The config of a BigQuery source, and the options of its tables."""

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from analyst.contract import cursors
from analyst.errors import InvalidInputError
from analyst.names import name_of
from analyst.validation import Renamed

GIB: Final = 1 << 30
MOST_BILLED: Final = 10 * GIB
"""The maximum number of bytes that a query may bill, unless another cap is set."""

_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_KEY_ENV: Final = re.compile(r"(?:BQ|BIGQUERY)(?:_[A-Z0-9]+)*_KEY_FILE")
_GOOGLES: Final = ".googleapis.com"

_VOLATILE: Final = re.compile(
    r"""
    '{3}.*?'{3} | "{3}.*?"{3} | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*` | (?:--|\#)[^\n]* | /\*.*?\*/
    | (?P<day>\bcurrent_date\b(?:\s*\(\s*\)|(?!\s*\()))
    | (?P<any>\b(?:current_(?:date|datetime|time|timestamp)|rand|generate_uuid)\b)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""Texts, names and comments, which are passed over; the day in UTC; and what may be another value at any time."""


def moment_of(sql: str | None, now: datetime) -> str | None:
    """Return what the rows of a condition or query depend on besides the tables: the day, the time, or nothing."""
    found = {match.lastgroup for match in _VOLATILE.finditer(sql or "")}
    if "any" in found:
        return now.isoformat()
    return now.astimezone(UTC).date().isoformat() if "day" in found else None


def names_time(sql: str) -> bool:
    """Return whether the rows of a query may be others at another time."""
    return any(match.lastgroup for match in _VOLATILE.finditer(sql))


def project_id(text: str) -> str:
    """Return the id of a project unchanged.

    Raises:
        ValueError: no project can have this id.
    """
    if not _PROJECT.fullmatch(text):
        raise ValueError(f"is not the id of a project: '{text}' (expected something like my-project-123)")
    return text


def _key_env(name: str) -> str:
    if not _KEY_ENV.fullmatch(name):
        raise ValueError(f"is not a variable for a key file: '{name}' (expected something like BIGQUERY_CRM_KEY_FILE)")
    return name


def _endpoint(url: str) -> str:
    """Accept servers of Google, and addresses without TLS, to which no credentials are sent."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_plain = parts.scheme == "http" and bool(host)
    is_googles = parts.scheme == "https" and host.endswith(_GOOGLES)
    if not (is_plain or is_googles) or parts.username or parts.query or parts.path not in ("", "/"):
        raise ValueError(
            f"is not an address of BigQuery: '{url}' (expected https://….googleapis.com, or http:// for an emulator, which "
            "gets no credentials)"
        )
    return url.rstrip("/")


def _people(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not (name.startswith("group:") and len(name) > len("group:")) and "@" not in name:
            raise ValueError(
                f"is neither a user nor a group: '{name}' (expected something like ann@example.com or group:finance)"
            )
    return names


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _normalised(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name_of(name) for name in names)


def _lag(text: str) -> str:
    try:
        return cursors.lag(text)
    except InvalidInputError as error:
        raise ValueError(f"can't be used: {error}") from None


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
ProjectId = Annotated[str, AfterValidator(project_id)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class BigQuerySource(BaseModel):
    """The config of a BigQuery source. The project is in the settings, unless it is given here.

    `project_id`: the project with the tables. `billing_project`: the project that pays for queries and reads, if it is
    another one. `location`: where queries run; by default, where their data is. `datasets`: patterns of the datasets
    whose tables are discovered; by default, all whose names do not start with _. `discover`: every sync registers the
    new tables in these datasets. `key_env`: the environment variable with the path of the key file of another service
    account. `max_bytes_billed`: the maximum number of bytes that a query may bill; 0 for no limit. `streams`: the
    maximum number of streams in which a table is read. `native_sql`: who may run their own GoogleSQL in a query, which
    can read all that the account can read: e-mail addresses of users, and group:NAME; by default nobody.
    `api_endpoint`: replaces the address of BigQuery's API. `storage_endpoint`: replaces the address of BigQuery's
    Storage Read API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project_id: ProjectId | None = None
    billing_project: ProjectId | None = None
    location: str | None = None
    datasets: Names = ()
    discover: bool = False
    key_env: Annotated[str, AfterValidator(_key_env)] | None = None
    max_bytes_billed: Annotated[int, Field(ge=0)] = MOST_BILLED
    streams: Annotated[int, Field(ge=1, le=64)] = 8
    native_sql: Annotated[Names, AfterValidator(_people)] = ()
    api_endpoint: Endpoint | None = None
    storage_endpoint: Endpoint | None = None

    def has_dataset(self, dataset: str) -> bool:
        """Return whether the tables of a dataset are discovered; without patterns, those of all but hidden ones are."""
        if not self.datasets:
            return not dataset.startswith("_")
        return any(fnmatchcase(dataset, pattern) for pattern in self.datasets)


class BigQueryTableOptions(Renamed):
    """The options of one table.

    `sync_strategy`: whether each sync reads the table as a whole, or only new rows. `primary_key`: the columns that
    identify a row. `cursor_column`: a column that grows, such as a time of change, by which an increment finds new
    rows. `cursor_lag`: how far before the cursor an increment begins, such as 2h, or 100 for a number. `columns`: the
    columns to read, besides the key and the cursor. `row_filter`: a condition in GoogleSQL that rows must meet. `sql`:
    the query of a materialized table. `max_bytes_billed`: the maximum number of bytes that a query of this table may
    bill. `by_partition`: only partitions that changed are read. `allow_fewer`: the table may lose many or
    all of its rows at once; an earlier name is allow_empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sync_strategy: Literal["full_refresh", "incremental"] = "full_refresh"
    primary_key: Annotated[Names, AfterValidator(_normalised)] = ()
    cursor_column: Annotated[str, AfterValidator(name_of)] | None = None
    cursor_lag: Annotated[str, AfterValidator(_lag)] | None = None
    columns: Names = ()
    row_filter: str | None = None
    sql: str | None = None
    max_bytes_billed: Annotated[int, Field(ge=0)] | None = None
    by_partition: bool = False
    # fingerprints have its earlier name, or an upgrade would read every table again
    allow_fewer: bool = Field(
        default=False, validation_alias=AliasChoices("allow_fewer", "allow_empty"), serialization_alias="allow_empty"
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.sync_strategy == "incremental" and self.cursor_column is None:
            raise ValueError(
                "an incremental table needs cursor_column, a column whose values grow; for a partitioned table, set "
                "by_partition to true and sync_strategy to full_refresh instead"
            )
        if self.by_partition and (self.is_incremental or self.sql is not None):
            raise ValueError("by_partition needs the sync_strategy full_refresh and a table, not sql")
        return self

    @property
    def is_incremental(self) -> bool:
        """Whether only new and changed rows are read."""
        return self.sync_strategy == "incremental"
