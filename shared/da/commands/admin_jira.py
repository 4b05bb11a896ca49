"""`da admin jira`: the source of Jira is read anew, compared with Jira, and folded again."""

from collections import Counter
from typing import Annotated, Any

import typer

from da.output import print_json, print_table, say
from da.session import session
from da.text import clean, count_text

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The source of Jira: read it anew, compare it, look at it.",
)

_HOUR = 3600.0

Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only what was updated since; 2026-01-31T00:00:00Z.")]
Jql = Annotated[str | None, typer.Option("--jql", metavar="JQL", help="Only what this query finds, without ORDER BY.")]
Parallel = Annotated[int, typer.Option(min=1, max=16, help="How many issues are fetched at the same time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be read.")]
Timeout = Annotated[int, typer.Option(min=1, help="Seconds to wait at most for one answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("backfill")
def backfill(
    since: Since = None,
    jql: Jql = None,
    parallel: Parallel = 4,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Have issues read of Jira.

    Without --since and --jql that is what was not read yet, and what was updated since; it goes on where it was. Ends
    with 1 when some could not be read.
    """
    order = {"since": since, "jql": jql, "parallel": parallel, "dry_run": dry_run}
    is_narrow = since is not None or jql is not None
    with session(_HOUR) as server:
        told = server.post("/api/admin/jira/backfill", order)
        while not (told["is_complete"] or is_narrow or told.get("error")):
            if not json:
                _print_backfilled(told)
            told = server.post("/api/admin/jira/backfill", order)
    if json:
        print_json(told)
    elif dry_run:
        say(clean(f"About {count_text(told['found'] or 0, 'issue')} would be read: {told['jql']}"))
    else:
        _print_backfilled(told)
        _print_problems(told)
    failed = told.get("error") or told["counts"].get("failed") or not told["is_complete"]
    raise typer.Exit(1 if failed else 0)


@app.command("check")
def check(
    *,
    days: Annotated[int | None, typer.Option("--max-age-days", min=1, help="Only issues as young as that.")] = None,
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Read what is missing or stale.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="How many issues are mended at most.")] = 200,
    deletions: Annotated[
        int | None, typer.Option(min=0, help="How many issues that Jira no longer shows are taken out at most.")
    ] = None,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Compare the issues with Jira's by their ids.

    Issues that are missing or stale are read, and those that Jira no longer has are taken out. When that would be more
    than a few, Jira's account has more likely lost a permission: the check fails then, unless --deletions allows it.
    Exit code 1 if the level is ERROR.
    """
    with session(timeout) as server:
        order = {"max_age_days": days, "repair": repair, "limit": limit, "deletions": deletions}
        told = server.post("/api/admin/jira/check", order)
    if json:
        print_json(told)
    else:
        _print_check(told)
        _print_problems(told)
    raise typer.Exit(1 if told["level"] == "ERROR" else 0)


@app.command("refresh")
def refresh(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY…", help="Keys of issues, such as SUP-12.")] = None,
    all_issues: Annotated[bool, typer.Option("--all", help="All issues, in the order of their creation.")] = False,
    json: Json = False,
) -> None:
    """Read issues anew, whether or not they were updated.

    Use it after a project was renamed or a person anonymised, which does not count as an update in Jira. Exit code 1 if
    some issues could not be read.
    """
    if bool(keys) == all_issues:
        raise typer.BadParameter("give the keys of issues, or --all")
    order: dict[str, Any] = {"keys": keys or [], "all_issues": all_issues, "created_from": None}
    counts: Counter[str] = Counter()
    with session(_HOUR) as server:
        told = server.post("/api/admin/jira/refresh", order)
        counts.update(told["counts"])
        while told.get("next_from"):
            told = server.post("/api/admin/jira/refresh", {**order, "created_from": told["next_from"]})
            counts.update(told["counts"])
    if json:
        print_json({**told, "counts": dict(counts)})
    else:
        say(
            f"{count_text(counts['fetched'], 'issue')} read anew, {counts['changed']:,} changed, "
            f"{counts['missing'] + counts['gone']:,} not in Jira, {counts['failed']:,} failed."
        )
        _print_problems(told)
    failed = told.get("error") or counts["failed"] or counts["missing"] or not told["is_complete"]
    raise typer.Exit(1 if failed else 0)


@app.command("replay")
def replay(
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From the hour of this time on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to the hour of this time.")] = None,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Have webhooks folded again that lie in the archive, without asking Jira.

    Ends with 1 when a part of the archive could not be read.
    """
    with session(timeout) as server:
        told = server.post("/api/admin/jira/replay", {"since": since, "until": until})
    if json:
        print_json(told)
    else:
        say(f"{count_text(told['events'], 'event')} folded again, {count_text(told['issues'], 'issue')} changed.")
        _print_problems(told)
    raise typer.Exit(1 if told.get("error") else 0)


@app.command("status")
def status(json: Json = False) -> None:
    """Tell how far Jira was read, what waits, and how jobs ended last."""
    with session() as server:
        told = server.get("/api/admin/jira/status")
    if json:
        print_json(told)
        return
    _print_standing(told)
    rows = [(job["job"], job["status"], job["finished_at"][:16], _counts(job)) for job in told["jobs"]]
    print_table(("job", "status", "ended (UTC)", "what"), rows)
    if told["check"]:
        _print_check(told["check"])


def _print_standing(told: dict[str, Any]) -> None:
    webhooks = told["webhooks"]
    where = f"Jira at {webhooks['domain']}" if webhooks["domain"] else "Jira"
    asked = "asked" if webhooks["is_jira_asked"] else "not asked: there is no JIRA_API_TOKEN"
    taken = "taken" if webhooks["is_secret_set"] else "not taken: there is no JIRA_WEBHOOK_SECRET"
    say(clean(f"{where} is {asked}; webhooks are {taken}."))
    waiting = count_text(webhooks["waiting"], "event")
    age = f", the oldest for {webhooks['oldest_seconds']:.0f} s" if webhooks["oldest_seconds"] else ""
    say(f"{waiting} {'waits' if webhooks['waiting'] == 1 else 'wait'}{age}.")
    if told["read_until"]:
        say(f"All issues were read once, and what was updated until {told['read_until'][:19]}.")
    elif told["reading_from"]:
        say(f"Issues that were created before {told['reading_from'][:19]} were read, later ones were not.")
    elif webhooks["is_jira_asked"]:
        say("No issues were read yet: da admin jira backfill")
    if told["failed"]:
        say(clean(f"{count_text(len(told['failed']), 'issue')} could not be read: {', '.join(told['failed'][:20])}"))
    for name in told["unresolved"]:
        say(clean(f"Jira has no field {name}."))


def _print_backfilled(told: dict[str, Any]) -> None:
    counts = told["counts"]
    say(
        f"{count_text(counts.get('read', 0), 'issue')} read, {counts.get('fetched', 0):,} fetched, "
        f"{counts.get('known', 0):,} known, {counts.get('gone', 0):,} gone, {counts.get('failed', 0):,} failed"
        f"{'.' if told['is_complete'] else '; not complete yet.'}"
    )


def _print_check(told: dict[str, Any]) -> None:
    totals = ", ".join(f"{count:,} {kind}" for kind, count in told["totals"].items())
    until = f" (created until {told['until'][:16]}, by its clock)" if told["until"] else ""
    say(
        f"{told['level']}: of {told['jira']:,} issues of Jira{until} and {told['published']:,} published ones {totals}."
    )


def _print_problems(told: dict[str, Any]) -> None:
    for line in [*told.get("notes", ()), *([told["error"]] if told.get("error") else [])]:
        say(clean(line), err=True)


def _counts(job: dict[str, Any]) -> str:
    return job["error"] or ", ".join(f"{count:,} {name}" for name, count in sorted(job["counts"].items()))
