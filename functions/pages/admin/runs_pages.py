"""Runs with their progress, and the schedules that start them."""

from typing import Annotated, Final
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.extract_run import RunId
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask
from analyst.names import Name
from analyst.scheduling.overview import State
from functions import sweep as sweeping
from functions.api import sync
from functions.api.admin import admin_schedule

_PAGE: Final = 100


class RunPath(Form):
    """The id of a run."""

    id: RunId


class ScheduleQuery(Form):
    """A search in the ids of sources and tables, a source, a state, and the number of a page."""

    q: Annotated[str, StringConstraints(max_length=500)] = ""
    source: Name | None = None
    state: State | None = None
    page: Annotated[int, Field(ge=1, le=100_000)] = 1


class SweepForm(Form):
    """Whether the sweep only reports what it would do."""

    dry_run: bool = False


@function("GET", "/admin/runs", allow=Role.ADMIN)
def runs_page(ctx: Context) -> View:
    """Show the runs that are under way, and the newest ones."""
    found = ask(ctx, sync.status, limit=100)
    return View(
        "admin_runs.html",
        "Runs",
        {"runs": found.runs, "held_back": found.held_back},
        {"section": "/admin/runs"},
        "/admin",
    )


@function("GET", "/admin/runs/{id}", allow=Role.ADMIN)
def run_page(query: RunPath, ctx: Context) -> View:
    """Show a run with its tables; while it is under way, its progress."""
    (run,) = ask(ctx, sync.status, run=query.id).runs
    return View("admin_run.html", "Run", {"run": run}, {"section": "/admin/runs"}, "/admin")


@function("GET", "/admin/schedule", allow=Role.ADMIN)
def schedule_page(query: ScheduleQuery, ctx: Context) -> View:
    """Show when sources, tables, jobs and the sweep run next, and what was missed."""
    text = query.q.strip().lower()
    found = admin_schedule.overview(ctx).page(text, query.source, query.state, page=query.page, size=_PAGE)
    kept = query.model_dump(mode="json", exclude={"page"}, exclude_defaults=True)
    extras = {
        "section": "/admin/schedule",
        "sweep": None,
        "wanted": query,
        "url": f"/admin/schedule?{urlencode(kept)}{'&' if kept else ''}",
    }
    data = {"schedule": found, "default": ctx.settings.sync_schedule}
    return View("admin_schedule.html", "Schedule", data, extras, "/admin")


@function("POST", "/admin/sync", allow=Role.ADMIN, audit="sync.trigger")
def sync_all_form(ctx: Context) -> View | Redirect:
    """Start a sync of every source, and go to the runs."""
    ask(ctx, sync.trigger_extracts)
    return Redirect("/admin/runs", 303)


@function("POST", "/admin/sweep", allow=Role.ADMIN, audit="bucket.sweep")
def sweep_form(form: SweepForm, ctx: Context) -> View:
    """Sweep the bucket, or report what a sweep would do."""
    answer = ask(ctx, sweeping.sweep, dry_run=form.dry_run)
    view = schedule_page.function.call(ScheduleQuery(), ctx)
    return View(view.template, view.title, view.data, {**view.extras, "sweep": answer}, view.current)
