"""Generate the reference of the command line, shared/docs/cli.md, from the commands."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from da.app import app
from da.help import texts_of

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "shared" / "docs" / "cli.md"
SCHEMAS = ROOT / "shared" / "da" / "schemas"

_HEAD = """\
# The command line

Every `da` command, generated from the commands themselves (`make docs`). `da help COMMAND` and `da COMMAND -h` print the
same. Every command also takes `-v` (print each request, and the traceback of an internal error).

Exit codes: 0 success, 1 failure, 2 usage error, 130 after Ctrl-C. `da status` exits with 3 when the mirror is behind and 4
when that can't be determined.

Environment variables override the configuration (`da config show`): `DA_SERVER`, `DA_TOKEN` (or `DA_TOKEN_FILE`),
`DA_LOCAL_DIR` (the folder of the mirror) and `DA_CONFIG_DIR`. States are colored in a terminal; `NO_COLOR` turns colors off,
`FORCE_COLOR` on. Times are shown in the zone of the machine; JSON has them in UTC.

`--json` prints a document whose shape is documented by a [JSON schema](../da/schemas) per command. The schemas of answers of
the server are open: a newer server may add properties.

`da --install-completion` adds completion of commands, options and tables to bash, zsh, fish or PowerShell.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    root = typer.main.get_command(app)
    return "\n".join([_HEAD, *_sections(root, root.make_context("da", [], resilient_parsing=True), ("da",))])


def _sections(command: Any, context: Any, path: tuple[str, ...]) -> Iterator[str]:
    if hasattr(command, "panels"):
        for title, names in command.panels(context).items():
            if len(path) == 1:
                yield f"## {title}\n"
            for name in names:
                yield from _sections(command.get_command(context, name), context, (*path, name))
        return
    arguments = [each.make_metavar(context) for each in command.params if each.param_type_name == "argument"]
    text, examples = texts_of(command)
    yield f"### `{' '.join([*path, *arguments])}`\n"
    yield f"{_paragraphs(text)}\n"
    options = [each for each in command.params if each.param_type_name == "option" and each.help and not each.hidden]
    options = [each for each in options if "--verbose" not in each.opts]
    if options:
        yield "| option | meaning |\n|---|---|"
        yield from (_row(each, context, path) for each in options)
        yield ""
    yield f"```sh\n{examples}\n```\n"


def _row(option: Any, context: Any, path: tuple[str, ...]) -> str:
    names, meaning = (" ".join(text.split()).replace("|", "\\|") for text in option.get_help_record(context))
    schema = SCHEMAS / f"{'.'.join(path[1:])}.json"
    if "--json" in option.opts and schema.exists():
        meaning = f"{meaning} [Schema](../da/schemas/{schema.name})"
    return f"| `{names}` | {meaning} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(" ".join(part.split()), 120) for part in text.split("\n\n"))


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
