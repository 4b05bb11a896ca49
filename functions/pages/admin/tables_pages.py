"""The table registry: finding a table, and changing how it is synced and who may have it."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask
from analyst.names import Name
from functions.api import access, admin_tables, permissions

_PAGE: Final = 100
_Short = Annotated[str, StringConstraints(max_length=500)]


class TablesQuery(Form):
    """A search in the ids of tables, a source, and the number of a page."""

    q: _Short = ""
    source: Name | None = None
    page: Annotated[int, Field(ge=1, le=100_000)] = 1


class AdminTablePath(Form):
    """The source and the name of a table."""

    source: Name
    name: Name
    done: Literal["changed", "granted"] | None = None

    @property
    def id(self) -> str:
        """The id of the table."""
        return f"{self.source}.{self.name}"


class AdminTableForm(AdminTablePath):
    """How a table is synced, and who may have it."""

    description: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    sync_schedule: _Short | None = None
    sync_strategy: Literal["full_refresh", "incremental"] = "full_refresh"
    primary_key: Annotated[str, StringConstraints(max_length=5000)] = ""
    cursor_column: Name | None = None
    is_public: bool = False
    server_only: bool = False
    profile_after_sync: bool = False


class AdminGrantForm(AdminTablePath):
    """To whom to grant a table: a user or a group."""

    to: _Short
    kind: Literal["user", "group"] = "user"


class RemoveTableForm(AdminTablePath):
    """A table to remove; its id is typed again."""

    confirm: _Short


@function("GET", "/admin/tables", allow=Role.ADMIN)
def admin_tables_page(query: TablesQuery, ctx: Context) -> View:
    """Show the registered tables."""
    registered = ask(ctx, admin_tables.list_registered_tables, source=query.source).tables
    found = [each for each in registered if query.q.lower() in each.id]
    pages = max(1, -(-len(found) // _PAGE))
    number = min(query.page, pages)
    data = {"count": len(found), "page": number, "pages": pages, "tables": found[(number - 1) * _PAGE : number * _PAGE]}
    extras = {"section": "/admin/tables", "wanted": query}
    return View("admin_tables.html", "Tables", data, extras, "/admin")


@function("GET", "/admin/tables/{source}/{name}", allow=Role.ADMIN)
def admin_table_page(query: AdminTablePath, ctx: Context) -> View:
    """Show how a table is registered, who can read it, and why."""
    data: dict[str, Any] = {
        "table": ask(ctx, admin_tables.get_registered_table, id=query.id),
        "readers": ask(ctx, access.explain_access, table=query.id, limit=200),
        "grants": ask(ctx, permissions.list_permissions, table=query.id).permissions,
    }
    extras = {"section": "/admin/tables", "done": query.done}
    return View("admin_table.html", query.id, data, extras, "/admin")


@function("POST", "/admin/tables/{source}/{name}", allow=Role.ADMIN)
def change_table_form(form: AdminTableForm, ctx: Context) -> View | Redirect:
    """Change how a table is synced, and who may have it."""
    keys = tuple(part for each in form.primary_key.split(",") if (part := each.strip()))
    values = form.model_dump(exclude={"source", "name", "done", "primary_key"})
    ask(ctx, admin_tables.update_table, id=form.id, primary_key=keys or None, **values)
    return Redirect(f"/admin/tables/{form.source}/{form.name}?done=changed", 303)


@function("POST", "/admin/tables/{source}/{name}/grant", allow=Role.ADMIN)
def grant_table_form(form: AdminGrantForm, ctx: Context) -> View | Redirect:
    """Grant a table to a user or a group."""
    ask(ctx, permissions.create_permission, table=form.id, **{form.kind: form.to})
    return Redirect(f"/admin/tables/{form.source}/{form.name}?done=granted", 303)


@function("POST", "/admin/tables/{source}/{name}/remove", allow=Role.ADMIN)
def remove_table_form(form: RemoveTableForm, ctx: Context) -> View | Redirect:
    """Remove a table: its registration, the grants on it, and its data."""
    if form.confirm.strip() != form.id:
        raise InvalidInputError(f"type the id of the table, {form.id!r}, to remove it with its data")
    ask(ctx, admin_tables.deregister_table, id=form.id)
    return Redirect("/admin/tables", 303)
