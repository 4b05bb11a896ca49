"""`da admin jira`: backfill, check, refresh and replay the Jira source."""

from collections import Counter
from typing import Annotated, Any

import typer

from da.errors import UsageError
from da.help import Commands
from da.options import Json, parse_time
from da.output import print_json, print_table, say
from da.session import session
from da.text import count_text, local_time

app = Commands("Manage the Jira source: backfill, check, refresh, replay, status.")

_HOUR = 3600.0

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only issues updated since then: 2h, 7d, 2026-01-31 or 2026-01-31T00:00:00Z."),
]
Jql = Annotated[
    str | None, typer.Option("--jql", metavar="JQL", help="Only issues that match this query (without ORDER BY).")
]
Parallel = Annotated[int, typer.Option(min=1, max=16, help="Number of issues to fetch in parallel.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the issues that would be read.")]
Timeout = Annotated[int, typer.Option(min=1, help="Seconds to wait for the server's answer.")]


@app.command("backfill")
def backfill(
    since: Since = None,
    jql: Jql = None,
    parallel: Parallel = 4,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Read issues from Jira.

    Without --since and --jql, reads the issues that have not been read yet and those updated since, and resumes where
    the last backfill stopped. Exits with 1 if some issues could not be read.

    Examples:
      da admin jira backfill
      da admin jira backfill --jql 'project = SUP'
    """
    order = {"since": parse_time(since), "jql": jql, "parallel": parallel, "dry_run": dry_run}
    is_narrow = since is not None or jql is not None
    with session(_HOUR) as server:
        report = server.post("/api/admin/jira/backfill", order)
        while not (report["is_complete"] or is_narrow or report.get("error")):
            if not json:
                _print_backfilled(report)
            report = server.post("/api/admin/jira/backfill", order)
    if json:
        print_json(report)
    elif dry_run:
        say(f"Would read about {count_text(report['found'] or 0, 'issue')}: {report['jql']}")
    else:
        _print_backfilled(report)
        _print_problems(report)
    failed = report.get("error") or report["counts"].get("failed") or not report["is_complete"]
    raise typer.Exit(1 if failed else 0)


@app.command("check")
def check(
    *,
    days: Annotated[
        int | None, typer.Option("--max-age-days", min=1, help="Only issues created within this many days.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Read missing and stale issues again.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of issues to repair.")] = 200,
    deletions: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of issues to remove because Jira no longer returns them.")
    ] = None,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Compare the published issues with those in Jira.

    Reads missing and stale issues again and removes those that Jira no longer returns. If many issues would be
    removed, the check fails instead, because the Jira account has probably lost a permission; use --deletions to allow
    it. Exits with 1 if the level is ERROR.

    Examples:
      da admin jira check
      da admin jira check --no-repair
    """
    with session(timeout) as server:
        order = {"max_age_days": days, "repair": repair, "limit": limit, "deletions": deletions}
        report = server.post("/api/admin/jira/check", order)
    if json:
        print_json(report)
    else:
        _print_check(report)
        _print_problems(report)
    raise typer.Exit(1 if report["level"] == "ERROR" else 0)


@app.command("refresh")
def refresh(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY…", help="Issue keys, such as SUP-12.")] = None,
    all_issues: Annotated[bool, typer.Option("--all", help="All issues, oldest first.")] = False,
    json: Json = False,
) -> None:
    """Read issues again, even if they have not been updated.

    Use it after renaming a project or anonymizing a person, which Jira does not count as an update. Exits with 1 if
    some issues could not be read.

    Examples:
      da admin jira refresh SUP-12 SUP-13
      da admin jira refresh --all
    """
    if bool(keys) == all_issues:
        raise UsageError("give either issue keys, such as SUP-12, or --all")
    order: dict[str, Any] = {"keys": keys or [], "all_issues": all_issues, "created_from": None}
    counts: Counter[str] = Counter()
    with session(_HOUR) as server:
        report = server.post("/api/admin/jira/refresh", order)
        counts.update(report["counts"])
        while report.get("next_from"):
            report = server.post("/api/admin/jira/refresh", {**order, "created_from": report["next_from"]})
            counts.update(report["counts"])
    if json:
        print_json({**report, "counts": dict(counts)})
    else:
        say(
            f"{count_text(counts['fetched'], 'issue')} read again, {counts['changed']:,} changed, "
            f"{counts['missing'] + counts['gone']:,} not in Jira, {counts['failed']:,} failed."
        )
        _print_problems(report)
    failed = report.get("error") or counts["failed"] or counts["missing"] or not report["is_complete"]
    raise typer.Exit(1 if failed else 0)


@app.command("replay")
def replay(
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Start at the hour of this time.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End with the hour of this time.")] = None,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Apply archived webhook events again, without calling Jira.

    Exits with 1 if a part of the archive could not be read.

    Examples:
      da admin jira replay --since 2026-01-31T00:00:00Z
    """
    with session(timeout) as server:
        report = server.post("/api/admin/jira/replay", {"since": parse_time(since), "until": parse_time(until)})
    if json:
        print_json(report)
    else:
        say(f"{count_text(report['events'], 'event')} applied again, {count_text(report['issues'], 'issue')} changed.")
        _print_problems(report)
    raise typer.Exit(1 if report.get("error") else 0)


@app.command("status")
def status(json: Json = False) -> None:
    """Show backfill progress, waiting webhook events and the last result of each job.

    Examples:
      da admin jira status
    """
    with session() as server:
        report = server.get("/api/admin/jira/status")
    if json:
        print_json(report)
        return
    _print_standing(report)
    rows = [(job["job"], job["status"], local_time(job["finished_at"]), _counts(job)) for job in report["jobs"]]
    empty = "There are no jobs yet; to read all issues, run: da admin jira backfill"
    print_table(("job", "status", "ended", "result"), rows, optional=("ended",), empty=empty)
    if report["check"]:
        _print_check(report["check"])


def _print_standing(report: dict[str, Any]) -> None:
    webhooks = report["webhooks"]
    where = f" ({webhooks['domain']})" if webhooks["domain"] else ""
    api = "enabled" if webhooks["is_jira_asked"] else "disabled (JIRA_API_TOKEN is not set)"
    hooks = "accepted" if webhooks["is_secret_set"] else "rejected (JIRA_WEBHOOK_SECRET is not set)"
    say(f"Jira{where}: API {api}, webhooks {hooks}.")
    waiting = count_text(webhooks["waiting"], "event")
    age = f", the oldest for {webhooks['oldest_seconds']:.0f} s" if webhooks["oldest_seconds"] else ""
    say(f"{waiting} waiting{age}.")
    if report["read_until"]:
        say(f"Backfill complete; updates read up to {local_time(report['read_until'])}.")
    elif report["reading_from"]:
        say(f"Backfill in progress: issues created before {local_time(report['reading_from'])} have been read.")
    elif webhooks["is_jira_asked"]:
        say("No issues have been read yet; to read them, run: da admin jira backfill")
    if report["failed"]:
        say(f"{count_text(len(report['failed']), 'issue')} could not be read: {', '.join(report['failed'][:20])}")
    for name in report["unresolved"]:
        say(f"Jira has no field named '{name}'.")


def _print_backfilled(report: dict[str, Any]) -> None:
    counts = report["counts"]
    say(
        f"{count_text(counts.get('read', 0), 'issue')} read, {counts.get('fetched', 0):,} fetched, "
        f"{counts.get('known', 0):,} known, {counts.get('gone', 0):,} gone, {counts.get('failed', 0):,} failed"
        f"{'.' if report['is_complete'] else '; not complete.'}"
    )


def _print_check(report: dict[str, Any]) -> None:
    totals = ", ".join(f"{count:,} {kind}" for kind, count in report["totals"].items())
    until = f" (created until {report['until'][:16]}, by Jira's clock)" if report["until"] else ""
    say(f"{report['level']}: {report['jira']:,} issues in Jira{until}, {report['published']:,} published: {totals}.")


def _print_problems(report: dict[str, Any]) -> None:
    for line in [*report.get("notes", ()), *([report["error"]] if report.get("error") else [])]:
        say((line), err=True)


def _counts(job: dict[str, Any]) -> str:
    return job["error"] or ", ".join(f"{count:,} {name}" for name, count in sorted(job["counts"].items()))
