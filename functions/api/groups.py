"""Groups of users."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, groups
from analyst.state.fields import Id, Input
from analyst.state.groups import Group, NewGroup

_NONE = "There is no such group."
_NEITHER = "There is no such group or user."


class GroupRequest(Input):
    """Which group is meant."""

    id: Id


class MemberRequest(Input):
    """Which user in which group is meant."""

    id: Id
    user_id: Id


class GroupList(BaseModel):
    """Groups by name."""

    model_config = ConfigDict(frozen=True)

    groups: tuple[Group, ...]


@function("GET", "/api/admin/groups", allow=Role.ADMIN)
def list_groups(ctx: Context) -> GroupList:
    """List all groups and who is in them."""
    with ctx.state.read() as db:
        return GroupList(groups=groups.list_groups(db))


@function("POST", "/api/admin/groups", allow=Role.ADMIN, status=201, answers={409: "There is one of this name."})
def create_group(new: NewGroup, ctx: Context) -> Group:
    """Add a group."""
    return ctx.state.edit(lambda db: groups.create_group(db, actor(ctx), new))


@function("DELETE", "/api/admin/groups/{id}", allow=Role.ADMIN, answers={404: _NONE})
def delete_group(request: GroupRequest, ctx: Context) -> None:
    """Remove a group and what was granted to it."""
    ctx.state.edit(lambda db: groups.delete_group(db, actor(ctx), request.id))


@function("PUT", "/api/admin/groups/{id}/members/{user_id}", allow=Role.ADMIN, answers={404: _NEITHER})
def add_member(request: MemberRequest, ctx: Context) -> None:
    """Put a user into a group."""
    ctx.state.edit(lambda db: groups.add_member(db, actor(ctx), request.id, request.user_id))


@function("DELETE", "/api/admin/groups/{id}/members/{user_id}", allow=Role.ADMIN, answers={404: _NEITHER})
def remove_member(request: MemberRequest, ctx: Context) -> None:
    """Take a user out of a group."""
    ctx.state.edit(lambda db: groups.remove_member(db, actor(ctx), request.id, request.user_id))
