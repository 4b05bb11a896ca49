"""What `da sync` does, once or continuously, and what it prints."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from da.config import Config
from da.errors import DaError
from da.mirror.ahead import Ahead
from da.mirror.plan import Request
from da.mirror.workspace import Workspace
from da.output import print_json, print_json_line, say, say_error
from da.progress import bar
from da.session import server_of
from da.text import local_time
from da.web import Web

if TYPE_CHECKING:
    from da.mirror.sync import Report
    from da.server import Server


@dataclass(frozen=True, slots=True)
class Syncs:
    """Syncs of one workspace, and how they are reported."""

    config: Config
    workspace: Workspace
    request: Request
    quiet: bool
    json: bool

    @classmethod
    def begin(
        cls, request: Request | None = None, *, here: bool = False, quiet: bool = False, json: bool = False
    ) -> Self:
        """Find the workspace, or take the current folder if it is `here`.

        Raises:
            DaError: the user is not logged in, or has a mirror elsewhere.
        """
        config = Config.read()
        config.login()  # report a missing login before anything else
        workspace = Workspace(Path.cwd()) if here else Workspace.find()
        if not here:
            _check_is_wanted(config, workspace)
        return cls(config, workspace, request or Request(), quiet, json)

    def once(self) -> int:
        """Sync and print the result; return the exit code."""
        report, advice = self._sync(is_last=True)
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
                report, _ = self._sync(is_last=False)
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

    def _print_watched(self, report: "Report") -> None:
        if self.json:
            print_json_line(report.to_json())
        elif not self.quiet and (report.updated or report.removed or report.broken_metrics or report.schema_changes):
            for line in report.lines():
                say(f"{local_time(report.ended_at, seconds=True)}  {line}")
        self._print_trouble(report)

    def _print_trouble(self, report: "Report") -> None:
        for line in report.failures():
            say(line, err=True)
        for note in [] if self.quiet or self.json else report.notes:
            say(f"Note: {note}.", err=True)

    def _sync(self, *, is_last: bool) -> "tuple[Report, list[str]]":
        """Sync once; return the report, and advice if there is nothing to mirror."""
        locked = nullcontext() if self.request.dry_run else self.workspace.locked()
        with locked, Web() as web:
            server = server_of(self.config, self.config.login(), web)
            with Ahead(self.workspace, server, self.request) as ahead:
                from da.mirror.sync import Sync

                shown = bar(wanted=not (self.quiet or self.json))
                report = Sync(self.workspace, server, web, shown, ahead=ahead).run(self.request, is_last=is_last)
            if not (self.request.dry_run or report.interrupted):
                from da.mirror.catalog_changes import BrokenMetrics
                from da.rules import Rules

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
