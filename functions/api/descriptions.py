"""Descriptions of tables by people."""

from typing import Annotated

from pydantic import Field

from analyst import descriptions
from analyst.access import Role
from analyst.catalog import Table
from analyst.context import Context
from analyst.descriptions import ColumnDescription, Description, DescriptionChange, ForeignKey, Line, Lines, Text
from analyst.errors import InvalidInputError
from analyst.http import function
from analyst.names import Name, TableId, did_you_mean
from analyst.state.fields import Input, Output
from analyst.visible_tables import find, require

_NONE = "The table does not exist."


class NewDescription(Input):
    """The fields to change; others keep their values, null clears one. Columns that are not named stay as they are."""

    id: TableId
    description: Text | None = None
    tags: Lines | None = None
    owners: Lines | None = None
    tier: Line | None = None
    grain: Line | None = None
    notes: Lines | None = None
    foreign_keys: Annotated[tuple[ForeignKey, ...], Field(max_length=100)] | None = None
    columns: dict[Name, ColumnDescription] | None = None


class TableDescription(Output):
    """The description of a table: `said` by people; `extracted` from the registry, another catalog or the source."""

    table: str
    description: str | None
    said: Description
    extracted: str | None
    history: tuple[DescriptionChange, ...]


@function("GET", "/api/tables/{id}/description", allow=Role.VIEWER, answers={404: _NONE})
def get_description(id: TableId, ctx: Context) -> TableDescription:
    """Return the description of a table, with the history of changes."""
    return _view(ctx, id)


@function(
    "PUT",
    "/api/admin/tables/{id}/description",
    allow=Role.KM_ADMIN,
    answers={
        404: "The table, or one that a foreign key names, does not exist.",
        422: "A column does not exist, or a text consists of spaces and control characters only.",
    },
    audit="table.describe",
)
def describe_table(new: NewDescription, ctx: Context) -> TableDescription:
    """Change the description of a table: texts, tags, owners, tier, grain and notes."""
    fields = {name: getattr(new, name) for name in new.model_fields_set if name != "id"}
    ctx.audited(f"table:{new.id}", fields=sorted(fields))
    table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, new.id)
    columns = {column.name: column for column in table.columns}
    for key in new.foreign_keys or ():
        _check(ctx, key, table)
    descriptions.change(ctx.store, new.id, table.registration, fields, columns, by=ctx.caller.email, at=ctx.now)
    ctx.texts.expire()
    return _view(ctx, new.id)


def _check(ctx: Context, key: ForeignKey, table: Table) -> None:
    """Raise an error unless both sides of a key exist, and the caller can read the other table."""
    other = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, key.table)
    if len(key.columns) != len(key.references):
        raise InvalidInputError(
            f"the foreign key to {key.table!r} has {len(key.columns)} columns for {len(key.references)}"
        )
    for side, names in ((table, key.columns), (other, key.references)):
        known = [column.name for column in side.columns]
        for name in names:
            if name not in known:
                raise InvalidInputError(f"the table {side.id!r} has no column {name!r}{did_you_mean(name, known)}")


def _view(ctx: Context, table_id: str) -> TableDescription:
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    table = require(snapshot, access, ctx.caller, table_id)
    found = descriptions.read(ctx.store, table_id, table.registration)
    imported = ctx.texts.current().imported.get(table_id)
    extracted = access.description(table_id, (imported.description if imported else None) or table.description)

    def is_seen(id_: str) -> bool:
        return find(snapshot, access, ctx.caller, id_) is not None

    return TableDescription(
        table=table_id,
        description=found.said.description or extracted,
        said=descriptions.without_hidden(found.said, is_seen),
        extracted=extracted,
        history=tuple(descriptions.change_without_hidden(each, is_seen) for each in found.history),
    )
