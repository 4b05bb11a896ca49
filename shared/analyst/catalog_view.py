"""The catalog as a caller sees it: only the tables that they can read."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import Column, QueryMode, Table
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


class TableDetail(TableSummary):
    """A table with its columns. `files` is the number of its Parquet files."""

    hash: str
    files: int
    columns: tuple[Column, ...]


class TableList(BaseModel):
    """Tables ordered by id. `tables` is one page of `count` matches."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    count: int
    tables: tuple[TableSummary, ...]


def search(
    snapshot: Snapshot, access: AccessList, caller: Caller, *, text: str | None, limit: int, offset: int
) -> TableList:
    """List the tables that the caller may read whose id, view or description holds a text, without regard to case."""
    found = [
        table for table in visible(snapshot, access, caller) if text is None or _matches(table, access, text.lower())
    ]
    page = tuple(_summary(table, access) for table in found[offset : offset + limit])
    return TableList(snapshot=snapshot.number, count=len(found), tables=page)


def find(snapshot: Snapshot, access: AccessList, caller: Caller, table_id: str) -> TableDetail:
    """Return one table.

    Raises:
        NotFoundError: there is none of this id for this caller.
    """
    table = require(snapshot, access, caller, table_id)
    return TableDetail(
        **_summary(table, access).model_dump(), hash=table.hash, files=len(table.files), columns=table.columns
    )


def _matches(table: Table, access: AccessList, text: str) -> bool:
    description = access.description(table.id, table.description) or ""
    return any(text in part.lower() for part in (table.id, table.view, description))


def _summary(table: Table, access: AccessList) -> TableSummary:
    registration = access.tables.get(table.id)
    return TableSummary(
        id=table.id,
        view=table.view,
        source=table.source,
        bucket=registration.bucket if registration else None,
        description=access.description(table.id, table.description),
        query_mode=table.query_mode,
        rows=table.rows,
        size_bytes=table.size_bytes,
        updated=table.extracted_at,
        notice=table.notice,
        is_public=registration.is_public if registration else False,
        server_only=registration.server_only if registration else False,
    )
