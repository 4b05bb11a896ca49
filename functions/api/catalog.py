"""The catalog: the tables that a caller can read."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst import catalog_view
from analyst.access import Role
from analyst.catalog_view import TableDetail, TableList
from analyst.context import Context
from analyst.http import function
from analyst.names import TableId
from analyst.snapshots import SnapshotNumber
from analyst.state.fields import Input

_NONE = "The table or snapshot does not exist, or is no longer kept."


class TableQuery(Input):
    """Filter for tables: `q` is searched for in their ids, view names and descriptions. `limit` and `offset` select a page."""

    q: Annotated[str, StringConstraints(max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    snapshot: SnapshotNumber | None = None


class TableRequest(Input):
    """The id of a table, and optionally the number of an earlier snapshot."""

    id: TableId
    snapshot: SnapshotNumber | None = None


@function("GET", "/api/catalog/tables", allow=Role.VIEWER, answers={404: _NONE})
def list_tables(query: TableQuery, ctx: Context) -> TableList:
    """List the tables that the caller can read."""
    return catalog_view.search(
        ctx.snapshots.at(query.snapshot),
        ctx.access.current(),
        ctx.caller,
        texts=ctx.texts.current(),
        text=query.q,
        limit=query.limit,
        offset=query.offset,
    )


@function(
    "GET",
    "/api/catalog/tables/{id}",
    allow=Role.VIEWER,
    answers={404: _NONE},
    audit="catalog.table",
    audit_success=False,
)
def get_table(request: TableRequest, ctx: Context) -> TableDetail:
    """Return one table with its columns, size and time of the last update."""
    ctx.audited(f"table:{request.id}")
    snapshot, access = ctx.snapshots.at(request.snapshot), ctx.access.current()
    return catalog_view.find(snapshot, access, ctx.caller, ctx.texts.current(), request.id)
