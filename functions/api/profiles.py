"""Profiles of tables and their relations: reading them."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.names import TableId
from analyst.profiles import profile_view, relations, stored_profiles
from analyst.profiles.profile_view import ProfileView
from analyst.profiles.relations import Relation
from analyst.state.fields import Output
from analyst.visible_tables import require


class Relations(Output):
    """The relations of a table to those that the caller can read."""

    table: str
    relations: tuple[Relation, ...]


@function(
    "GET",
    "/api/tables/{id}/profile",
    allow=Role.VIEWER,
    answers={404: "The table does not exist, or has no profile yet."},
    audit="catalog.profile",
    audit_success=False,
)
def get_profile(id: TableId, ctx: Context) -> ProfileView:
    """Return the statistics of a table's columns, with alerts and what has changed. Sensitive columns show no values."""
    ctx.audited(f"table:{id}")
    snapshot, access, texts = ctx.snapshots.current(), ctx.access.current(), ctx.texts.current()
    table = require(snapshot, access, ctx.caller, id)
    found = stored_profiles.require_profile(ctx.store, table)
    return profile_view.view(ctx.store, found, snapshot, access, caller=ctx.caller, texts=texts)


@function(
    "GET",
    "/api/tables/{id}/relations",
    allow=Role.VIEWER,
    answers={404: "The table does not exist."},
    audit="catalog.relations",
    audit_success=False,
)
def get_relations(id: TableId, ctx: Context) -> Relations:
    """Return the foreign keys of a table and those that refer to it: declared by people, or proposed from the data."""
    ctx.audited(f"table:{id}")
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    table = require(snapshot, access, ctx.caller, id)
    known = relations.read(ctx.store)
    found = relations.of_table(table, snapshot, access, ctx.caller, texts=ctx.texts.current(), proposals=known)
    return Relations(table=table.id, relations=found)
