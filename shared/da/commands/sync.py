"""`da sync`: bring the mirror up to date."""

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
        help="Only this table, by id or view; may be given several times.",
        autocompletion=tables,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check the content of every file; fetch damaged ones again.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]


def sync(
    table: Table = None, dry_run: DryRun = False, verify: Verify = False, quiet: Quiet = False, json: Json = False
) -> None:
    """Bring the mirror up to date.

    What is new is fetched, what you may no longer read is removed, your own tables stay.
    The workspace is DA_LOCAL_DIR, else the nearest folder upwards that has been synced before, else this folder.
    Ends with 1 when a table failed (the others are done), and with 130 when it was interrupted.
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
