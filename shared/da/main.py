"""The `da` command: the command table and error reporting."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from da import __version__
from da.errors import DaError
from da.output import say, say_text

COMMANDS = {
    "setup": "da.commands.setup:setup",
    "login": "da.commands.auth:login",
    "sync": "da.commands.sync:sync",
    "query": "da.commands.query:app",
    "tables": "da.commands.tables:tables",
    "status": "da.commands.status:status",
    "request": "da.commands.access_requests:request",
    "requests": "da.commands.access_requests:requests",
    "diagnose": "da.commands.diagnose:diagnose",
    "auth": "da.commands.auth:app",
    "admin": "da.commands.admin:app",
    "sample-data": "da.commands.sample_data:sample_data",
}
"""The target of each command, in the order of the help. A module is imported only when its command runs."""


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        target = getattr(importlib.import_module(module), name)
        if not isinstance(target, typer.Typer):
            command, target = target, typer.Typer(add_completion=False, rich_markup_mode=None)
            target.command(cmd_name)(command)
        made = typer.main.get_command(target)
        made.name = cmd_name
        return made

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output, such as `head`, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return result


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"da {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mirror the tables you can read to this machine, and query them offline with DuckDB.

    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted (Ctrl-C).
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code. Errors are printed to stderr as one message, never as a traceback."""
    try:
        code = app(arguments, prog_name="da", standalone_mode=False)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except DaError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001  a user sees no traceback
        return _unforeseen(error)
    return code if isinstance(code, int) else 0


def _unforeseen(error: Exception) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # raised by the command-line parser
        if type(error).__name__ == "NoArgsIsHelpError":
            say_text(error.format_message())
            return 2
        context = getattr(error, "ctx", None)
        hint = f"\nFor help, run: {context.command_path} --help" if context else ""
        return _fail(f"{error.format_message()}{hint}", error.exit_code)
    if type(error).__name__ == "Abort":
        return _fail("interrupted", 130)
    if os.environ.get("DA_DEBUG"):
        raise error
    return _fail(f"internal error: {type(error).__name__}: {error}; set DA_DEBUG=1 to see the traceback", 1)


def _fail(message: str, code: int) -> int:
    say_text("da: " + "\n".join(message.splitlines()), err=True)
    return code
