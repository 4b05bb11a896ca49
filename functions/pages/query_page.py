"""The query page: an editor, the result with a plot, downloads, links to share, and the history."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Field, StringConstraints

from analyst import saved_queries
from analyst.access import Role, Scope
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import Redirect, Spooled, View, function
from analyst.http.pages import Form, ask, reason_of
from analyst.names import TableId
from analyst.pages import parameters
from analyst.pages.results import Chart, names_for, readable_name, shown_result
from analyst.query_answer import QueryAnswer
from analyst.saved_queries import QueryId
from analyst.state.fields import Output
from analyst.visible_tables import find, visible
from functions.api import query as queries

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


class Names(Output):
    """Names that a statement can use. Each is a list of three: the name, its kind or type, and its table."""

    names: tuple[tuple[str, ...], ...]


@function("GET", "/query", allow=Role.ANALYST, scope=Scope.QUERY)
def query_page(query: EditorQuery, ctx: Context) -> View:
    """Show the editor with the caller's history."""
    sql, texts = "", dict[str, str]()
    if query.table is not None:
        table = find(ctx.snapshots.current(), ctx.access.current(), ctx.caller, query.table)
        sql = "" if table is None else f"from {readable_name(table.id, table.view)}\nlimit 100"
    if query.past is not None:
        past = saved_queries.past(ctx.store, ctx.user_id, query.past)
        sql, texts = past.sql, past.parameters
    return _editor(ctx, sql, texts)


@function("POST", "/query", allow=Role.ANALYST, scope=Scope.QUERY, audit="query")
def run_query_form(form: RunForm, ctx: Context) -> View:
    """Run a statement and show its result; one whose parameters are not given yet is shown with fields for them."""
    if len(form.texts) < len(parameters.names_in(form.sql)):
        return _editor(ctx, form.sql, form.texts, limit=form.limit, asked=True)
    try:
        given = parameters.values_of(form.texts)
        answer = ask(ctx, queries.query, sql=form.sql, parameters=given, limit=form.limit).loads()
    except AnalystError as error:
        past = _remember(ctx, form, error=reason_of(error))
        return _editor(ctx, form.sql, form.texts, limit=form.limit, problem=error, address=past)
    past = _remember(ctx, form, rows=answer["row_count"], elapsed_ms=answer["elapsed_ms"])
    result = shown_result(answer, form.chart, form.x, form.y)
    return _editor(ctx, form.sql, form.texts, limit=form.limit, result=result, address=past)


@function("POST", "/query/download", allow=Role.ANALYST, scope=Scope.QUERY, audit="query")
def download_query_form(form: DownloadForm, ctx: Context) -> View | Spooled[QueryAnswer]:
    """Run a statement and download its whole result."""
    given = parameters.values_of(form.texts)
    asked = {"sql": form.sql, "parameters": given, "format": form.format, "limit": None}
    return cast("Spooled[QueryAnswer]", ask(ctx, queries.query, **asked))


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
    return Names(names=names_for(visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller)))


def _editor(
    ctx: Context,
    sql: str,
    texts: Mapping[str, str],
    *,
    problem: AnalystError | None = None,
    shared: saved_queries.SharedQuery | None = None,
    **values: Any,
) -> View:
    data = {
        "sql": sql,
        "parameters": {name: texts.get(name, "") for name in parameters.names_in(sql)},
        "history": saved_queries.history(ctx.store, ctx.user_id),
        "shared": shared,
        "problem": problem
        and {"detail": str(problem), **{key: problem.details.get(key) for key in ("line", "column", "kind")}},
    }
    extras = {
        "limit": _LIMITS[0],
        "result": None,
        "asked": False,
        "address": None,
        **values,
        "limits": _LIMITS,
        "share_url": shared and ctx.absolute(f"/query/shared/{shared.id}"),
        "timeout": ctx.settings.query_timeout,
    }
    return View("query.html", "Query", data, extras, "/query", status=problem.status if problem else 200)


def _remember(ctx: Context, form: SqlForm, **details: Any) -> str | None:
    """Keep a query in the history, and return the path of the editor with it, which the browser can open again."""
    kept = saved_queries.remember(ctx.store, ctx.user_id, form.sql, ctx.now, parameters=form.texts, **details)
    return kept and f"/query?past={kept}"
