"""`da admin import`: import the data of an older system."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from da.errors import UsageError
from da.options import Json
from da.output import print_json, say
from da.progress import bar
from da.session import session

if TYPE_CHECKING:
    from da.imports.report import Report

From = Annotated[Path, typer.Option("--from", metavar="DIR", help="Data folder of the older system (its DATA_DIR).")]
Description = Annotated[
    Path | None,
    typer.Option("--description", metavar="FILE", help="Its data_description.md, if it is not in that folder."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be imported without changing anything.")]


def import_(old: From, description: Description = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Import an older system: users, table registry, grants and parquet files.

    Run it on the machine that holds the older system's folder; the folder is only read. Existing data on the server is
    kept. Running it again imports what is new and resumes an interrupted import. What can't be imported is listed with
    the reason. Exits with 1 if a table failed.

    Examples:
      da admin import --from /srv/old/data --dry-run
      da admin import --from /srv/old/data
    """
    from da.imports.folder import read_folder
    from da.imports.transfer import Importing

    if not old.is_dir():
        raise UsageError(f"can't import '{old}': it is not a folder; give the older system's DATA_DIR")
    with TemporaryDirectory(prefix="da-import-") as scratch, session() as server:
        system = read_folder(old, Path(scratch), description)

        report = Importing(server, bar(wanted=not json)).run(system, dry_run=dry_run)
    _print(report, json=json)
    raise typer.Exit(report.exit_code)


def _print(report: "Report", *, json: bool) -> None:
    if json:
        print_json(report.to_json())
    else:
        for line in report.lines():
            say(line)
    for table in report.tables:
        if table.error:
            say((f"{table.id}: {table.error}"), err=True)
    for problem in report.problems:
        place = ".".join(str(part) for part in (problem.get("source"), problem.get("table")) if part)
        say((f"{place}: {problem.get('message')}"), err=True)
