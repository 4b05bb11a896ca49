"""`da sync`: update the mirror, once or continuously."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from da.config import Config
from da.errors import DaError, UsageError
from da.mirror.catalog_changes import BrokenMetrics
from da.mirror.plan import Request
from da.mirror.sync import Report, Sync
from da.mirror.workspace import Workspace
from da.options import DryRun, Json, complete_tables
from da.output import print_json, print_json_line, say, say_error
from da.progress import bar
from da.rules import Rules
from da.session import server_of
from da.text import local_time
from da.web import Web

if TYPE_CHECKING:
    from da.server import Server

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
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Sync again and again until Ctrl-C.")]
Every = Annotated[int, typer.Option("--every", min=1, help="With --watch: seconds between two syncs.")]
Here = Annotated[bool, typer.Option("--here", help="Create a mirror in this folder although there is another one.")]


def sync(
    *,
    table: Table = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    watch: Watch = False,
    every: Every = 60,
    here: Here = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Update the mirror.

    Fetches new and changed tables and removes those you can no longer read. Your own tables are kept. Rules of the company's
    memory that apply to you are written to .claude/rules/da-memory.md. Tables whose columns have changed, and metrics that
    became broken, are reported once.

    The folder of the mirror is DA_LOCAL_DIR, otherwise the nearest parent folder that has been synced before, otherwise
    the current folder. Exits with 1 if a table failed (the others are updated) and with 130 if interrupted.

    With --watch, only changes are printed; with --json, one line of JSON per sync.

    Examples:
      da sync                 # fetch what changed
      da sync --table orders  # one table only
      da sync --dry-run       # show what would be fetched
      da sync --watch         # keep the mirror up to date
    """
    if watch and dry_run:
        raise UsageError("can't use both --watch and --dry-run; use one of them")
    config = Config.read()
    config.login()  # report a missing login before anything else
    workspace = Workspace.find() if not here else Workspace(Path.cwd())
    if not here:
        _check_is_wanted(config, workspace)
    syncing = _Syncing(config, workspace, Request(tuple(table or ()), dry_run, verify), quiet=quiet, json=json)
    if watch:
        syncing.watch(every)
    raise typer.Exit(syncing.once())


@dataclass(frozen=True, slots=True)
class _Syncing:
    """Syncs of one workspace, and how they are reported."""

    config: Config
    workspace: Workspace
    request: Request
    quiet: bool
    json: bool

    def once(self) -> int:
        """Sync and print the result; return the exit code."""
        report, advice = self._sync()
        if self.json:
            print_json(report.to_json())
        elif not self.quiet:
            for line in [*report.lines(), *advice]:
                say(line)
        self._print_trouble(report)
        return report.exit_code

    def watch(self, every: float) -> None:
        """Sync until Ctrl-C. A failure, such as of the network, is printed once and does not end it."""
        trouble = ""
        if not (self.quiet or self.json):
            say(f"Watching {self.config.server}; Ctrl-C stops.", err=True)
        while True:
            try:
                report, _ = self._sync()
            except DaError as error:
                if str(error) != trouble:
                    say_error(str(error))
                trouble = str(error)
            else:
                trouble = ""
                self._print_watched(report)
                if report.interrupted:
                    raise KeyboardInterrupt
            time.sleep(every)

    def _print_watched(self, report: Report) -> None:
        if self.json:
            print_json_line(report.to_json())
        elif not self.quiet and (report.updated or report.removed or report.broken_metrics or report.schema_changes):
            for line in report.lines():
                say(f"{local_time(report.ended_at, seconds=True)}  {line}")
        self._print_trouble(report)

    def _print_trouble(self, report: Report) -> None:
        for line in report.failures():
            say(line, err=True)
        for note in [] if self.quiet or self.json else report.notes:
            say(f"Note: {note}.", err=True)

    def _sync(self) -> tuple[Report, list[str]]:
        """Sync once; return the report, and advice if there is nothing to mirror."""
        locked = nullcontext() if self.request.dry_run else self.workspace.locked()
        with locked, Web() as web:
            server = server_of(self.config, self.config.login(), web)
            report = Sync(self.workspace, server, web, bar(wanted=not (self.quiet or self.json))).run(self.request)
            if not (self.request.dry_run or report.interrupted):
                report.notes += Rules(self.workspace.root, server).update()
                report.broken_metrics = BrokenMetrics(self.workspace.root, server).news(report.snapshot)
            advice = _advice(server) if report.readable == 0 and not self.json else []
        if not self.request.dry_run and self.config.last_workspace != str(self.workspace.root):
            self.config.set("last_workspace", str(self.workspace.root))
        return report, advice


def _check_is_wanted(config: Config, workspace: Workspace) -> None:
    """Keep the user from creating a second mirror by accident, by a sync in another folder.

    Raises:
        DaError: this folder has no mirror, but the user has one elsewhere.
    """
    last = config.last_workspace
    is_chosen = config.environ.get("DA_LOCAL_DIR") or config.workspace == str(workspace.root)
    if is_chosen or last is None or (workspace.root / ".da").is_dir() or not (Path(last) / ".da").is_dir():
        return
    raise DaError(
        f"there is no mirror in '{workspace.root}', but there is one in '{last}'. To update that one, change to its folder;"
        " to create another one here, run: da sync --here"
    )


def _advice(server: "Server") -> list[str]:
    """Say what to do if there is no table to mirror."""
    me = server.get("/api/me")
    if me.get("role") == "admin":
        return ["There are no tables yet. To add a source, run: da admin sources add NAME --path FOLDER"]
    who = me.get("email") or "EMAIL"
    return [
        "You can't read any table yet; to request access, run: da request SOURCE.TABLE --reason WHY",
        f"or have an administrator run: da admin grants add {who} SOURCE.TABLE",
    ]
