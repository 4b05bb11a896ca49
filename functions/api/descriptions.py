"""Descriptions of tables by people."""

from pydantic import BaseModel, ConfigDict

from analyst import descriptions
from analyst.access import Role
from analyst.context import Context
from analyst.descriptions import ColumnDescription, Description, DescriptionChange, Line, Lines, Text
from analyst.http import function
from analyst.names import Name, TableId
from analyst.visible_tables import require

_NONE = "The table does not exist."


class DescriptionRequest(BaseModel):
    """The id of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: TableId


class NewDescription(BaseModel):
    """The fields to change; others keep their values, null clears one. Columns that are not named stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: TableId
    description: Text | None = None
    tags: Lines | None = None
    owners: Lines | None = None
    tier: Line | None = None
    grain: Line | None = None
    notes: Lines | None = None
    columns: dict[Name, ColumnDescription] | None = None


class TableDescription(BaseModel):
    """What is said of a table: by people in `said`, by its source or the registry in `extracted`, if people say nothing."""

    model_config = ConfigDict(frozen=True)

    table: str
    description: str | None
    said: Description
    extracted: str | None
    history: tuple[DescriptionChange, ...]


@function("GET", "/api/tables/{id}/description", allow=Role.VIEWER, answers={404: _NONE})
def get_description(request: DescriptionRequest, ctx: Context) -> TableDescription:
    """Return what people say of a table, with the history of changes."""
    return _view(ctx, request.id)


@function(
    "PUT", "/api/admin/tables/{id}/description", allow=Role.KM_ADMIN, answers={404: _NONE}, audit="table.describe"
)
def describe_table(new: NewDescription, ctx: Context) -> TableDescription:
    """Change what is said of a table: texts, tags, owners, tier, grain and things to know."""
    fields = {name: getattr(new, name) for name in new.model_fields_set if name != "id"}
    ctx.audited(f"table:{new.id}", fields=sorted(fields))
    table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, new.id)
    columns = {column.name: column for column in table.columns}
    descriptions.change(ctx.store, new.id, table.registration, fields, columns, by=ctx.caller.email, at=ctx.now)
    return _view(ctx, new.id)


def _view(ctx: Context, table_id: str) -> TableDescription:
    access = ctx.access.current()
    table = require(ctx.snapshots.current(), access, ctx.caller, table_id)
    found = descriptions.read(ctx.store, table_id, table.registration)
    extracted = access.description(table_id, table.description)
    return TableDescription(
        table=table_id,
        description=found.said.description or extracted,
        said=found.said,
        extracted=extracted,
        history=found.history,
    )
