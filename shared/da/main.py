"""The process of the `da` command: what it runs, and how errors are reported.

The parser is loaded only if there is something to parse: it takes a quarter of the time of a sync without news.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from da.errors import DaError, UsageError, cause_of, is_interrupted
from da.output import say_error, say_text

_QUIET, _JSON = frozenset({"-q", "--quiet"}), "--json"
_PLAIN = _QUIET | {_JSON}
"""Options of a sync that needs no parser."""

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_COMPLETION = {"--show-completion": "show_callback", "--install-completion": "install_callback"}
_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


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
        code = _called(arguments)
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


def _called(arguments: Sequence[str] | None) -> object:
    if arguments and arguments[0] == "sync" and _PLAIN.issuperset(options := arguments[1:]):
        from da.mirror.syncs import Syncs

        code = Syncs.begin(quiet=not _QUIET.isdisjoint(options), json=_JSON in options).once()
        sys.stdout.flush()
        return code
    from da.app import app

    if arguments and arguments[0] in _COMPLETION:
        _complete(*arguments)
    return app(arguments, prog_name="da", standalone_mode=False)


def _complete(option: str, shell: str | None = None, *_: str) -> None:
    """Print or install the completion of a shell that is named; without a name, the parser detects the shell."""
    if shell is None:
        return
    if shell not in _SHELLS:
        raise UsageError(f"there is no completion for '{shell}'; there is for {', '.join(_SHELLS)}")
    import typer
    from typer import completion

    from da.app import app

    context = typer.Context(typer.main.get_command(app), info_name="da")
    getattr(completion, _COMPLETION[option])(context, None, shell)  # ends the process


def stop_writing() -> int:
    """End well: the reader of the output, such as `head`, has read enough and closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _about_file(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return stop_writing()
    if error.filename:
        advice = "free some space" if error.errno in _FULL else "check the path and its permissions"
        return _fail(f"can't use '{error.filename}': {cause_of(error)}; {advice}", 1)
    if error.errno in _FULL:
        return _fail(f"can't write the output: {cause_of(error)}; free some space, or write it elsewhere", 1)
    return _fail(cause_of(error), 1)


def _unforeseen(error: Exception) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # raised by the command-line parser
        from da.help import wrong_call

        if type(error).__name__ == "NoArgsIsHelpError":
            with suppress(BrokenPipeError):
                say_text(error.format_message())
                return UsageError.exit_code
            return stop_writing()
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
