"""`da scripts`: Python files that run at the server on a schedule, and notify their owner."""

import re
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any

import typer

from da.errors import DaError, UsageError, cause_of
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
ScriptOrFile = Annotated[
    str, typer.Argument(metavar="SCRIPT|FILE", help="Name of a script of yours, an id, or a Python file.")
]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Maximum number of runs.")]
Example = Annotated[str | None, typer.Option("--example", metavar="NAME", help="The example to start from.")]
Timeout = Annotated[int, typer.Option(min=1, help="For a file: seconds to wait for the run to end.")]

_EXAMPLE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MISSING = "to list your scripts, run: da scripts list"


@app.command("push")
def push_script(file: File, *, schedule: When = None, name: Name = None, json: Json = False) -> None:
    """Add a script, or replace the one with this name.

    It runs on the server with your rights, can only read, and can reach nothing but the API. A new script without a
    schedule runs on demand.

    Examples:
      da scripts push orders-drop.py --schedule "daily 07:00 Europe/Prague"
      da scripts push orders-drop.py
    """
    source, called = _source(file), name or _name_of(file)
    body = {"name": called, "source": source, "schedule": schedule}
    with doing(f"push the script '{called}'") as server:
        made = server.post("/api/scripts/deploy", {key: value for key, value in body.items() if value is not None})
    next_run = f"next run: {local_time(made['next_due'])}" if made["next_due"] else "it runs on demand only"
    how = "is unchanged" if made["unchanged"] else "is pushed"
    respond(made, f"The script '{made['name']}' {how}; {next_run}.", json=json)


@app.command("list")
def list_scripts(json: Json = False) -> None:
    """List your scripts; administrators see all scripts.

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


@app.command("new")
def new_script(*, example: Example = None, json: Json = False) -> None:
    """Write an example script to this folder; without --example, list the examples.

    Examples:
      da scripts new
      da scripts new --example revenue-drop
    """
    with doing("get the examples") as server:
        found = {each["name"]: each for each in server.get("/api/script-examples")["examples"]}
    if example is None:
        rows = [(each["name"], each["about"]) for each in found.values()]
        if json:
            print_json({"examples": list(found.values()), "file": None})
        else:
            print_table(
                ("example", "what it does"),
                rows,
                empty="The server has no examples; to run a file of yours: da scripts run FILE",
            )
        return
    if example not in found or not _EXAMPLE.fullmatch(example):
        raise UsageError(f"there is no example '{example}'; the examples are: {', '.join(sorted(found))}")
    path = Path(f"{example}.py")
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(found[example]["source"])
    except FileExistsError:
        raise DaError(f"'{path}' exists; rename it, or go to another folder") from None
    except OSError as error:
        raise DaError(f"can't write '{path}': {cause_of(error)}") from error
    text = f"Wrote {path}. Adapt it, try it with: da scripts run {path}, then: da scripts push {path} --schedule 'daily 07:00'"
    respond({"examples": [found[example]], "file": str(path)}, text, json=json)


@app.command("run")
def run_script(script: ScriptOrFile, timeout: Timeout = 300, json: Json = False) -> None:
    """Run one of your scripts now. Its notification reaches you as usual.

    A file is run once on the server, without being saved there, and its output is printed. Exits with 1 if it failed.

    Examples:
      da scripts run orders-drop
      da scripts run orders-drop.py
    """
    if set(script) & set("./\\"):  # names have none of these
        _run_file(Path(script), timeout, json=json)
        return
    with doing(f"run the script '{script}'", missing=_MISSING) as server:
        made = server.post(f"/api/scripts/{segment(script)}/run", {})
    respond(
        made, f"The script '{script}' starts in a moment; to see what it did, run: da scripts logs {script}", json=json
    )


def _run_file(file: Path, timeout: float, *, json: bool) -> None:
    with doing(f"run '{file}'") as server:
        made = server.post("/api/scripts/run", {"name": _name_of(file, any_file=True), "source": _source(file)})
        path, deadline, interval = f"/api/scripts/{segment(made['script'])}/runs", monotonic() + timeout, 0.2
        while not (ended := server.get(path)["runs"]):
            if monotonic() > deadline:
                raise DaError(f"it is still running; to see what it did, run: da scripts logs {made['script']}")
            sleep(interval)
            interval = min(interval * 1.5, 2.0)
    if json:
        print_json(ended[0])
    else:
        _say_run(ended[0])
    if ended[0]["status"] != "ok":
        raise typer.Exit(1)


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
        _say_run(run)
    if not found["runs"]:
        say(f"The script '{found['script']['name']}' has not run in the last 30 days.")


@app.command("pause")
def pause_script(script: Script, json: Json = False) -> None:
    """Pause a script: its schedule no longer starts it.

    Examples:
      da scripts pause orders-drop
    """
    with doing(f"pause the script '{script}'", missing=_MISSING) as server:
        made = server.post(f"/api/scripts/{segment(script)}/pause", {}, again=True)
    respond(made, f"The script '{made['name']}' is paused.", json=json)


@app.command("resume")
def resume_script(script: Script, json: Json = False) -> None:
    """Resume a script. Missed runs are not caught up.

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


def _say_run(run: dict[str, Any]) -> None:
    notified = {"sent": f", notified: {run['title']}", "held_back": ", held back by the cool-down"}.get(run["said"], "")
    how = f", confined by {run['confined_by']}" if run.get("confined_by") else ""
    say(f"{local_time(run['finished_at'])}  {run['status']}{how}{notified}")
    for text in (run["error"], run["stdout"], run["stderr"]):
        if text:
            say_text("".join(f"  {line}\n" for line in text.splitlines()))


def _source(file: Path) -> str:
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the script '{file}' can't be read: {cause_of(error)}") from error
    if not source.strip():
        raise UsageError(f"the script '{file}' is empty")
    return source


def _name_of(file: Path, *, any_file: bool = False) -> str:
    """Return the name of a script by that of its file; with `any_file`, whatever the file is called."""
    name = file.stem.lower().replace(" ", "-").replace(".", "-")
    return (re.sub(r"[^a-z0-9_-]", "-", name).strip("-_")[:64] or "unsaved") if any_file else name


def _outcome(last: dict[str, Any] | None) -> str:
    return f"{last['status']}, {local_time(last['at'])}" if last else "never"
