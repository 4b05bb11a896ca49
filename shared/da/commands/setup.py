"""`da setup`: set up an instance, from the first question to the first mirrored table."""

import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from da.config import Config
from da.dotenv import read_dotenv
from da.errors import UsageError
from da.options import Json
from da.output import print_json, say, say_text

Text = str | None


def setup(
    *,
    domain: Annotated[Text, typer.Option(help="Email domain of your company, e.g. example.com.")] = None,
    name: Annotated[Text, typer.Option(help="Name of the instance.")] = None,
    email: Annotated[Text, typer.Option(help="Your email; you become the first administrator.")] = None,
    source: Annotated[Text, typer.Option(help="Type of the data source: csv, keboola or bigquery.")] = None,
    data: Annotated[Text, typer.Option(metavar="FOLDER", help="Folder with your data files.")] = None,
    stack: Annotated[Text, typer.Option(metavar="URL", help="Address of your Keboola stack.")] = None,
    buckets: Annotated[Text, typer.Option(help="Buckets of Keboola to mirror, e.g. in.c-crm,out.*.")] = None,
    project: Annotated[Text, typer.Option(metavar="ID", help="Google Cloud project with your tables.")] = None,
    datasets: Annotated[Text, typer.Option(help="Datasets of BigQuery to mirror, e.g. sales,crm_*.")] = None,
    source_name: Annotated[Text, typer.Option(help="Name of the source, used in table names.")] = None,
    server: Annotated[Text, typer.Option(metavar="URL", help="URL of the server, running or planned.")] = None,
    mirror: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the mirror.")] = Path("analysis"),
    wait: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait for the server; by default 600 in a terminal, otherwise 0."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask no questions; use the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files, keeping a backup.")] = False,
    json: Json = False,
) -> None:
    """Set up an instance for your company.

    Run it in the project folder. It asks a few questions (each is also an option), writes .env and
    config/instance.yaml, waits for the server, makes you the first administrator, syncs your data for the first time
    and mirrors it to this machine. If it is interrupted, run it again: it resumes where it stopped. Exits with 1 if
    something failed.

    For a Keboola project it asks for the stack, the Storage API token (KEBOOLA_STORAGE_TOKEN) and the buckets to
    mirror; for BigQuery, it asks for the project and the datasets. Credentials for BigQuery are Google's own
    (GOOGLE_APPLICATION_CREDENTIALS).

    Examples:
      da setup
      da setup --domain example.com --email ann@example.com --yes
      KEBOOLA_STORAGE_TOKEN=… da setup --source keboola --buckets in.c-crm
      da setup --source bigquery --project my-project-123 --datasets sales
    """
    folder = Path.cwd()
    if not (folder / "docker-compose.yml").is_file():
        raise UsageError(
            f"can't set up in '{folder}': it has no docker-compose.yml; change to the project folder first"
        )
    given = {
        "domain": domain,
        "name": name,
        "email": email,
        "source": source,
        "data": data,
        "stack": stack,
        "token": os.environ.get("KEBOOLA_STORAGE_TOKEN") or read_dotenv(folder / ".env").get("KEBOOLA_STORAGE_TOKEN"),
        "buckets": buckets,
        "project": project,
        "datasets": datasets,
        "source_name": source_name,
        "server": server,
    }
    seconds = wait if wait is not None else 600.0 if sys.stdin.isatty() else 0.0
    try:
        with redirect_stdout(sys.stderr) if json else nullcontext():  # what it says on the way is not the result
            well = _set_up(folder, given, mirror.absolute(), seconds, asking=not yes, force=force)
    except KeyboardInterrupt:
        say_text("\nTo resume, run da setup again.", err=True)
        raise
    if json:
        print_json({"folder": str(folder), "workspace": str(mirror.absolute()), "is_complete": well})
    raise typer.Exit(0 if well else 1)


def _set_up(
    folder: Path, given: dict[str, str | None], mirror: Path, wait: float, *, asking: bool, force: bool
) -> bool:
    from da.mirror.workspace import Workspace
    from da.session import complete_answers
    from da.setup.answers import Kept, gather
    from da.setup.files import write_files
    from da.setup.steps import Steps
    from da.web import Web

    kept = Kept.read(folder)
    answers = gather(given, kept.answers, kept.save, asking=asking)
    for line in write_files(folder, answers, kept, force=force):
        say(line)
    ours = {name: value for name, value in os.environ.items() if name not in {"DA_SERVER", "DA_TOKEN", "DA_TOKEN_FILE"}}
    with Web() as web:
        steps = Steps(folder, answers, kept, Config.read(ours), web)
        steps.connect(wait)
        with complete_answers(steps.address):
            session = steps.log_in()
            steps.take_over(session)
            well = steps.extract(session)
            well = steps.mirror(session, Workspace(mirror)) and well
    _print_next_steps(answers["server"], mirror, answers["source_name"], well=well)
    return well


def _print_next_steps(server: str, mirror: Path, source: str, *, well: bool) -> None:
    if not well:
        say_text(f"\nSome steps failed, see above. After fixing the cause, run: da admin sync {source}")
    say_text(f"""
Next steps
  cd {os.path.relpath(mirror)}
  da tables
  da query "show tables"
  da admin users add EMAIL --invite          invite a user
  da admin grants add EMAIL '{source}.*'     grant read access
  {server}/cli    how others install da
  {server}/docs   API documentation""")
