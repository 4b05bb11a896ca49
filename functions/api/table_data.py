"""One table for people and programs that are about to query it: its columns, and some of its rows."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from analyst import query_answer
from analyst.access import Role, Scope
from analyst.catalog import Column, QueryMode
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.context import Context
from analyst.http import Spooled, function
from analyst.names import TableId
from analyst.query.engine import Query, Reader
from analyst.query_answer import QueryAnswer
from analyst.rebuild.view_names import sql_name
from analyst.state.fields import Input, Output
from analyst.visible_tables import require

_NONE = "The table does not exist."


class SampleRequest(Input):
    """The id of a table, and the number of rows."""

    id: TableId
    rows: Annotated[int, Field(ge=1, le=1000)] = 10


class TableSchema(Output):
    """The columns of a table, how fresh it is, and who registered it. `sql_name` is its name in SQL."""

    id: str
    view: str
    sql_name: str
    description: str | None
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    query_mode: QueryMode
    rows: int | None
    size_bytes: int | None
    updated: datetime | None
    sync_schedule: str | None
    owner: str | None
    notice: str | None
    snapshot: int


@function(
    "GET",
    "/api/tables/{id}/schema",
    allow=Role.VIEWER,
    answers={404: _NONE},
    audit="table.schema",
    audit_success=False,
)
def table_schema(id: TableId, ctx: Context) -> TableSchema:
    """Return the columns of a table, how fresh it is, and who registered it."""
    from analyst.state.registry import find_table

    ctx.audited(f"table:{id}")
    snapshot, access, texts = ctx.snapshots.current(), ctx.access.current(), ctx.texts.current()
    table = require(snapshot, access, ctx.caller, id)
    with ctx.state.read() as db:
        registered = find_table(db, table.id)
    owner = access.users.get((registered and registered.registered_by) or "")
    return TableSchema(
        id=table.id,
        view=table.view,
        sql_name=sql_name(table.id, table.view),
        description=texts.description(table, access),
        columns=texts.columns(table),
        primary_key=registered.primary_key if registered else (),
        query_mode=table.query_mode,
        rows=table.rows,
        size_bytes=table.size_bytes,
        updated=table.extracted_at,
        sync_schedule=registered.sync_schedule if registered else None,
        owner=owner.email if owner else None,
        notice=table.notice,
        snapshot=snapshot.number,
    )


@function(
    "GET",
    "/api/tables/{id}/sample",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    answers={404: _NONE},
    audit="table.sample",
)
def table_sample(request: SampleRequest, ctx: Context) -> Spooled[QueryAnswer]:
    """Return some rows of a table, in the form of a query's answer."""
    ctx.audited(f"table:{request.id}")
    reader = Reader(ctx.snapshots.current(), ctx.access.current(), ctx.caller, LiveTables(ctx))
    table = require(reader.snapshot, reader.access, reader.caller, request.id)
    asked = Query(
        f"select * from {sql_name(table.id, table.view)}",
        limit=request.rows,
        seconds=ctx.settings.query_timeout,
        receipt=False,
    )
    result = ctx.queries.run(asked, reader, is_gone=ctx.is_client_gone)
    ctx.audited(rows=result.rows, bytes=result.size)
    query_answer.complete(result, None)
    return Spooled(result.file)
