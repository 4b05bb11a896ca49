"""The commands of `da`, and the parser of the command line."""

import importlib
import sys
from functools import cache
from typing import Annotated, Any

import typer

from da import __version__
from da.errors import CanceledError
from da.help import Commands, Group, walked
from da.main import stop_writing
from da.output import say_text

SECTIONS = {
    "Your data": {
        "login": "da.commands.auth:login",
        "sync": "da.commands.sync:sync",
        "mirror": "da.commands.mirror:mirror",
        "tables": "da.commands.tables:tables",
        "query": "da.commands.query:app",
        "profile": "da.commands.profile:profile",
        "explore": "da.commands.explore:explore",
        "snapshot": "da.commands.snapshots:app",
        "verify": "da.commands.verify:verify",
        "catalog": "da.commands.catalog:catalog",
        "glossary": "da.commands.catalog:glossary",
        "lineage": "da.commands.catalog:lineage",
        "metrics": "da.commands.metrics:metrics",
        "expectations": "da.commands.expectations:expectations",
        "diff": "da.commands.diff:diff",
        "test": "da.commands.questions:check",
        "mcp": "da.commands.mcp:mcp",
        "share": "da.commands.share:app",
        "init": "da.commands.init:init",
        "update": "da.commands.init:update",
        "skills": "da.commands.init:skills",
        "feedback": "da.commands.feedback:feedback",
        "notifications": "da.commands.notifications:app",
        "scripts": "da.commands.scripts:app",
        "push": "da.commands.push:push",
        "memory": "da.commands.memory:app",
        "status": "da.commands.status:status",
        "open": "da.commands.browse:open_",
        "logout": "da.commands.auth:logout",
    },
    "Access": {
        "request": "da.commands.access_requests:request",
        "requests": "da.commands.access_requests:requests",
        "auth": "da.commands.auth:app",
    },
    "Administration": {
        "setup": "da.commands.setup:setup",
        "admin": "da.commands.admin:app",
        "sample-data": "da.commands.sample_data:sample_data",
    },
    "This machine": {
        "config": "da.commands.config:app",
        "diagnose": "da.commands.diagnose:diagnose",
        "help": "da.app:help_",
    },
}
"""The target of each command, in the order of the help. A module is imported only when its command runs."""

ELSEWHERE = {
    "completion": "--install-completion",
    "connect": "login",
    "doctor": "diagnose",
    "download": "sync",
    "get": "sync",
    "info": "status",
    "list": "tables",
    "ls": "tables",
    "pull": "sync",
    "refresh": "sync",
    "run": "query",
    "show": "tables",
    "signin": "login",
    "signout": "logout",
    "sql": "query",
    "version": "--version",
}
"""Commands that people know from similar programs, and ours."""

COMMANDS = {name: target for commands in SECTIONS.values() for name, target in commands.items()}


@cache
def _made(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        command, target = target, Commands()
        target.command(name, no_args_is_help=False)(command)
    made = typer.main.get_command(target)
    made.name = name
    return made


class _LazyGroup(Group):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def panels(self, ctx: Any) -> dict[str, list[str]]:  # noqa: ARG002
        return {title: list(commands) for title, commands in SECTIONS.items()}

    def elsewhere(self, ctx: Any, name: str) -> list[str]:
        if name in ELSEWHERE:
            return [ELSEWHERE[name]]
        return [
            f"{group} {each}"
            for group in ("admin", "auth")
            for each in self.get_command(ctx, group).commands
            if each in (name, f"{name}s", name.rstrip("s"))
        ]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return _made(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().make_context(*arguments, **more)
        except BrokenPipeError:  # of --help
            raise typer.Exit(stop_writing()) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:  # the parser would end the program without a word
            raise CanceledError("interrupted") from None
        except BrokenPipeError:  # the parser would end the program with 1
            return stop_writing()
        return result


app = Commands(cls=_LazyGroup, add_completion=True, context_settings={"help_option_names": ["-h", "--help"]})


def _version(wanted: bool) -> None:
    if wanted:
        say_text(f"da {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mirror the tables you can read to this machine, and query them offline with DuckDB.

    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted (Ctrl-C). Environment variables: DA_SERVER,
    DA_TOKEN or DA_TOKEN_FILE (a file that contains it), DA_LOCAL_DIR (the folder of the mirror), DA_CONFIG_DIR,
    NO_COLOR, FORCE_COLOR.

    Examples:
      da login --server https://data.example.com
      da sync
      da query "select count(*) from orders"
      da help sync
    """


def help_(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]...", help="The command.")] = None,
) -> None:
    """Show the help of a command.

    Examples:
      da help
      da help sync
      da help admin grants add
    """
    root = context.find_root()
    found, where = root.command, root
    for found, where in walked(root.command, root, command or []):  # noqa: B007 - the last one is wanted
        pass
    say_text(found.get_help(where))
