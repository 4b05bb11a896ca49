"""The catalog as a caller sees it: only the tables that they can read."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import QueryMode, Table
from analyst.descriptions import Texts
from analyst.snapshots import Snapshot
from analyst.visible_tables import require, visible


class TableSummary(BaseModel):
    """A table. `view` is its name in analytics.duckdb."""

    model_config = ConfigDict(frozen=True)

    id: str
    view: str
    source: str
    bucket: str | None
    description: str | None
    query_mode: QueryMode
    rows: int | None
    size_bytes: int | None
    updated: datetime | None
    notice: str | None = None
    is_public: bool
    server_only: bool
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tier: str | None = None
    grain: str | None = None


class ColumnDetail(BaseModel):
    """A column. `type` is the DuckDB type."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    description: str | None = None
    tags: tuple[str, ...] = ()


class TableDetail(TableSummary):
    """A table with its columns. `files` is the number of its Parquet files, `notes` are things to know.

    `url` is its page in the catalog from which descriptions are imported, and `imported_at` the time of that import.
    """

    hash: str
    files: int
    columns: tuple[ColumnDetail, ...]
    notes: tuple[str, ...] = ()
    url: str | None = None
    imported_at: datetime | None = None


class TableList(BaseModel):
    """Tables ordered by id. `tables` is one page of `count` matches."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    count: int
    tables: tuple[TableSummary, ...]


def search(
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
    *,
    text: str | None,
    limit: int,
    offset: int,
    texts: Texts = Texts(),  # noqa: B008 - frozen
) -> TableList:
    """List the tables that the caller may read whose id, view or description contains a string, without regard to case."""
    found = [
        table
        for table in visible(snapshot, access, caller)
        if text is None or _matches(table, access, texts, text.lower())
    ]
    page = tuple(_summary(table, access, texts) for table in found[offset : offset + limit])
    return TableList(snapshot=snapshot.number, count=len(found), tables=page)


def find(snapshot: Snapshot, access: AccessList, caller: Caller, texts: Texts, table_id: str) -> TableDetail:
    """Return one table.

    Raises:
        NotFoundError: it does not exist, or the caller can't read it.
    """
    table = require(snapshot, access, caller, table_id)
    people = texts.of(table)
    columns = tuple(
        ColumnDetail(
            name=column.name,
            type=column.type,
            description=column.description,
            tags=people.columns[column.name].tags if column.name in people.columns else (),
        )
        for column in texts.columns(table)
    )
    return TableDetail(
        **_summary(table, access, texts).model_dump(),
        hash=table.hash,
        files=len(table.files),
        columns=columns,
        notes=people.notes,
        url=texts.url(table),
        imported_at=texts.imported_at if table.id in texts.imported else None,
    )


def _matches(table: Table, access: AccessList, texts: Texts, text: str) -> bool:
    description = texts.description(table, access) or ""
    return any(text in part.lower() for part in (table.id, table.view, description))


def _summary(table: Table, access: AccessList, texts: Texts) -> TableSummary:
    registration, people = access.tables.get(table.id), texts.of(table)
    return TableSummary(
        id=table.id,
        view=table.view,
        source=table.source,
        bucket=registration.bucket if registration else None,
        description=texts.description(table, access),
        query_mode=table.query_mode,
        rows=table.rows,
        size_bytes=table.size_bytes,
        updated=table.extracted_at,
        notice=table.notice,
        is_public=registration.is_public if registration else False,
        server_only=registration.server_only if registration else False,
        tags=people.tags,
        owners=people.owners,
        tier=people.tier,
        grain=people.grain,
    )
