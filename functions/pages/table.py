"""The page of a table: its description, columns and rows, its freshness and quality, and how to use it."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from analyst import catalog_view, glossary, lineage
from analyst.access import Role
from analyst.connectors.materialized.computation import computation_of
from analyst.context import Context
from analyst.descriptions import Line, Text
from analyst.errors import AnalystError, NotFoundError
from analyst.http import Redirect, View, function
from analyst.http.pages import EditForm, Form, ask, found, items_of
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.metrics.view import summary
from analyst.names import Name
from analyst.pages.table_view import extras, listed_files, problems_of
from analyst.state.fields import Note
from analyst.visible_tables import require
from functions.api import access_requests, descriptions, expectations, feedback, profiles, table_data
from functions.api import glossary as terms

_Lines = Annotated[str, StringConstraints(max_length=20_000)]


class TablePath(Form):
    """The source and the name of a table."""

    source: Name
    name: Name

    @property
    def id(self) -> str:
        """The id of the table."""
        return f"{self.source}.{self.name}"

    @property
    def url(self) -> str:
        """The path of its page."""
        return f"/tables/{self.source}/{self.name}"


class TablePageQuery(TablePath):
    """A table, and the page of its columns."""

    page: Annotated[int, Field(ge=1, le=100_000)] = 1
    done: Annotated[str, StringConstraints(max_length=20)] | None = None


class DescriptionForm(TablePath, EditForm):
    """The description of a table: tags and owners are separated by commas, notes by line ends."""

    description: Text | None = None
    tags: _Lines = ""
    owners: _Lines = ""
    tier: Line | None = None
    grain: Line | None = None
    notes: _Lines = ""


class ColumnForm(TablePath, EditForm):
    """The description of a column."""

    column: Name
    description: Text | None = None
    tags: _Lines = ""


class AccessForm(TablePath):
    """The reason for a request for access."""

    reason: Note


class FeedbackForm(TablePath):
    """What is wrong with a table."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


_DONE: Final = {
    "described": "The description was saved.",
    "requested": "The request was sent. An administrator will decide on it.",
    "told": "Thank you. The table's owners and the administrators can see what you wrote.",
}


@function("GET", "/tables/{source}/{name}", allow=Role.VIEWER, audit="catalog.table", audit_success=False)
def table_page(query: TablePageQuery, ctx: Context) -> View:
    """Show a table."""
    try:
        return _shown(query, ctx)
    except NotFoundError as error:
        return _hidden(query, ctx, error)


@function("POST", "/tables/{source}/{name}/description", allow=Role.KM_ADMIN, audit="table.describe")
def describe_table_form(form: DescriptionForm, ctx: Context) -> View | Redirect:
    """Change the description of a table, and go back to its page."""
    fields = form.model_dump(include={"description", "tier", "grain"})
    fields |= {"tags": items_of(form.tags), "owners": items_of(form.owners), "notes": items_of(form.notes, "\n")}
    form.require_unchanged(ask(ctx, descriptions.get_description, id=form.id).said, fields)
    ask(ctx, descriptions.describe_table, id=form.id, **fields)
    return Redirect(f"{form.url}?done=described", 303)


@function("POST", "/tables/{source}/{name}/columns", allow=Role.KM_ADMIN, audit="table.describe")
def describe_column_form(form: ColumnForm, ctx: Context) -> View | Redirect:
    """Change the description of a column, and go back to the table."""
    column = {"description": form.description, "tags": items_of(form.tags)}
    form.require_unchanged(ask(ctx, descriptions.get_description, id=form.id).said.columns.get(form.column), column)
    ask(ctx, descriptions.describe_table, id=form.id, columns={form.column: column})
    return Redirect(f"{form.url}?done=described#column-{form.column}", 303)


@function("POST", "/tables/{source}/{name}/request", allow=Role.VIEWER)
def request_table_form(form: AccessForm, ctx: Context) -> View | Redirect:
    """Request access to a table, and go to the account, which lists requests."""
    ask(ctx, access_requests.request_access, table=form.id, reason=form.reason)
    return Redirect("/account?done=requested#requests", 303)


@function("POST", "/tables/{source}/{name}/feedback", allow=Role.VIEWER, audit="feedback.add")
def table_feedback_form(form: FeedbackForm, ctx: Context) -> View | Redirect:
    """Say that something about a table is wrong, and go back to it."""
    ask(ctx, feedback.give_feedback, kind="table", about=form.id, text=form.text)
    return Redirect(f"{form.url}?done=told", 303)


def _shown(query: TablePageQuery, ctx: Context) -> View:
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    table = require(snapshot, access, ctx.caller, query.id)
    schema = ask(ctx, table_data.table_schema, id=query.id)
    description = ask(ctx, descriptions.get_description, id=query.id)
    profile = found(ctx, profiles.get_profile, id=query.id)
    quality = ask(ctx, expectations.get_expectations, id=query.id)
    seen = visible_metrics(checked_metrics.read(ctx.store).metrics, snapshot, access, ctx.caller)
    using = [summary(each) for each in seen if query.id in each.tables]
    about = catalog_view.find(snapshot, access, ctx.caller, ctx.texts.current(), query.id)
    data: dict[str, Any] = {
        "table": about,
        "schema": schema,
        "description": description,
        "profile": profile,
        "expectations": quality,
        "metrics": using,
        "terms": glossary.links_to(ask(ctx, terms.list_terms).terms, query.id),
        "lineage": lineage.of_table(snapshot, access, ctx.caller, ctx.texts.current(), seen, query.id),
        "relations": ask(ctx, profiles.get_relations, id=query.id).relations,
        "computed": computation_of(ctx, table),
        "files": listed_files(table),
        "problems": problems_of(snapshot, table),
    }
    shown = {
        **extras(data, query.page, ctx.caller, ctx.settings),
        "url": query.url,
        "seen": DescriptionForm.fingerprint(description.said),
        "seen_columns": {
            name: ColumnForm.fingerprint(said) for name, said in {"": None, **description.said.columns}.items()
        },
        "done": _DONE.get(query.done or ""),
    }
    return View("table.html", about.id, data, shown, "/catalog")


def _hidden(query: TablePageQuery, ctx: Context, error: AnalystError) -> View:
    """Answer for a table that the caller can't read, or that does not exist: both look the same."""
    ctx.audited(f"table:{query.id}")
    data = {"id": query.id, "url": query.url, "text": str(error)}
    return View("table_hidden.html", "No such table", data, current="/catalog", status=404, error=error)
