"""The query page: an editor, the result with a plot, downloads, links to share, and the history."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst import saved_queries
from analyst.access import Role, Scope
from analyst.context import Context
from analyst.errors import AnalystError, NotFoundError
from analyst.http import Redirect, Spooled, View, function
from analyst.http.pages import Form, ask
from analyst.names import TableId
from analyst.pages import parameters
from analyst.pages.results import Cell, Chart, is_number, plain, plot, readable_name
from analyst.query_answer import QueryAnswer
from analyst.saved_queries import QueryId
from analyst.visible_tables import find, visible
from functions.api import query as queries

_MOST_NAMES: Final = 20_000
_LIMITS: Final = (100, 500, 1000)

Sql = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]


class EditorQuery(Form):
    """With what the editor begins: a table, or a query of the history."""

    table: TableId | None = None
    past: QueryId | None = None


class SharedRequest(Form):
    """The id of a shared query."""

    id: QueryId


class SqlForm(Form):
    """The form of the editor: a statement, the names of its parameters and their values as texts, in the same order.

    Each button of the editor sends all of it, also `limit`, the most rows to show, which only a run needs.
    """

    sql: Sql
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    parameter: Annotated[tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=50)] = ()
    value: Annotated[tuple[Annotated[str, StringConstraints(max_length=10_000)], ...], Field(max_length=50)] = ()

    @property
    def texts(self) -> dict[str, str]:
        """The texts of the parameters of the statement that were given, by name."""
        known = parameters.given(self.parameter, self.value)
        return {name: known[name] for name in parameters.names_in(self.sql) if name in known}


class RunForm(SqlForm):
    """A statement, and how to plot its result."""

    chart: Chart = "auto"
    x: Annotated[str, StringConstraints(max_length=1000)] | None = None
    y: Annotated[str, StringConstraints(max_length=1000)] | None = None


class DownloadForm(SqlForm):
    """A statement, and the format of its whole result."""

    format: Literal["csv", "parquet", "arrow"] = "csv"


class Names(BaseModel):
    """Names that a statement can use, each a list of three: the name, its kind or type, and the table it belongs to."""

    model_config = ConfigDict(frozen=True)

    names: tuple[tuple[str, ...], ...]


@function("GET", "/query", allow=Role.ANALYST, scope=Scope.QUERY)
def query_page(query: EditorQuery, ctx: Context) -> View:
    """Show the editor with the caller's history."""
    sql, texts = "", dict[str, str]()
    if query.table is not None:
        table = find(ctx.snapshots.current(), ctx.access.current(), ctx.caller, query.table)
        sql = "" if table is None else f"from {readable_name(table.id, table.view)}\nlimit 100"
    if query.past is not None:
        past = next((each for each in _history(ctx) if each.id == query.past), None) or _gone()
        sql, texts = past.sql, past.parameters
    return _editor(ctx, sql, texts)


@function("POST", "/query", allow=Role.ANALYST, scope=Scope.QUERY, audit="query")
def run_query_form(form: RunForm, ctx: Context) -> View:
    """Run a statement and show its result; one whose parameters are not given yet is shown with fields for them."""
    if len(form.texts) < len(parameters.names_in(form.sql)):
        return _editor(ctx, form.sql, form.texts, limit=form.limit, asked=True)
    try:
        answer = _ran(form, ctx)
    except AnalystError as error:
        if error.status >= 500 and not error.retryable:  # noqa: PLR2004
            raise
        past = _remember(ctx, form, error=str(error))
        return _editor(ctx, form.sql, form.texts, limit=form.limit, problem=error, status=error.status, address=past)
    past = _remember(ctx, form, rows=answer["row_count"], elapsed_ms=answer["elapsed_ms"])
    drawn = plot(answer["columns"], answer["rows"], form.chart, form.x, form.y)
    result = {
        "answer": answer,
        "plot": drawn,
        "rows": [[Cell.of(value) for value in row] for row in answer["rows"]],
        "numeric": [is_number(column["type"]) for column in answer["columns"]],
        "numbers": {column["name"] for column in answer["columns"] if is_number(column["type"])},
        "receipt": json.dumps(answer["receipt"], indent=2, ensure_ascii=False) if answer["receipt"] else None,
    }
    return _editor(ctx, form.sql, form.texts, limit=form.limit, result=result, address=past)


