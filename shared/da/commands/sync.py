"""`da sync`: update the mirror."""

from contextlib import nullcontext
from typing import Annotated

import typer

from da.completion import tables
from da.config import Config
from da.output import say
from da.plan import Request
from da.progress import progress
from da.report import Report
from da.session import server_of
from da.sync import Sync
from da.web import Web
from da.workspace import Workspace

Table = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="TABLE",
        help="Only this table, by ID or view name. Repeatable.",
        autocompletion=tables,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done without changing anything.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Verify the content of every file and fetch damaged files again.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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

        def bar(total: int, files: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return progress(total, files, wanted=not (quiet or json))

        request = Request(tuple(table or ()), dry_run, verify)
        report = Sync(workspace, server_of(config, login, web), web, bar).run(request)
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
