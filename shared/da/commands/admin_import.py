"""`da admin import`: take an older system in."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from da.errors import UsageError
from da.output import print_json, say
from da.progress import progress
from da.session import session
from da.text import clean

if TYPE_CHECKING:
    from da.imports.report import Report

From = Annotated[Path, typer.Option("--from", metavar="DIR", help="The older system's folder, its DATA_DIR.")]
Description = Annotated[
    Path | None, typer.Option("--description", metavar="FILE", help="Its data_description.md, when it lies elsewhere.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]


def import_(old: From, description: Description = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Take an older system in: users, registry, rights, parquet.

    It runs on the machine where its folder lies, and changes nothing there. What is on the server stays as it is; done
    again, it takes what is new, and goes on where it was interrupted. Ends with 0 when all that can be taken was; what was
    not is listed with the reason.
    """
    from da.imports.conversation import Importing
    from da.imports.folder import read_folder

    if not old.is_dir():
        raise UsageError(f"{old} is no folder")
    with TemporaryDirectory(prefix="da-import-") as scratch, session() as server:
        system = read_folder(old, Path(scratch), description)

        def bar(total: int, files: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return progress(total, files, wanted=not json)

        report = Importing(server, bar).run(system, dry_run=dry_run)
    _print(report, json=json)
    raise typer.Exit(report.exit_code)


def _print(report: "Report", *, json: bool) -> None:
    if json:
        print_json(report.to_json())
    else:
        for line in report.lines():
            say(clean(line))
    for table in report.tables:
        if table.error:
            say(clean(f"{table.id}: {table.error}"), err=True)
    for problem in report.problems:
        place = ".".join(str(part) for part in (problem.get("source"), problem.get("table")) if part)
        say(clean(f"{place}: {problem.get('message')}"), err=True)
