"""The caller's scripts; administrators see and stop those of all."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from analyst import runs
from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import function
from analyst.scripts import stored_scripts
from analyst.scripts.chat import RUNS
from analyst.scripts.examples import EXAMPLES, about
from analyst.scripts.stored_scripts import (
    Script,
    ScriptName,
    ScriptRun,
    ScriptView,
    StoredScripts,
    require_runnable,
    require_runner,
    script_view,
)
from analyst.settings.kinds import When
from analyst.state.fields import Input, Output

_BODY: Final = 13 * stored_scripts.LONGEST
"""Bytes of a body with the longest source: JSON may take 12 for a character."""
_NONE: Final = "There is no such script, or the caller may not see it."
ScriptId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""The id of a script; for the caller's own ones, the name does as well."""


class NewScript(Input):
    """A script; one of the caller with the same name is replaced. Without a `schedule`, the one of before stays.

    A new script without one runs on demand only.
    """

    name: ScriptName
    source: Annotated[str, StringConstraints(min_length=1, max_length=stored_scripts.LONGEST)]
    schedule: When | None = None


class NewRun(Input):
    """A source to run once. The name is that of its notifications."""

    name: ScriptName = "unsaved"
    source: Annotated[str, StringConstraints(min_length=1, max_length=stored_scripts.LONGEST)]


class RunsQuery(Input):
    """A script, and the number of its last runs."""

    id: ScriptId
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ScriptSource(ScriptView):
    """A script with its source, which is empty for one that is not saved."""

    source: str


class Pushed(ScriptView):
    """A script that was pushed; `unchanged` if the server had this source already."""

    unchanged: bool


class ScriptList(Output):
    """Scripts, by name."""

    scripts: tuple[ScriptView, ...]
    count: int


class ScriptRuns(Output):
    """The last finished runs of a script, newest first. Outputs are truncated, and secrets are removed."""

    script: ScriptView
    runs: tuple[ScriptRun, ...]


class Example(Output):
    """An example script."""

    name: str
    about: str
    source: str


class ExampleList(Output):
    """Example scripts."""

    examples: tuple[Example, ...]


class Started(Output):
    """A run that will start in a moment. `script` is the id by which its runs are listed, even if it is not saved."""

    script: str
    run_id: str


@function("GET", "/api/scripts", allow=Role.VIEWER)
def list_scripts(ctx: Context) -> ScriptList:
    """List the caller's scripts; for administrators, those of all users."""
    found = tuple(_view(ctx, each) for each in StoredScripts(ctx.store).seen_by(ctx.caller))
    return ScriptList(scripts=found, count=len(found))


@function("GET", "/api/script-examples", allow=Role.VIEWER)
def list_script_examples(_ctx: Context) -> ExampleList:
    """List example scripts."""
    return ExampleList(
        examples=tuple(Example(name=name, about=about(source), source=source) for name, source in EXAMPLES.items())
    )


@function(
    "POST",
    "/api/scripts/deploy",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    status=201,
    body_limit=_BODY,
    answers={422: "It is not Python, or the caller has too many scripts."},
    audit="scripts.push",
)
def push_script(new: NewScript, ctx: Context) -> Pushed:
    """Add a script of the caller, or replace the one of this name. It runs with the caller's rights, read-only."""
    made, is_new = StoredScripts(ctx.store).push(new.name, new.source, new.schedule, ctx.user_id, ctx.now)
    ctx.audited(f"script:{made.id}", name=made.name, sha256=made.sha256, schedule=made.schedule)
    return Pushed(**_view(ctx, made).model_dump(), unchanged=not is_new)


@function("GET", "/api/scripts/{id}", allow=Role.VIEWER, answers={404: _NONE})
def get_script(id: ScriptId, ctx: Context) -> ScriptSource:
    """Return a script with its source."""
    found = StoredScripts(ctx.store).shown(id, ctx.caller)
    source = StoredScripts(ctx.store).source(found) if found.is_saved else ""
    return ScriptSource(**_view(ctx, found).model_dump(), source=source)


