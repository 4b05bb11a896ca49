"""Grants on tables, buckets and sources to users and groups."""

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, grants
from analyst.state.fields import Id, Output
from analyst.state.grants import NewPermission, Permission, PermissionQuery


class PermissionList(Output):
    """Permissions, oldest first."""

    permissions: tuple[Permission, ...]


@function("GET", "/api/admin/permissions", allow=Role.ADMIN, answers={404: "The user, group or table does not exist."})
def list_permissions(query: PermissionQuery, ctx: Context) -> PermissionList:
    """List permissions: all, or those that apply to a user, a group or a table."""
    with ctx.state.read() as db:
        return PermissionList(permissions=grants.list_permissions(db, query))


@function(
    "POST",
    "/api/admin/permissions",
    allow=Role.ADMIN,
    status=201,
    answers={404: "The user, group, table, source or bucket does not exist.", 409: "The same grant exists."},
)
def create_permission(new: NewPermission, ctx: Context) -> Permission:
    """Grant a table, a source, or a bucket of a source to a user or a group."""
    return ctx.state.edit(lambda db: grants.create_permission(db, actor(ctx), new))


@function("DELETE", "/api/admin/permissions/{id}", allow=Role.ADMIN, answers={404: "The permission does not exist."})
def delete_permission(id: Id, ctx: Context) -> None:
    """Revoke a permission."""
    ctx.state.edit(lambda db: grants.delete_permission(db, actor(ctx), id))
