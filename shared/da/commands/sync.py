"""`da sync`: update the mirror."""

from contextlib import nullcontext
from typing import Annotated

import typer

from da.config import Config
from da.options import DryRun, Json, complete_tables
from da.output import say
from da.plan import Request
from da.progress import bar
from da.session import server_of
from da.sync import Report, Sync
from da.web import Web
from da.workspace import Workspace

Table = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="TABLE",
        help="Only this table, by ID or view name. Repeatable.",
        autocompletion=complete_tables,
    ),
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Verify the content of every file and fetch damaged files again.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def sync(
    table: Table = None, dry_run: DryRun = False, verify: Verify = False, quiet: Quiet = False, json: Json = False
) -> None:
    """Update the mirror.

    Fetches new and changed tables and removes those you can no longer read. Your own tables are kept.
    The workspace is DA_LOCAL_DIR, otherwise the nearest parent folder that has been synced before, otherwise the current
    folder. Exits with 1 if a table failed (the others are updated) and with 130 if interrupted.
    """
    config = Config.read()
    login = config.login()
    workspace = Workspace.find()
    with nullcontext() if dry_run else workspace.locked(), Web() as web:
        request = Request(tuple(table or ()), dry_run, verify)
        report = Sync(workspace, server_of(config, login, web), web, bar(wanted=not (quiet or json))).run(request)
    _print(report, quiet=quiet, json=json)
    raise typer.Exit(report.exit_code)


def _print(report: Report, *, quiet: bool, json: bool) -> None:
    if json:
        from da.output import print_json

        print_json(report.to_json())
    elif not quiet:
        for line in report.lines():
            say(line)
    for line in report.failures():
        say(line, err=True)
    for note in [] if quiet or json else report.notes:
        say(f"Note: {note}.", err=True)
