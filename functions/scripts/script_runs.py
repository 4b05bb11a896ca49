"""Runs of scripts: by a task that may be killed and run again."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from analyst.context import Context
from analyst.http import Allow, function
from analyst.notifications.delivery import deliver_later
from analyst.scripts.runner import Runner
from analyst.scripts.stored_scripts import Trigger
from analyst.state.fields import Input, Output


class RunRequest(Input):
    """A script to run. A run with this id that has ended is not repeated.

    Whoever asked for it in a chat gets a `reply` there, whatever the script says.
    """

    script: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{26}$")]
    run_id: Annotated[str, StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    trigger: Trigger
    reply: Literal["telegram"] | None = None


class RanScript(Output):
    """The result of a run. It is `skipped` if the script is deleted or paused, or its owner is deactivated."""

    status: Literal["ok", "failed", "skipped"]
    said: Literal["nothing", "sent", "held_back"] = "nothing"
    error: str | None = None


@function("POST", "/run-script", allow=Allow.SERVICE, audit="scripts.ran")
def run_script_now(request: RunRequest, ctx: Context) -> RanScript:
    """Run a script, confined and with a read-only token, and notify its owner if it asks for that."""
    process = ctx.process
    runner = Runner(ctx.store, ctx.settings, ctx.access.refresh, lambda: process.keys, process.http, ctx.clock)
    run = runner.run(request.script, request.run_id, request.trigger)
    if request.reply is not None:
        runner.reply(request.script, request.run_id, run, request.reply)
    deliver_later(ctx.tasks, *runner.to_send)
    if run is None:
        ctx.audited(f"script:{request.script}", run_id=request.run_id, status="skipped")
        return RanScript(status="skipped")
    ctx.audited(
        f"script:{request.script}", run_id=request.run_id, status=run.status, said=run.said, asked_in=request.reply
    )
    return RanScript(status=run.status, said=run.said, error=run.error)
