"""Generate the reference of the command line, shared/docs/cli.md, from the commands: `cli_reference.py [FILE]`."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from da.main import app

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "shared" / "docs" / "cli.md"

_HEAD = """\
# The command line

Every `da` command, generated from the commands themselves (`make docs`). `da COMMAND --help` prints the same.

Exit codes: 0 success, 1 failure, 2 usage error, 130 after Ctrl-C. `da status` exits with 3 when the mirror is behind and 4
when that can't be determined.

Environment variables override the configuration: `DA_SERVER`, `DA_TOKEN`, `DA_LOCAL_DIR` (the workspace) and
`DA_CONFIG_DIR`. `da --install-completion` adds completion of commands and tables to your shell.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    return "\n".join([_HEAD, *_sections(typer.main.get_command(app), "da")])


def _sections(command: Any, path: str) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if not child.hidden:
                yield from _sections(child, f"{path} {name}")
        return
    arguments = [each.make_metavar(context) for each in command.params if each.param_type_name == "argument"]
    yield f"## `{' '.join([path, *arguments])}`\n"
    yield f"{_paragraphs(command.help or '')}\n"
    options = [each for each in command.params if each.param_type_name == "option" and each.help and not each.hidden]
    if options:
        yield "| option | meaning |\n|---|---|"
        yield from (_row(each, context) for each in options)
        yield ""


def _row(option: Any, context: Any) -> str:
    names, meaning = (" ".join(text.split()).replace("|", "\\|") for text in option.get_help_record(context))
    return f"| `{names}` | {meaning} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(" ".join(part.split()), 120) for part in text.split("\n\n"))


if __name__ == "__main__":
    Path(sys.argv[1] if sys.argv[1:] else TARGET).write_text(reference(), encoding="utf-8")
