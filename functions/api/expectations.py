"""Expectations of tables: reading them with their results, and setting them."""

from typing import Annotated

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import TableId
from analyst.quality import expectations
from analyst.quality.expectations import Check, ColumnChange, Expectation, Expected
from analyst.state.fields import Input, Output
from analyst.visible_tables import require

_NONE = "The table does not exist."


class NewExpectations(Input):
    """The expectations of a table; they replace all it has."""

    id: TableId
    expectations: Annotated[tuple[Expectation, ...], Field(max_length=50)]


class TableExpectations(Output):
    """The expectations of a table, the results of the last checks, and the changes of its columns, newest first."""

    table: str
    expectations: tuple[Expectation, ...]
    checks: tuple[Check, ...]
    column_changes: tuple[ColumnChange, ...]


@function("GET", "/api/tables/{id}/expectations", allow=Role.VIEWER, answers={404: _NONE})
def get_expectations(id: TableId, ctx: Context) -> TableExpectations:
    """Return the expectations of a table, with the results of the last checks."""
    return _view(ctx, id)


@function(
    "PUT",
    "/api/admin/tables/{id}/expectations",
    allow=Role.KM_ADMIN,
    body_limit=32 << 20,
    answers={404: _NONE, 422: "An expectation does not have the fields that its kind needs."},
    audit="table.expectations",
)
def set_expectations(new: NewExpectations, ctx: Context) -> TableExpectations:
    """Replace the expectations of a table. The next sync that reads the table checks them."""
    ctx.audited(f"table:{new.id}", count=len(new.expectations))
    table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, new.id)
    expected = Expected(
        registration=table.registration,
        expectations=new.expectations,
        changed_by=ctx.caller.email,
        changed_at=ctx.now,
    )
    expectations.put(ctx.store, new.id, expected)
    return _view(ctx, new.id)


def _view(ctx: Context, table_id: str) -> TableExpectations:
    table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, table_id)
    found = expectations.history(ctx.store, table_id, table.registration)
    return TableExpectations(
        table=table_id,
        expectations=expectations.read(ctx.store, table_id, table.registration),
        checks=found.checks,
        column_changes=found.column_changes,
    )
