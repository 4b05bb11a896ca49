"""The pages of scripts: the list, and one script with its source, its runs and what they wrote."""

from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask, refused
from analyst.scripts.examples import EXAMPLES
from functions.scripts import scripts

_DONE: Final = {
    "pushed": "The script was saved.",
    "run": "The script starts in a moment.",
    "pause": "The script is paused.",
    "resume": "The script runs on its schedule again.",
    "delete": "The script was deleted.",
}
_SHOWN: Final = 20
_BODY: Final = 13 * 200_000
"""Bytes of a form with the longest source, of which a character may take 12."""
Line = Annotated[str, StringConstraints(max_length=200)]


class ScriptsQuery(Form):
    """The change that led to the page, and the name of the example to start from."""

    done: Literal["delete"] | None = None
    example: Line | None = None


class ScriptQuery(Form):
    """A script, and the change that led to its page."""

    id: scripts.ScriptId
    done: Literal["pushed", "run", "pause", "resume"] | None = None


class ScriptForm(Form):
    """A script to save."""

    name: Line = ""
    source: Annotated[str, StringConstraints(max_length=200_000)] = ""
    schedule: Line = ""


class ActionForm(Form):
    """What to do with a script."""

    id: scripts.ScriptId
    action: Literal["run", "pause", "resume", "delete"]


@function("GET", "/scripts", allow=Role.VIEWER)
def scripts_page(query: ScriptsQuery, ctx: Context) -> View:
    """Show the caller's scripts, for administrators those of all."""
    source = EXAMPLES.get(query.example or "")
    given = None if source is None else ScriptForm(name=query.example or "", source=source)
    return _list(ctx, query.done, given=given)


@function("POST", "/scripts/save", allow=Role.ANALYST, body_limit=_BODY)
def save_script_form(form: ScriptForm, ctx: Context) -> View | Redirect:
    """Add a script, or replace the one of this name."""
    schedule = form.schedule.strip() or None
    try:
        made = ask(ctx, scripts.push_script, name=form.name.strip(), source=_source(form), schedule=schedule)
    except AnalystError as error:
        return refused(_list(ctx), error, given=form)
    return Redirect(f"/scripts/{made.id}?done=pushed", 303)


@function("POST", "/scripts/run", allow=Role.ANALYST, body_limit=_BODY)
def run_source_form(form: ScriptForm, ctx: Context) -> View:
    """Run what is in the editor once, without saving it, and keep it there."""
    name = {"name": form.name.strip()} if form.name.strip() else {}
    try:
        started = ask(ctx, scripts.run_source, **name, source=_source(form))
    except AnalystError as error:
        return refused(_list(ctx), error, given=form)
    return _list(ctx, given=form, started=started.script)


@function("GET", "/scripts/{id}", allow=Role.VIEWER)
def script_page(query: ScriptQuery, ctx: Context) -> View:
    """Show a script with its source and its last runs."""
    return _script(ctx, query.id, query.done)


@function("POST", "/scripts/{id}/{action}", allow=Role.ANALYST)
def script_action_form(form: ActionForm, ctx: Context) -> View | Redirect:
    """Run, pause, resume or delete a script."""
    calls = {
        "run": scripts.run_script,
        "pause": scripts.pause_script,
        "resume": scripts.resume_script,
        "delete": scripts.delete_script,
    }
    try:
        ask(ctx, calls[form.action], id=form.id)
    except AnalystError as error:
        return refused(_script(ctx, form.id), error)
    if form.action == "delete":
        return Redirect("/scripts?done=delete", 303)
    return Redirect(f"/scripts/{form.id}?done={form.action}", 303)


def _source(form: ScriptForm) -> str:
    """Return the source as it was written: browsers send the ends of lines in their own way."""
    return form.source.replace("\r\n", "\n")


def _list(ctx: Context, done: str | None = None, **values: Any) -> View:
    found = ask(ctx, scripts.list_scripts)
    extras = {
        "examples": ask(ctx, scripts.list_script_examples).examples,
        "can_push": ctx.caller.includes(Role.ANALYST),
        "is_off": ctx.settings.script_runner == "off",
        "done": _DONE.get(done or ""),
        "started": None,
        **values,
    }
    return View("scripts.html", "Scripts", {"scripts": found.scripts}, extras, "/scripts")


def _script(ctx: Context, script_id: str, done: str | None = None) -> View:
    found = ask(ctx, scripts.get_script, id=script_id)
    runs = ask(ctx, scripts.list_script_runs, id=script_id, limit=_SHOWN).runs
    extras = {"can_change": ctx.caller.includes(Role.ANALYST), "done": _DONE.get(done or "")}
    return View("script.html", found.name, {"about": found, "runs": runs}, extras, "/scripts")
