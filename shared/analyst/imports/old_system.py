"""The content of an older system, as it is sent: rows of its `system.duckdb` (versions 1 to 3) and tables with files.

Rows are text and are parsed one by one: an invalid row is listed in the report, and does not affect the others.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from analyst.imports.report import Gathered
from analyst.state.fields import Input
from analyst.validation import reason

_YEARS = (1900, 3000)
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)


def _time(text: Any) -> datetime | None:
    """Parse a time, in UTC if it has no zone; implausible times become `None`."""
    try:
        at = _TIME.validate_python(text)
    except ValidationError:
        return None
    if not _YEARS[0] < at.year < _YEARS[1]:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _json(text: str | None) -> str | None:
    """Return a JSON text as DuckDB accepts it; other texts become `None`."""
    try:
        return None if text is None else json.dumps(json.loads(text, parse_constant=_refuse), allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> float:
    raise ValueError(name)


Time = Annotated[datetime | None, BeforeValidator(_time)]
Json = Annotated[str | None, AfterValidator(_json)]


class OldRow(BaseModel):
    """A row of a table; unknown columns are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OldUser(OldRow):
    """A row of `users`; one-time tokens are not imported."""

    id: str
    email: str
    name: str | None = None
    role: str | None = None
    password_hash: str | None = None
    created_at: Time = None
    updated_at: Time = None


class OldTable(OldRow):
    """A row of `table_registry`; version 1 had fewer columns, and version 2 had no `is_public`."""

    id: str
    name: str
    source_type: str | None = None
    bucket: str | None = None
    source_table: str | None = None
    sync_strategy: str | None = None
    query_mode: str | None = None
    sync_schedule: str | None = None
    profile_after_sync: bool | None = None
    primary_key: str | None = None
    folder: str | None = None
    description: str | None = None
    registered_by: str | None = None
    registered_at: Time = None
    is_public: bool | None = None


class OldPermission(OldRow):
    """A row of `dataset_permissions`."""

    user_id: str
    dataset: str
    access: str | None = None


class OldRequest(OldRow):
    """A row of `access_requests`."""

    id: str
    user_id: str
    user_email: str
    table_id: str
    reason: str | None = None
    status: str | None = None
    reviewed_by: str | None = None
    reviewed_at: Time = None
    created_at: Time = None


class OldTelegramLink(OldRow):
    """A row of `telegram_links`."""

    user_id: str
    chat_id: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    linked_at: Time = None


class OldSyncSetting(OldRow):
    """A row of `user_sync_settings`."""

    user_id: str
    dataset: str
    enabled: bool | None = None
    table_mode: str | None = None
    tables: Json = None
    updated_at: Time = None


class OldKnowledgeItem(OldRow):
    """A row of `knowledge_items`."""

    id: str
    title: str
    content: str | None = None
    category: str | None = None
    tags: Json = None
    status: str | None = None
    contributors: Json = None
    source_user: str | None = None
    audience: str | None = None
    created_at: Time = None
    updated_at: Time = None


class OldKnowledgeVote(OldRow):
    """A row of `knowledge_votes`."""

    item_id: str
    user_id: str
    vote: Annotated[int, Field(ge=-1, le=1)]
    voted_at: Time = None


class OldAudit(OldRow):
    """A row of `audit_log`."""

    id: str
    timestamp: Time
    user_id: str | None = None
    action: str
    resource: str | None = None
    params: Json = None
    result: str | None = None
    duration_ms: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class FoundTable(Input):
    """A table whose Parquet files were found. Older layouts have no folder per source."""

    source: str | None = None
    table: str
    folder: str | None = None
    description: str | None = None


class OldSystem(Input):
    """An older system: the rows of its `system.duckdb`, and the tables with Parquet files.

    `rows` maps tables to rows, and rows map columns to text. Unknown tables and columns are ignored. `data_description`
    is the text of its `data_description.md`. `dry_run` changes nothing.
    """

    dry_run: bool = False
    rows: dict[str, tuple[dict[str, str | None], ...]] = Field(default_factory=dict)
    data_description: str | None = None
    found: tuple[FoundTable, ...] = ()


R = TypeVar("R", bound=OldRow)


def read_rows(old: OldSystem, table: str, kind: type[R], key: Iterable[str], report: Gathered) -> list[R]:
    """Parse the rows of a table. The report lists invalid and duplicate rows."""
    found: dict[tuple[str | None, ...], R] = {}
    for row in old.rows.get(table, ()):
        place = tuple(row.get(name) for name in key)
        try:
            if place in found:
                report.leave(table, _named(row), "it is a duplicate")
            else:
                found[place] = kind.model_validate(row)
        except ValidationError as error:
            (name, *_), why = error.errors()[0]["loc"], reason(error.errors()[0])
            report.leave(table, _named(row), f"its {name} {why}")
    return list(found.values())


def _named(row: Mapping[str, str | None]) -> str:
    return next((f"{value:.100}" for value in row.values() if value), "a row")
