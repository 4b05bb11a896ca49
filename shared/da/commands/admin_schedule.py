"""`da admin`: the schedules of sources and tables."""

from typing import Annotated, Any

import typer

from da.errors import UsageError
from da.options import Json
from da.output import print_json, print_table, say
from da.server import segment
from da.session import session
from da.text import local_time


def schedule(
    start: Annotated[
        bool, typer.Option("--start", help="Start everything that is due, as a scheduler does, and list it.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Pause scheduled runs and messages to people.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="End a pause.")] = False,
    json: Json = False,
) -> None:
    """Show when sources and tables are synced.

    Lists the last and the next run of each, and why it is due or not. Times are in the zone of this machine. While the
    server is paused, it starts neither syncs nor scripts, sends no mails and no messages to Telegram or Slack, and reads no
    messages to the bot. A backup that is restored into another bucket pauses that server.

    Examples:
      da admin schedule
      da admin schedule --start
      da admin schedule --resume
    """
    if start + pause + resume > 1:
        raise UsageError("--start, --pause and --resume exclude each other; give one of them")
    with session() as server:
        if pause or resume:
            answer = server.post("/api/admin/schedule", {"paused": pause})
            if json:
                print_json(answer)
            else:
                say(_paused(answer["paused"]) if pause else "Resumed: schedules, scripts and messages.")
            return
        report = server.post("/schedule", {}) if start else server.get("/api/admin/schedule")
        if json:
            print_json(report)
        elif start:
            _print_started(report)
        else:
            rows = [_row(entry["id"], entry) for entry in report["entries"]]
            rows += [_row(f"{job['source']} ({job['job']})".lstrip(), job) for job in report.get("jobs") or []]
            if report.get("paused"):
                say(_paused(report["paused"]), err=True)
            print_table(_COLUMNS, [*rows, _row("(sweep)", report["sweep"])], optional=("last", "schedule"))


def set_schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A source, or a table as SOURCE.TABLE.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCHEDULE]", help="E.g. every 6h; daily 05:00 Europe/Prague; 'cron 0 5 * * 1-5'; never."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Set the schedule of a source or table.

    Without SCHEDULE, a table inherits the schedule of its source again, and a source that of the instance.

    Examples:
      da admin set-schedule shop every 6h
      da admin set-schedule shop.orders daily 05:00 Europe/Prague
      da admin set-schedule shop 'cron 0 5 * * 1-5'
      da admin set-schedule shop.orders  # inherit again
    """
    if words and words[0] == "cron" and len(words) > _CRON_WORDS:
        raise UsageError("the shell replaced each * by names of files; quote the schedule: 'cron 0 5 * * 1-5'")
    when = " ".join(words or ()) or None
    kind = "tables" if "." in name else "sources"
    with session() as server:
        changed = server.put(f"/api/admin/{kind}/{segment(name)}", {"sync_schedule": when})
    if json:
        print_json(changed)
        return
    inherited = "inherited from its source" if kind == "tables" else "inherited from the instance"
    say(f"Schedule of {name}: {when or inherited}.")


def _paused(pause: dict[str, Any]) -> str:
    return f"Paused since {local_time(pause['at'])}: {pause['why']}. To resume, run: da admin schedule --resume"


# `cron`, five fields and a time zone
_CRON_WORDS = 7

_COLUMNS = ("name", "schedule", "last", "next", "why")


def _row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    next_ = "running" if entry.get("is_running") else "now" if entry["is_due"] else _time(entry["next_due"])
    return name, entry["schedule"], _time(entry["last_run"]), next_, entry["why"]


def _time(text: str | None) -> str:
    return local_time(text) or "never"


def _print_started(report: dict[str, Any]) -> None:
    for outcome in report["sources"]:
        if outcome["outcome"] == "started":
            tables = outcome["tables"]
            what = "all tables" if tables is None else ", ".join(tables) or "discovery of new tables"
            say(f"Started {outcome['source']}: {what}.")
    for job in report.get("jobs") or []:
        if job["outcome"] == "started":
            say(f"Started {job['source']}: {job['job']}." if job["source"] else f"Started the job '{job['job']}'.")
    if report["sweep"]["outcome"] == "started":
        say("Started a sweep.")
    if not report["sources"] and "paused" in report["sweep"]["why"]:
        say(f"Started nothing: {report['sweep']['why']}.", err=True)
