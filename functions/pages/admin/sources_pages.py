"""Sources: adding one by a form made of its type's options, testing it, registering its tables, syncing and removing it."""

import json
from collections import Counter
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.connectors.source_forms import LABELS, OptionsForm, source_fields, table_fields
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.http import Redirect, View, function
from analyst.http.pages import EditForm, Form, ask, refused
from analyst.names import Name
from functions.api import sync
from functions.api.admin import admin_discover, admin_source_lifecycle, admin_sources, admin_tables

_DONE: Final = {
    "added": "The source was added. Test it, register its tables, then sync it.",
    "changed": "The changes were saved. The next sync uses the new options.",
    "registered": "The tables were registered. Sync the source to read them.",
}
_Short = Annotated[str, StringConstraints(max_length=500)]


class SourcesQuery(Form):
    """The type of a source to add."""

    type: _Short | None = None


class NewSourceForm(OptionsForm):
    """A new source with its options."""

    name: Name
    type: _Short
    schedule: _Short | None = None


class SourcePath(Form):
    """The name of a source."""

    name: Name


class SourceQuery(SourcePath):
    """A source, and what to do without changing anything: test it, list its tables, or preview its removal."""

    look: Literal["test", "tables", "removal"] | None = None
    done: Annotated[str, StringConstraints(max_length=20)] | None = None


class SourceForm(SourcePath, EditForm, OptionsForm):
    """The options of a source, in full."""

    schedule: _Short | None = None


class AddTableForm(SourceForm):
    """A table of a source, with its options."""

    table: Name
    source_table: _Short | None = None


class RegisterForm(SourcePath):
    """The tables to register."""

    table: Annotated[tuple[Name, ...], Field(max_length=10_000)] = ()


class RemoveForm(SourcePath):
    """A source to remove; its name is typed again."""

    confirm: _Short


@function("GET", "/admin/sources", allow=Role.ADMIN)
def sources_page(query: SourcesQuery, ctx: Context) -> View:
    """Show all sources, and the form to add one."""
    counts = Counter(table.source for table in ctx.access.current().tables.values())
    data = {"sources": ask(ctx, admin_sources.list_sources).sources, "tables": counts}
    extras = {
        "section": "/admin/sources",
        "types": tuple(LABELS),
        "labels": LABELS,
        "type": query.type if query.type in LABELS else None,
        "fields": source_fields(query.type, {}),
        "roots": ctx.settings.source_roots,
    }
    return View("admin_sources.html", "Sources", data, extras, "/admin")


@function("POST", "/admin/sources", allow=Role.ADMIN)
def add_source_form(form: NewSourceForm, ctx: Context) -> View | Redirect:
    """Add a source, and go to its page; the form stays as it was if the source is refused."""
    try:
        new = {"type": form.type, "config": form.config(form.type), "sync_schedule": form.schedule}
        ask(ctx, admin_sources.create_source, name=form.name, **new)
    except AnalystError as error:
        view = sources_page.function.call(SourcesQuery(type=form.type), ctx)
        return refused(view, error, given={**form.given, "": form.name})
    return Redirect(f"/admin/sources/{form.name}?done=added", 303)


@function("GET", "/admin/sources/{name}", allow=Role.ADMIN)
def source_page(query: SourceQuery, ctx: Context) -> View:
    """Show a source: its options, tables, last runs; and on request a test of it, its tables, or what a removal takes away."""
    source = ask(ctx, admin_sources.get_source, name=query.name)
    runs = [each for each in ask(ctx, sync.status, limit=100).runs if each.source == query.name]
    data: dict[str, Any] = {
        "source": source,
        "tables": ask(ctx, admin_tables.list_registered_tables, source=query.name).tables,
        "runs": runs[:10],
        "test": None,
        "discovered": None,
        "removal": None,
    }
    if query.look == "test":
        data["test"] = ask(ctx, admin_source_lifecycle.test_source, name=query.name)
    elif query.look == "tables":
        data["discovered"] = ask(ctx, admin_discover.list_discovered_tables, source=query.name)
    elif query.look == "removal":
        data["removal"] = ask(ctx, admin_source_lifecycle.remove, name=query.name, dry_run=True)
    extras = {
        "table_fields": table_fields(source.type, {}) if source.type in SOURCE_TYPES else None,
        "section": "/admin/sources",
        "fields": source_fields(source.type, source.config),
        "seen": SourceForm.fingerprint((source.config, source.sync_schedule)),
        "config": json.dumps(source.config, indent=2, ensure_ascii=False),
        "done": _DONE.get(query.done or ""),
    }
    return View("admin_source.html", f"Source {query.name}", data, extras, "/admin")


@function("POST", "/admin/sources/{name}", allow=Role.ADMIN)
def change_source_form(form: SourceForm, ctx: Context) -> View | Redirect:
    """Change the options of a source."""
    source = ask(ctx, admin_sources.get_source, name=form.name)
    config = form.config(source.type)
    form.require_unchanged((source.config, source.sync_schedule), (config, form.schedule))
    ask(ctx, admin_sources.update_source, name=form.name, config=config, sync_schedule=form.schedule)
    return Redirect(f"/admin/sources/{form.name}?done=changed", 303)


@function("POST", "/admin/sources/{name}/tables", allow=Role.ADMIN)
def add_table_form(form: AddTableForm, ctx: Context) -> View | Redirect:
    """Register a table with its options, and go to its page; the form stays as it was if the table is refused."""
    source = ask(ctx, admin_sources.get_source, name=form.name)
    try:
        new: dict[str, Any] = {"options": form.table_options(source.type), "source_table": form.source_table}
        new["sync_schedule"] = form.schedule
        ask(ctx, admin_tables.register_table, id=f"{form.name}.{form.table}", **new)
    except AnalystError as error:
        view = source_page.function.call(SourceQuery(name=form.name), ctx)
        sent = {"table": form.table, "schedule": form.schedule or "", "source_table": form.source_table or ""}
        return refused(view, error, given={**form.given, **sent})
    return Redirect(f"/admin/tables/{form.name}/{form.table}?done=added", 303)


@function("POST", "/admin/sources/{name}/register", allow=Role.ADMIN)
def register_tables_form(form: RegisterForm, ctx: Context) -> View | Redirect:
    """Register tables of a source."""
    if not form.table:
        raise InvalidInputError("no table is chosen; choose the tables to register")
    ask(ctx, admin_discover.register_discovered_tables, source=form.name, tables=form.table)
    return Redirect(f"/admin/sources/{form.name}?done=registered", 303)


@function("POST", "/admin/sources/{name}/sync", allow=Role.ADMIN, audit="sync.trigger")
def sync_source_form(form: SourcePath, ctx: Context) -> View | Redirect:
    """Start a sync of a source, and go to its run."""
    started = ask(ctx, sync.trigger_extracts, sources=(form.name,)).runs
    return Redirect(f"/admin/runs/{started[0].run_id}" if started else f"/admin/sources/{form.name}", 303)


@function("POST", "/admin/sources/{name}/remove", allow=Role.ADMIN)
def remove_source_form(form: RemoveForm, ctx: Context) -> View | Redirect:
    """Remove a source with its tables, their data and grants."""
    if form.confirm.strip() != form.name:
        raise InvalidInputError(f"type the name of the source, {form.name!r}, to remove it with all its tables")
    ask(ctx, admin_source_lifecycle.remove, name=form.name)
    return Redirect("/admin/sources", 303)
