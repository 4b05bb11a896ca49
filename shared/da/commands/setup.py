"""`da setup`: the first installation, from the first question to the first mirrored table."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from da.config import Config
from da.errors import DaError, UsageError
from da.output import say

Text = str | None


def setup(
    *,
    domain: Annotated[Text, typer.Option(help="Your company's domain, as example.com.")] = None,
    name: Annotated[Text, typer.Option(help="What the instance is called.")] = None,
    email: Annotated[Text, typer.Option(help="Your e-mail; you become the first administrator.")] = None,
    source: Annotated[Text, typer.Option(help="Where the data comes from: csv.")] = None,
    data: Annotated[Text, typer.Option(metavar="FOLDER", help="The folder of your files.")] = None,
    source_name: Annotated[Text, typer.Option(help="What this source is called.")] = None,
    server: Annotated[Text, typer.Option(metavar="URL", help="Where the server is, or will be.")] = None,
    mirror: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the tables are mirrored to.")] = Path(
        "analysis"
    ),
    wait: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for the server; 600 in a terminal, else 0.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take what is usual.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there; a backup is kept.")] = False,
) -> None:
    """Set up an instance for your company.

    It asks what it has to know (every answer is an option, too), writes .env and config/instance.yaml into this
    folder, which is the project's, waits for the server, makes you its first administrator, has your data read for
    the first time, and mirrors it to this machine. When it was interrupted, run it again: it goes on where it stopped.
    Ends with 1 when something failed.
    """
    folder = Path.cwd()
    if not (folder / "docker-compose.yml").is_file():
        raise UsageError(f"{folder} is not the project's folder, where docker-compose.yml is; go there first")
    given = {
        "domain": domain,
        "name": name,
        "email": email,
        "source": source,
        "data": data,
        "source_name": source_name,
        "server": server,
    }
    seconds = wait if wait is not None else 600.0 if sys.stdin.isatty() else 0.0
    try:
        well = _set_up(folder, given, mirror.absolute(), seconds, asking=not yes, force=force)
    except KeyboardInterrupt:
        say("\nRun da setup again; it goes on where it stopped.", err=True)
        raise
    raise typer.Exit(0 if well else 1)


def _set_up(
    folder: Path, given: dict[str, str | None], mirror: Path, wait: float, *, asking: bool, force: bool
) -> bool:
    from da.setup.answers import gather
    from da.setup.files import write_files
    from da.setup.progress import Kept
    from da.setup.steps import Steps
    from da.web import Web
    from da.workspace import Workspace

    kept = Kept.read(folder)
    answers = gather(given, kept.answers, kept.save, asking=asking)
    for line in write_files(folder, answers, kept, force=force):
        say(line)
    ours = {name: value for name, value in os.environ.items() if name not in {"DA_SERVER", "DA_TOKEN"}}
    with Web() as web:
        steps = Steps(folder, answers, kept, Config.read(ours), web)
        steps.connect(wait)
        try:
            session = steps.log_in()
            steps.take_over(session)
            well = steps.extract(session)
            well = steps.mirror(session, Workspace(mirror)) and well
        except KeyError as error:
            raise DaError(f"{steps.address} answered without {error}; da and the server are of different age") from None
    _tell_what_next(answers["server"], mirror, answers["source_name"], well=well)
    return well


def _tell_what_next(server: str, mirror: Path, source: str, *, well: bool) -> None:
    if not well:
        say(f"\nNot all of it went well, as it says above. When that is mended: da admin sync {source}")
    say(f"""
What to try next
  cd {os.path.relpath(mirror)}
  da tables
  da query "show tables"
  da admin users add EMAIL --invite          lets somebody in
  da admin grants add EMAIL '{source}.*'     lets them read
  {server}/docs describes the server""")
