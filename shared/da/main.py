"""The `da` command: the command table and error reporting."""

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, NoReturn

import typer

from da import __version__
from da.errors import CanceledError, DaError, UsageError, cause_of, is_interrupted
from da.help import Commands, Group, walked, wrong_call
from da.output import say_error, say_text

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
        "help": "da.main:help_",
    },
}
"""The target of each command, in the order of the help. A module is imported only when its command runs."""

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}

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

_COMPLETION = {"--show-completion": "show_callback", "--install-completion": "install_callback"}
_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")

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
            raise typer.Exit(_stop_writing()) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:  # the parser would end the program without a word
            raise CanceledError("interrupted") from None
        except BrokenPipeError:  # the parser would end the program with 1
            return _stop_writing()
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
    DA_TOKEN, DA_LOCAL_DIR (the folder of the mirror), DA_CONFIG_DIR, NO_COLOR, FORCE_COLOR.

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


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Files and pipes get UTF-8, also on Windows, where Python would encode what it writes into them for the
            # code page of the region and lose the other characters.
            chosen = stream.isatty() or os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding=None if chosen else "utf-8", errors="backslashreplace")
    _end(execute([_decoded(each) for each in (sys.argv[1:] if arguments is None else arguments)]))


def _end(code: int) -> NoReturn:
    """End the process, without the clean-up by Python and DuckDB if possible.

    It frees memory object by object, which takes 30 ms, a fifth of a sync without news. What a command writes is written
    when it returns, and it removes its temporary files itself.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (AttributeError, OSError, ValueError):  # closed, or nobody reads it any more: Python deals with that
        sys.exit(code)
    os._exit(code)


def _decoded(argument: str) -> str:
    """Return an argument as it was typed in a terminal of UTF-8, also where Python took the locale for ASCII."""
    try:
        return argument.encode(errors="surrogateescape").decode()
    except UnicodeError:  # the name of a file in another encoding
        return argument


def execute(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code. Errors are printed to stderr as one message, never as a traceback."""
    before = os.environ.get("DA_VERBOSE")
    try:
        if arguments and arguments[0] in _COMPLETION:
            _complete(*arguments)
        code = app(arguments, prog_name="da", standalone_mode=False)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except DaError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _about_file(error)
    except Exception as error:  # noqa: BLE001  a user sees no traceback
        return _unforeseen(error)
    finally:
        if before is None:
            os.environ.pop("DA_VERBOSE", None)
    return code if isinstance(code, int) else 0


def _complete(option: str, shell: str | None = None, *_: str) -> None:
    """Print or install the completion of a shell that is named; without a name, the parser detects the shell."""
    if shell is None:
        return
    if shell not in _SHELLS:
        raise UsageError(f"there is no completion for '{shell}'; there is for {', '.join(_SHELLS)}")
    from typer import completion

    context = typer.Context(typer.main.get_command(app), info_name="da")
    getattr(completion, _COMPLETION[option])(context, None, shell)  # ends the process


def _stop_writing() -> int:
    """End well: the reader of the output, such as `head`, has read enough and closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _about_file(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return _stop_writing()
    if error.filename:
        return _fail(f"can't use '{error.filename}': {cause_of(error)}; check the path and its permissions", 1)
    if error.errno in _FULL:
        return _fail(f"can't write the output: {cause_of(error)}; free some space, or write it elsewhere", 1)
    return _fail(cause_of(error), 1)


def _unforeseen(error: Exception) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # raised by the command-line parser
        if type(error).__name__ == "NoArgsIsHelpError":
            with suppress(BrokenPipeError):
                say_text(error.format_message())
                return UsageError.exit_code
            return _stop_writing()
        return _fail(wrong_call(error), error.exit_code)
    if type(error).__name__ == "Abort" or is_interrupted(error):
        return _fail("interrupted", 130)
    if isinstance(error, UnicodeEncodeError) and any("\udc80" <= each <= "\udcff" for each in str(error.object)):
        return _fail("can't use characters of this command in the encoding of this system; set PYTHONUTF8=1", 1)
    if os.environ.get("DA_DEBUG") or os.environ.get("DA_VERBOSE"):
        raise error
    return _fail("something went wrong inside da; run the command again with -v and report what it prints", 1)


def _fail(message: str, code: int) -> int:
    say_error("\n".join(message.splitlines()))
    return code
