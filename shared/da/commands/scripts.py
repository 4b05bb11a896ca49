"""`da scripts`: Python files that run at the server on a schedule, and notify their owner."""

from pathlib import Path
from typing import Annotated, Any

import typer

from da.errors import UsageError, cause_of
from da.help import Commands
from da.options import Json, Yes, confirm
from da.output import print_json, print_table, respond, say, say_text
from da.server import segment
from da.session import doing
from da.text import local_time

app = Commands("Run Python files at the server on a schedule, which notify you.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A Python file.")]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the script; by default that of the file, in lower case.")
]
When = Annotated[
    str | None,
    typer.Option(
        "--schedule", metavar="SCHEDULE", help="Such as 'every 6h' or 'daily 07:00'; by default, on demand only."
    ),
]
Script = Annotated[str, typer.Argument(metavar="SCRIPT", help="Name of a script of yours, or an id.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Largest number of runs.")]

_MISSING = "to list your scripts, run: da scripts list"


@app.command("push")
def push_script(file: File, *, schedule: When = None, name: Name = None, json: Json = False) -> None:
    """Add a script, or replace the one with this name.

    It runs at the server with your rights, reads only, and reaches nothing but the API. A new script without a schedule runs
    on demand.

    Examples:
      da scripts push orders-drop.py --schedule "daily 07:00 Europe/Prague"
      da scripts push orders-drop.py
    """
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the script '{file}' can't be read: {cause_of(error)}") from error
    if not source.strip():
        raise UsageError(f"the script '{file}' is empty")
    called = name or file.stem.lower().replace(" ", "-").replace(".", "-")
    body = {"name": called, "source": source, "schedule": schedule}
    with doing(f"push the script '{called}'") as server:
        made = server.post("/api/scripts/deploy", {key: value for key, value in body.items() if value is not None})
    next_run = f"next run: {local_time(made['next_due'])}" if made["next_due"] else "it runs on demand only"
    how = "is unchanged" if made["unchanged"] else "is pushed"
    respond(made, f"The script '{made['name']}' {how}; {next_run}.", json=json)


@app.command("list")
def list_scripts(json: Json = False) -> None:
    """List your scripts; administrators see those of all.

    Examples:
      da scripts list
    """
    with doing("list the scripts") as server:
        found = server.get("/api/scripts")
    if json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            "you" if each["is_mine"] else each["owner"],
            each["schedule"],
            "paused" if each["paused"] else local_time(each["next_due"]) if each["next_due"] else "on demand",
            _outcome(each["last"]),
            "" if each["is_mine"] else each["id"],
        )
        for each in found["scripts"]
    ]
    print_table(
        ("script", "owner", "schedule", "next run", "last run", "id"),
        rows,
        empty="There are no scripts; to add one, run: da scripts push FILE",
    )


@app.command("show")
def show_script(script: Script, json: Json = False) -> None:
    """Show a script with its source.

    Examples:
      da scripts show orders-drop
    """
    with doing(f"show the script '{script}'", missing=_MISSING) as server:
        found = server.get(f"/api/scripts/{segment(script)}")
    if json:
        print_json(found)
        return
    facts = [
        ("id", found["id"]),
        ("owner", found["owner"]),
        ("schedule", found["schedule"]),
        ("next run", local_time(found["next_due"]) if found["next_due"] else "on demand"),
        ("paused", found["paused"] or ""),
        ("last run", _outcome(found["last"])),
    ]
    print_table(("", ""), [fact for fact in facts if fact[1]], empty="")
    say_text("\n" + found["source"])


@app.command("run")
def run_script(script: Script, json: Json = False) -> None:
    """Run one of your scripts now. What it says reaches you as a notification.

    Examples:
      da scripts run orders-drop
    """
    with doing(f"run the script '{script}'", missing=_MISSING) as server:
        made = server.post(f"/api/scripts/{segment(script)}/run", {})
    respond(
        made, f"The script '{script}' starts in a moment; to see what it did, run: da scripts logs {script}", json=json
    )


@app.command("logs")
def show_logs(script: Script, limit: Limit = 5, json: Json = False) -> None:
    """Show the last runs of a script and what they wrote, newest first.

    Examples:
      da scripts logs orders-drop
      da scripts logs orders-drop --limit 1
    """
    with doing(f"show the runs of '{script}'", missing=_MISSING) as server:
        found = server.get(f"/api/scripts/{segment(script)}/runs", limit=limit)
    if json:
        print_json(found)
        return
    for run in found["runs"]:
        said = {"sent": f", notified: {run['title']}", "held_back": ", held back by the cool-down"}.get(run["said"], "")
        how = f", confined by {run['confined_by']}" if run.get("confined_by") else ""
        say(f"{local_time(run['finished_at'])}  {run['status']}{how}{said}")
        for text in (run["error"], run["stdout"], run["stderr"]):
            if text:
                say_text("".join(f"  {line}\n" for line in text.splitlines()))
    if not found["runs"]:
        say(f"The script '{found['script']['name']}' has not run in the last 30 days.")


@app.command("pause")
def pause_script(script: Script, json: Json = False) -> None:
    """Pause a script: its schedule does not start it any more.

    Examples:
      da scripts pause orders-drop
    """
    with doing(f"pause the script '{script}'", missing=_MISSING) as server:
        made = server.post(f"/api/scripts/{segment(script)}/pause", {}, again=True)
    respond(made, f"The script '{made['name']}' is paused.", json=json)


@app.command("resume")
def resume_script(script: Script, json: Json = False) -> None:
    """Resume a script. Times that it has missed are not caught up.

    Examples:
      da scripts resume orders-drop
    """
    with doing(f"resume the script '{script}'", missing=_MISSING) as server:
        made = server.post(f"/api/scripts/{segment(script)}/resume", {}, again=True)
    respond(made, f"The script '{made['name']}' runs by its schedule again: {made['schedule']}.", json=json)


@app.command("delete")
def delete_script(script: Script, yes: Yes = False, json: Json = False) -> None:
    """Delete a script, and what its runs wrote.

    Examples:
      da scripts delete orders-drop --yes
    """
    confirm(f"Delete the script '{script}'?", yes=yes)
    with doing(f"delete the script '{script}'", missing=_MISSING) as server:
        server.delete(f"/api/scripts/{segment(script)}")
    respond({"deleted": script}, f"The script '{script}' is deleted.", json=json)


def _outcome(last: dict[str, Any] | None) -> str:
    return f"{last['status']}, {local_time(last['at'])}" if last else "never"
