"""The table registry: finding a table, and changing how it is synced and who may have it."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.connectors.materialized.options import TYPE
from analyst.connectors.source_forms import OptionsForm, chosen_options, table_fields
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.http import Redirect, View, function
from analyst.http.pages import EditForm, Form, ask, found, items_of, refused
from analyst.names import Name
from functions.api import access, permissions
from functions.api.admin import admin_sources, admin_tables

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
    done: Literal["added", "changed", "granted"] | None = None

    @property
    def id(self) -> str:
        """The id of the table."""
        return f"{self.source}.{self.name}"


class AdminTableForm(AdminTablePath, EditForm):
    """How a table is synced, and who may have it."""

    description: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    sync_schedule: _Short | None = None
    sync_strategy: Literal["full_refresh", "incremental"] = "full_refresh"
    primary_key: Annotated[str, StringConstraints(max_length=5000)] = ""
    cursor_column: Name | None = None
    is_public: bool = False
    server_only: bool = False
    profile_after_sync: bool = False


class TableOptionsForm(AdminTablePath, EditForm, OptionsForm):
    """The options of a table, in full."""


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
    from analyst.state.registry import search_tables

    with ctx.state.read() as db:
        count, _ = search_tables(db, query.q, query.source, limit=0, offset=0)
        pages = max(1, -(-count // _PAGE))
        number = min(query.page, pages)
        _, tables = search_tables(db, query.q, query.source, limit=_PAGE, offset=(number - 1) * _PAGE)
    data = {"count": count, "page": number, "pages": pages, "tables": tables}
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
    type_ = found_type(ctx, query.source)
    extras = {
        "section": "/admin/tables",
        "done": query.done,
        "seen": AdminTableForm.fingerprint(data["table"]),
        "seen_options": TableOptionsForm.fingerprint(chosen_options(type_, data["table"].options)),
        "fields": table_fields(type_, data["table"].options),
        "is_materialized": type_ == TYPE,
    }
    return View("admin_table.html", query.id, data, extras, "/admin")


@function("POST", "/admin/tables/{source}/{name}", allow=Role.ADMIN)
def change_table_form(form: AdminTableForm, ctx: Context) -> View | Redirect:
    """Change how a table is synced, and who may have it."""
    values = form.model_dump(exclude={"source", "name", "done", "primary_key", "seen"})
    keys = tuple(items_of(form.primary_key))
    now = ask(ctx, admin_tables.get_registered_table, id=form.id)
    form.require_unchanged(now, {**values, "primary_key": keys})
    ask(ctx, admin_tables.update_table, id=form.id, primary_key=keys or None, **values)
    return Redirect(f"/admin/tables/{form.source}/{form.name}?done=changed", 303)


@function("POST", "/admin/tables/{source}/{name}/options", allow=Role.ADMIN)
def table_options_form(form: TableOptionsForm, ctx: Context) -> View | Redirect:
    """Change the options of a table; the form stays as it was if they are refused."""
    type_ = found_type(ctx, form.source)
    now = chosen_options(type_, ask(ctx, admin_tables.get_registered_table, id=form.id).options)
    try:
        options = form.table_options(type_)
        form.require_unchanged(now, chosen_options(type_, options))
        ask(ctx, admin_tables.update_table, id=form.id, options=options)
    except AnalystError as error:
        view = admin_table_page.function.call(AdminTablePath(source=form.source, name=form.name), ctx)
        return refused(view, error, given=form.given, seen_options=form.seen or "")
    return Redirect(f"/admin/tables/{form.source}/{form.name}?done=changed", 303)


def found_type(ctx: Context, source: str) -> str:
    """Return the type of a source; empty if a table has none, as in older systems."""
    known = found(ctx, admin_sources.get_source, name=source)
    return "" if known is None else str(known.type)


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