@function("POST", "/query/download", allow=Role.ANALYST, scope=Scope.QUERY, audit="query")
def download_query_form(form: DownloadForm, ctx: Context) -> View | Spooled[QueryAnswer]:
    """Run a statement and download its whole result."""
    given = parameters.values_of(form.texts)
    answer: Spooled[QueryAnswer] = ask(
        ctx, queries.query, sql=form.sql, parameters=given, format=form.format, limit=None
    )
    return answer


@function("POST", "/query/share", allow=Role.ANALYST, scope=Scope.QUERY, audit="query.share")
def share_query_form(form: SqlForm, ctx: Context) -> View | Redirect:
    """Keep a statement under a link. Who opens it runs it with their own rights."""
    made = saved_queries.share(ctx.store, form.sql, ctx.caller.email, ctx.now, form.texts)
    ctx.audited(f"shared_query:{made.id}")
    return Redirect(f"/query/shared/{made.id}", 303)


@function("GET", "/query/shared/{id}", allow=Role.ANALYST, scope=Scope.QUERY)
def shared_query_page(request: SharedRequest, ctx: Context) -> View:
    """Show the editor with a shared statement, which is not run yet."""
    shared = saved_queries.shared(ctx.store, request.id)
    return _editor(ctx, shared.sql, shared.parameters, shared=shared)


@function("POST", "/query/history/clear", allow=Role.ANALYST, scope=Scope.QUERY)
def clear_history_form(ctx: Context) -> View | Redirect:
    """Delete the caller's history."""
    saved_queries.forget(ctx.store, ctx.user_id)
    return Redirect("/query", 303)


@function("GET", "/api/query/names", allow=Role.ANALYST, scope=Scope.QUERY)
def list_names(ctx: Context) -> Names:
    """Return the names of tables and columns that the caller's statements can use, for completion."""
    names: list[tuple[str, ...]] = []
    tables = visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller)
    for table in tables:
        name = readable_name(table.id, table.view)
        names.append((name, "table", table.name))
        if table.view != name:
            names.append((plain(table.view), "table", table.name))
    for table in tables:
        if len(names) > _MOST_NAMES:
            break
        names += [(plain(column.name), column.type, table.name) for column in table.columns]
    return Names(names=tuple(dict.fromkeys(names))[:_MOST_NAMES])


def _editor(ctx: Context, sql: str, texts: Mapping[str, str], *, status: int = 200, **values: Any) -> View:
    shown = {
        "limit": _LIMITS[0],
        "result": None,
        "problem": None,
        "shared": None,
        "asked": False,
        "address": None,
        **values,
    }
    past = _history(ctx)
    problem = shown.pop("problem")
    place = {} if problem is None else {key: problem.details.get(key) for key in ("line", "column", "kind")}
    data = {
        "sql": sql,
        "parameters": {name: texts.get(name, "") for name in parameters.names_in(sql)},
        "history": past,
        "shared": shown["shared"],
        "problem": problem and {"detail": str(problem), **place},
    }
    extras = {
        **shown,
        "limits": _LIMITS,
        "share_url": shown["shared"] and ctx.absolute(f"/query/shared/{shown['shared'].id}"),
        "timeout": ctx.settings.query_timeout,
    }
    return View("query.html", "Query", data, extras, "/query", status=status)


def _ran(form: RunForm, ctx: Context) -> dict[str, Any]:
    spooled = ask(ctx, queries.query, sql=form.sql, parameters=parameters.values_of(form.texts), limit=form.limit)
    with spooled.file as file:
        file.seek(0)
        found: dict[str, Any] = json.load(file)
    return found


def _history(ctx: Context) -> tuple[saved_queries.PastQuery, ...]:
    return saved_queries.history(ctx.store, ctx.user_id)


def _remember(ctx: Context, form: SqlForm, **said: Any) -> str | None:
    """Keep a query in the history, and return the path of the editor with it, which the browser can open again."""
    kept = saved_queries.remember(ctx.store, ctx.user_id, form.sql, ctx.now, parameters=form.texts, **said)
    return kept and f"/query?past={kept}"


def _gone() -> NoReturn:
    raise NotFoundError("there is no query with this id in your history; it keeps the last 100")
