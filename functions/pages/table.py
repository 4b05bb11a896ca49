"""The page of a table: what is said of it, its columns and rows, how fresh and how good it is, and how to use it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from analyst import catalog_view, lineage
from analyst.access import Role
from analyst.catalog import Table
from analyst.cli_wheel import NO_ADDRESS
from analyst.context import Context
from analyst.descriptions import Line, Text
from analyst.errors import AnalystError, InvalidInputError, NotFoundError
from analyst.glossary import Term
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask, found
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.metrics.view import summary
from analyst.names import Name
from analyst.pages import graphs
from analyst.pages.html import day
from analyst.pages.results import is_number, readable_name
from analyst.schedule import Schedule
from analyst.state.fields import Note
from analyst.visible_tables import find, require
from functions.api import access_requests, descriptions, expectations, feedback, glossary, profiles, table_data

_COLUMNS: Final = 100
_FILES: Final = 100
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


class DescriptionForm(TablePath):
    """What is said of a table: tags and owners are separated by commas, notes by line ends."""

    description: Text | None = None
    tags: _Lines = ""
    owners: _Lines = ""
    tier: Line | None = None
    grain: Line | None = None
    notes: _Lines = ""


class ColumnForm(TablePath):
    """What is said of a column."""

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
    "described": "The description is saved.",
    "requested": "The request is sent. An administrator decides about it.",
    "told": "Thank you. The owners of the table and the administrators see what you wrote.",
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
    """Change what is said of a table, and go back to its page."""
    said = {
        "description": form.description,
        "tags": _split(form.tags, ","),
        "owners": _split(form.owners, ","),
        "tier": form.tier,
        "grain": form.grain,
        "notes": _split(form.notes, "\n"),
    }
    ask(ctx, descriptions.describe_table, id=form.id, **said)
    return Redirect(f"{form.url}?done=described", 303)


@function("POST", "/tables/{source}/{name}/columns", allow=Role.KM_ADMIN, audit="table.describe")
def describe_column_form(form: ColumnForm, ctx: Context) -> View | Redirect:
    """Change what is said of a column, and go back to the table."""
    said = {form.column: {"description": form.description, "tags": _split(form.tags, ",")}}
    ask(ctx, descriptions.describe_table, id=form.id, columns=said)
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
    said = ask(ctx, descriptions.get_description, id=query.id)
    profile = found(ctx, profiles.get_profile, id=query.id)
    quality = ask(ctx, expectations.get_expectations, id=query.id)
    seen = visible_metrics(checked_metrics.read(ctx.store).metrics, snapshot, access, ctx.caller)
    using = [summary(each) for each in seen if query.id in each.tables]
    about = catalog_view.find(snapshot, access, ctx.caller, ctx.texts.current(), query.id)
    data: dict[str, Any] = {
        "table": about,
        "schema": schema,
        "description": said,
        "profile": profile,
        "expectations": quality,
        "metrics": using,
        "terms": _terms(ctx, query.id),
        "lineage": lineage.of_table(snapshot, access, ctx.caller, ctx.texts.current(), seen, query.id),
        "relations": ask(ctx, profiles.get_relations, id=query.id).relations,
        "computed": _computed(ctx, table),
        "files": [
            {"size_bytes": file.size_bytes, "rows": file.rows, "partition": file.partition}
            for file in table.files[:_FILES]
        ],
        "problems": [
            each
            for each in snapshot.catalog.problems
            if each.source == table.source and each.table in (None, table.name)
        ],
    }
    return View("table.html", about.id, data, _extras(query, ctx, data), "/catalog")


def _extras(query: TablePageQuery, ctx: Context, data: dict[str, Any]) -> dict[str, Any]:
    about, profile = data["table"], data["profile"]
    profiled = {} if profile is None else {each["name"]: each for each in profile.profile["columnProfile"]}
    pages = max(1, -(-len(about.columns) // _COLUMNS))
    number = min(query.page, pages)
    history = [] if profile is None else [*reversed(profile.history), profile.profile["tableProfile"]]
    graph = graphs.lineage_drawing(data["lineage"], f"table:{about.id}")
    keys = frozenset(data["schema"].primary_key)
    return {
        "url": query.url,
        "columns": about.columns[(number - 1) * _COLUMNS : number * _COLUMNS],
        "page": number,
        "pages": pages,
        "profiled": profiled,
        "keys": keys,
        "numeric": frozenset(column.name for column in about.columns if is_number(column.type)),
        "alerts": [] if profile is None else [each for each in profile.profile["alerts"] if each["type"] != "unique"],
        "rows_over_time": _rows_over_time(history),
        "graph": graph if len(data["lineage"].nodes) > 1 else None,
        "related": graphs.relations_drawing(about.id, data["relations"]) if data["relations"] else None,
        "column_terms": {term.name: columns for term, columns in data["terms"]},
        "uses": _uses(ctx, about, readable_name(about.id, about.view)),
        "query_url": f"/query?{urlencode({'table': about.id})}",
        "can_describe": ctx.caller.includes(Role.KM_ADMIN),
        "can_query": ctx.caller.includes(Role.ANALYST),
        "done": _DONE.get(query.done or ""),
    }


def _rows_over_time(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Return the rows of each profile by its day, or by its time if there are several a day."""
    times = [datetime.fromtimestamp(each["timestamp"] / 1000, UTC) for each in history]
    days = [day(each) for each in times]
    labels = days if len(set(days)) == len(days) else [f"{each:%m-%d %H:%M}" for each in times]
    return [(label, each["rowCount"]) for label, each in zip(labels, history, strict=True)]


