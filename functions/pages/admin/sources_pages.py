"""Sources: adding one by a form made of its type's options, testing it, registering its tables, syncing and removing it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.connectors.materialized.options import TYPE
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask
from analyst.names import Name
from analyst.pages.fields import Field as InputField
from analyst.pages.fields import fields_of, read
from analyst.state.source_types import EXTERNAL
from functions.api import sync
from functions.api.admin import admin_discover, admin_source_life, admin_sources, admin_tables

LABELS: Final = {
    "csv": "Files",
    "jira": "Jira",
    "keboola": "Keboola",
    "bigquery": "BigQuery",
    "materialized": "SQL (materialized)",
    EXTERNAL: "External",
}
"""How people call the types of sources."""

DERIVED: Final = frozenset({"inputs", "columns", "is_volatile"})
"""Options of a materialized table that the server derives from its SQL."""

_DONE: Final = {
    "added": "The source is added. Test it, register its tables, then sync it.",
    "changed": "The source is changed. The next sync reads it so.",
    "registered": "The tables are registered. Sync the source to read them.",
}
_Options = Annotated[tuple[Annotated[str, StringConstraints(max_length=100)], ...], Field(max_length=200)]
_Texts = Annotated[tuple[Annotated[str, StringConstraints(max_length=100_000)], ...], Field(max_length=200)]
_Short = Annotated[str, StringConstraints(max_length=500)]


class SourcesQuery(Form):
    """The type of a source to add."""

    type: _Short | None = None


class NewSourceForm(Form):
    """A new source: the names of its options and their texts, in the same order."""

    name: Name
    type: _Short
    schedule: _Short | None = None
    option: _Options = ()
    text: _Texts = ()


class SourcePath(Form):
    """The name of a source."""

    name: Name


class SourceQuery(SourcePath):
    """A source, and what to do without changing anything: test it, or list its tables."""

    look: Annotated[str, StringConstraints(pattern=r"^(test|tables|removal)$")] | None = None
    done: Annotated[str, StringConstraints(max_length=20)] | None = None


class SourceForm(SourcePath):
    """The options of a source, in full."""

    schedule: _Short | None = None
    option: _Options = ()
    text: _Texts = ()


class AddTableForm(SourcePath):
    """A table of a source: the names of its options and their texts, in the same order."""

    table: Name
    source_table: _Short | None = None
    schedule: _Short | None = None
    option: _Options = ()
    text: _Texts = ()


class RegisterForm(SourcePath):
    """The tables to register."""

    table: Annotated[tuple[Name, ...], Field(max_length=10_000)] = ()


class RemoveForm(SourcePath):
    """A source to remove; its name is typed again."""

    confirm: _Short


@function("GET", "/admin/sources", allow=Role.ADMIN)
def sources_page(query: SourcesQuery, ctx: Context) -> View:
    """Show all sources, and the form to add one."""
    counts: dict[str, int] = {}
    for table in ctx.access.current().tables.values():
        counts[table.source] = counts.get(table.source, 0) + 1
    kind = query.type if query.type in SOURCE_TYPES else None
    data = {"sources": ask(ctx, admin_sources.list_sources).sources, "tables": counts}
    extras = {
        "section": "/admin/sources",
        "types": (*SOURCE_TYPES, EXTERNAL),
        "labels": LABELS,
        "type": kind or (EXTERNAL if query.type == EXTERNAL else None),
        "fields": [] if kind is None else fields_of(SOURCE_TYPES[kind].config, {}),
        "roots": ctx.settings.source_roots,
        "problem": None,
        "given": None,
    }
    return View("admin_sources.html", "Sources", data, extras, "/admin")


@function("POST", "/admin/sources", allow=Role.ADMIN)
def add_source_form(form: NewSourceForm, ctx: Context) -> View | Redirect:
    """Add a source, and go to its page; the form stays as it was if the source is refused."""
    try:
        config = _config(form.type, form.option, form.text)
        ask(
            ctx, admin_sources.create_source, name=form.name, type=form.type, config=config, sync_schedule=form.schedule
        )
    except AnalystError as error:
        if error.status >= 500:  # noqa: PLR2004
            raise
        view = sources_page.function.call(SourcesQuery(type=form.type), ctx)
        given = dict(zip(form.option, form.text, strict=False))
        extras = {**view.extras, "problem": str(error), "given": {**given, "": form.name}}
        return View(view.template, view.title, view.data, extras, view.current, status=error.status)
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
        data["test"] = ask(ctx, admin_source_life.test_source, name=query.name)
    elif query.look == "tables":
        data["discovered"] = ask(ctx, admin_discover.list_discovered_tables, source=query.name)
    elif query.look == "removal":
        data["removal"] = ask(ctx, admin_source_life.remove, name=query.name, dry_run=True)
    kind = SOURCE_TYPES.get(source.type)
    extras = {
        "table_fields": None if kind is None else table_fields(source.type, {}),
        "problem": None,
        "given": None,
        "section": "/admin/sources",
        "fields": [] if kind is None else fields_of(kind.config, source.config),
        "config": json.dumps(source.config, indent=2, ensure_ascii=False),
        "done": _DONE.get(query.done or ""),
    }
    return View("admin_source.html", f"Source {query.name}", data, extras, "/admin")


@function("POST", "/admin/sources/{name}", allow=Role.ADMIN)
def change_source_form(form: SourceForm, ctx: Context) -> View | Redirect:
    """Change the options of a source."""
    source = ask(ctx, admin_sources.get_source, name=form.name)
    config = _config(source.type, form.option, form.text)
    ask(ctx, admin_sources.update_source, name=form.name, config=config, sync_schedule=form.schedule)
    return Redirect(f"/admin/sources/{form.name}?done=changed", 303)


@function("POST", "/admin/sources/{name}/tables", allow=Role.ADMIN)
def add_table_form(form: AddTableForm, ctx: Context) -> View | Redirect:
    """Register a table with its options, and go to its page; the form stays as it was if the table is refused."""
    source = ask(ctx, admin_sources.get_source, name=form.name)
    try:
        options = table_options(source.type, form.option, form.text)
        named = {"source_table": form.source_table, "sync_schedule": form.schedule}
        ask(ctx, admin_tables.register_table, id=f"{form.name}.{form.table}", options=options, **named)
    except AnalystError as error:
        if error.status >= 500:  # noqa: PLR2004
            raise
        view = source_page.function.call(SourceQuery(name=form.name), ctx)
        given = {**dict(zip(form.option, form.text, strict=False)), "table": form.table}
        given |= {"schedule": form.schedule or "", "source_table": form.source_table or ""}
        extras = {**view.extras, "problem": str(error), "given": given}
        return View(view.template, view.title, view.data, extras, view.current, status=error.status)
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
    ask(ctx, admin_source_life.remove, name=form.name)
    return Redirect("/admin/sources", 303)


def _config(type_: str, names: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any]:
    kind = SOURCE_TYPES.get(type_)
    return {} if kind is None else read(kind.config, names, texts)


def table_fields(type_: str, values: Mapping[str, Any]) -> list[InputField]:
    """Return the fields for the options of a table of a source of a type."""
    kind = SOURCE_TYPES.get(type_)
    return [] if kind is None else fields_of(kind.options, values, without=DERIVED if type_ == TYPE else ())


def table_options(type_: str, names: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of a table that a form has.

    Raises:
        InvalidInputError: there is no such option, or a text can't be its value.
    """
    kind = SOURCE_TYPES.get(type_)
    return {} if kind is None else read(kind.options, names, texts)