@function("GET", "/api/scripts/{id}/runs", allow=Role.VIEWER, answers={404: _NONE})
def list_script_runs(query: RunsQuery, ctx: Context) -> ScriptRuns:
    """List the last runs of a script, with their output."""
    found = StoredScripts(ctx.store).shown(query.id, ctx.caller)
    return ScriptRuns(script=_view(ctx, found), runs=tuple(StoredScripts(ctx.store).runs(found.id, query.limit)))


@function(
    "POST",
    "/api/scripts/{id}/run",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    status=202,
    answers={
        404: _NONE,
        409: "Scripts are not run on this server.",
        429: "The caller has started too many runs.",
    },
    audit="scripts.run",
)
def run_script(id: ScriptId, ctx: Context) -> Started:
    """Run a script now, with the rights of its owner, who alone is notified, regardless of the cool-down.

    Administrators may run those of others.
    """
    require_runner(ctx.settings)
    found = StoredScripts(ctx.store).get(id, ctx.caller)
    require_runnable(found, ctx.access.current())
    ctx.limits.count(RUNS, ctx.user_id, ctx.now)
    return _started(ctx, found, runs.new_run_id(ctx.now))


@function(
    "POST",
    "/api/scripts/run",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    status=202,
    body_limit=_BODY,
    answers={
        409: "Scripts are not run on this server.",
        422: "It is not Python.",
        429: "The caller has started too many runs.",
    },
    audit="scripts.run",
)
def run_source(new: NewRun, ctx: Context) -> Started:
    """Run a script of the caller once, without saving it. Its output is kept for a week."""
    require_runner(ctx.settings)
    ctx.limits.count(RUNS, ctx.user_id, ctx.now)
    run_id = runs.new_run_id(ctx.now)
    return _started(ctx, StoredScripts(ctx.store).keep_once(new.name, new.source, ctx.user_id, run_id, ctx.now), run_id)


@function(
    "POST",
    "/api/scripts/{id}/pause",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    answers={404: _NONE},
    audit="scripts.pause",
)
def pause_script(id: ScriptId, ctx: Context) -> ScriptView:
    """Pause a script: its schedule no longer starts it."""
    found = StoredScripts(ctx.store).get(id, ctx.caller)
    ctx.audited(f"script:{found.id}")
    who = "you" if found.owner == ctx.user_id else ctx.caller.email
    return _view(ctx, StoredScripts(ctx.store).pause(found, f"by {who}", ctx.now))


@function(
    "POST",
    "/api/scripts/{id}/resume",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    answers={404: _NONE},
    audit="scripts.resume",
)
def resume_script(id: ScriptId, ctx: Context) -> ScriptView:
    """Resume a script. Missed runs are not made up for."""
    found = StoredScripts(ctx.store).get(id, ctx.caller)
    ctx.audited(f"script:{found.id}")
    return _view(ctx, StoredScripts(ctx.store).pause(found, None, ctx.now))


@function(
    "DELETE", "/api/scripts/{id}", allow=Role.ANALYST, scope=Scope.QUERY, answers={404: _NONE}, audit="scripts.delete"
)
def delete_script(id: ScriptId, ctx: Context) -> None:
    """Delete a script and the output of its runs. Notifications that it has sent stay."""
    found = StoredScripts(ctx.store).get(id, ctx.caller)
    StoredScripts(ctx.store).delete(found)
    ctx.audited(f"script:{found.id}", name=found.name)


def _started(ctx: Context, script: Script, run_id: str) -> Started:
    ctx.tasks.enqueue("/run-script", {"script": script.id, "run_id": run_id, "trigger": "demand"})
    ctx.audited(f"script:{script.id}", run_id=run_id, owner=script.owner, sha256=script.sha256)
    return Started(script=script.id, run_id=run_id)


def _view(ctx: Context, script: Script) -> ScriptView:
    return script_view(script, ctx.access.current(), ctx.caller, ctx.now, runs=ctx.settings.script_runner != "off")