def _terms(ctx: Context, table_id: str) -> list[tuple[Term, list[str]]]:
    """Return the terms of the glossary that stand for a table, each with the columns that it stands for."""
    found = []
    for each in ask(ctx, glossary.list_terms).terms:
        links = [link for link in each.term.links if link.kind == "table" and link.id == table_id]
        if links:
            found.append((each.term, [link.column for link in links if link.column is not None]))
    return found


def _computed(ctx: Context, table: Table) -> dict[str, Any] | None:
    """Return how a materialized table is computed. Its SQL is shown to those who can read all of its inputs."""
    from analyst.state.registry import find_table
    from analyst.state.sources import list_sources

    if not table.inputs and table.query_mode != "materialized":
        return None
    with ctx.state.read() as db:
        registered = find_table(db, table.id)
        source = next((each for each in list_sources(db) if each.name == table.source), None)
    if registered is None or source is None or source.type != "materialized":
        return None
    schedule = registered.sync_schedule or source.sync_schedule
    snapshot, access = ctx.snapshots.current(), ctx.access.current()
    inputs = [str(each) for each in registered.options.get("inputs", ())]
    seen = [each for each in inputs if find(snapshot, access, ctx.caller, each) is not None]
    return {
        "sql": registered.options.get("sql") if len(seen) == len(inputs) else None,
        "inputs": seen,
        "schedule": schedule,
        "next_run": schedule and _next_run(schedule, table.extracted_at, ctx.now),
    }


def _next_run(schedule: str, last: datetime | None, now: datetime) -> datetime | None:
    try:
        return Schedule.parse(schedule).next_due(last or now)
    except InvalidInputError:
        return None


def _uses(ctx: Context, about: Any, sql_name: str) -> list[tuple[str, str, str]]:
    """Return how to use a table: a name, what it needs, and the text to copy, with the address of this server."""
    server = ctx.settings.base_url or NO_ADDRESS
    is_mirrored = about.query_mode != "remote" and not about.server_only
    statement = f"from {sql_name} limit 10"
    mirror = "On your machine, offline, after da sync."
    http = (
        "import requests\n\n"
        f'server, headers = "{server}", {{"Authorization": "Bearer da_…"}}\n'
        f'asked = {{"sql": "{statement}"}}\n'
        'requests.post(f"{server}/api/query", json=asked, headers=headers).json()["rows"]'
    )
    uses = [
        (
            "da",
            mirror if is_mirrored else "This table is not mirrored; it is read at the server.",
            f'da sync\nda query {"--remote " if about.server_only else ""}"{statement}"',
        )
    ]
    if is_mirrored:
        database = "user/duckdb/analytics.duckdb"
        uses.append(("DuckDB", "In the folder that da sync fills.", f'duckdb -readonly {database} -c "{statement}"'))
        local = (
            f'import duckdb\n\nmirror = duckdb.connect("{database}", read_only=True)\nmirror.sql("{statement}").df()'
        )
        uses.append(("Python", "In a notebook or script in the folder that da sync fills.", local))
    if ctx.caller.includes(Role.ANALYST):
        uses.append(("Python, without da", "With an access token of your account, over HTTP.", http))
    agent = f"claude mcp add --transport http data {server}/mcp"
    hint = f"Claude Code, Codex, Cursor and others: an MCP server at {server}/mcp. The agent signs in as you, and can only read."
    uses.append(("Agent (MCP)", hint, agent))
    if is_mirrored and ctx.caller.includes(Role.ANALYST):
        place = f"data.share#data.{about.id}"
        reader = f"pip install delta-sharing\nda share profile -o data.share\npython -c \"import delta_sharing; print(delta_sharing.load_as_pandas('{place}', limit=10))\""
        hint = f"pandas, Power BI, Tableau and others, from {server}/delta-sharing. The profile contains a credential."
        uses.append(("Delta Sharing", hint, reader))
        spark = f'spark.read.format("deltaSharing").load("{place}")'
        uses.append(
            ("Spark", "With the package io.delta:delta-sharing-spark, and data.share of da share profile.", spark)
        )
    if is_mirrored and ctx.caller.includes(Role.ADMIN):
        source, name = about.id.split(".")
        bucket = f'spark.read.format("delta").load("{ctx.settings.data_url}/extracts/{source}/data/{name}")'
        uses.append(
            ("Spark, in the bucket", "For those who may read the bucket itself: the table is a Delta table.", bucket)
        )
    return uses


def _hidden(query: TablePageQuery, ctx: Context, error: AnalystError) -> View:
    """Answer for a table that the caller can't read, or that does not exist: both look the same."""
    ctx.audited(f"table:{query.id}")
    data = {"id": query.id, "url": query.url, "text": str(error)}
    return View("table_hidden.html", "No such table", data, current="/catalog", status=404, error=error)


def _split(text: str, by: str) -> list[str]:
    return [part for each in text.split(by) if (part := each.strip())]
