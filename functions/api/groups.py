"""Groups of users."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, groups
from analyst.state.fields import Id, Output
from analyst.state.groups import Group, NewGroup

_NONE = "The group does not exist."
_NEITHER = "The group or user does not exist."


class GroupList(Output):
    """Groups by name."""

    groups: tuple[Group, ...]


@function("GET", "/api/admin/groups", allow=Role.ADMIN)
def list_groups(ctx: Context) -> GroupList:
    """List all groups with their members."""
    with ctx.state.read() as db:
        return GroupList(groups=groups.list_groups(db))


@function("POST", "/api/admin/groups", allow=Role.ADMIN, status=201, answers={409: "A group with this name exists."})
def create_group(new: NewGroup, ctx: Context) -> Group:
    """Create a group."""
    return ctx.state.edit(lambda db: groups.create_group(db, actor(ctx), new))


@function("DELETE", "/api/admin/groups/{id}", allow=Role.ADMIN, answers={404: _NONE})
def delete_group(id: Id, ctx: Context) -> None:
    """Delete a group and its grants."""
    ctx.state.edit(lambda db: groups.delete_group(db, actor(ctx), id))


@function("PUT", "/api/admin/groups/{id}/members/{user_id}", allow=Role.ADMIN, answers={404: _NEITHER})
def add_member(id: Id, user_id: Id, ctx: Context) -> None:
    """Add a user to a group."""
    ctx.state.edit(lambda db: groups.add_member(db, actor(ctx), id, user_id))


@function("DELETE", "/api/admin/groups/{id}/members/{user_id}", allow=Role.ADMIN, answers={404: _NEITHER})
def remove_member(id: Id, user_id: Id, ctx: Context) -> None:
    """Remove a user from a group."""
    ctx.state.edit(lambda db: groups.remove_member(db, actor(ctx), id, user_id))
