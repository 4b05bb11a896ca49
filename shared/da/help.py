"""The help of commands, and what is said about a wrong call.

A command's docstring is its help. A last paragraph `Examples:` is printed as it stands, below the options.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from da.errors import UsageError

_EXAMPLES = "\nExamples:\n"
_TEXTS = frozenset({"str", "text", "path", "file"})
_KINDS = {"integer": "a whole number", "int": "a whole number", "float": "a number", "date": "a date"}


class _Helping:
    """Help with examples, and an option `-v` for every command."""

    help: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """Write the help without its examples."""
        text, _ = texts_of(self)
        if text:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(text)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """Write the examples, line by line."""
        _, examples = texts_of(self)
        if examples:
            with formatter.section("Examples"):
                for line in examples.splitlines():
                    formatter.write(f"  {line}\n")


class Command(_Helping, TyperCommand):
    """A command."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for parameter in self.params:
            _describe(parameter)
        self.params.append(_verbose())


class Group(_Helping, TyperGroup):
    """A group of commands. Its help lists them by their panels, and a misspelt name is answered with the nearest."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, each with the first sentence of its help."""
        for title, names in self.panels(ctx).items():
            with formatter.section(title):
                formatter.write_dl([(name, summary_of(self.get_command(ctx, name))) for name in names])

    def panels(self, ctx: Any) -> dict[str, list[str]]:
        """Return the visible commands by the title of their panel, in order."""
        panels: dict[str, list[str]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append(name)
        return panels

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.params.append(_verbose())

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """List the commands in the order in which they were added."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command.

        Raises:
            UsageError: there is none with this name.
        """
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        path = ctx.command_path
        near = self.elsewhere(ctx, name) or get_close_matches(name, self._visible(ctx), n=2, cutoff=0.6)
        near = [f"{path} {each}" for each in near]
        hint = f"; did you mean '{_listed(near)}'?" if near else ""
        raise UsageError(f"there is no command '{path} {name}'{hint}\nTo list all commands, run: {path} --help")

    def elsewhere(self, ctx: Any, name: str) -> list[str]:  # noqa: ARG002 - for groups that know others
        """Return commands of other groups with this name."""
        return []

    def _visible(self, ctx: Any) -> list[str]:
        return [name for names in self.panels(ctx).values() for name in names]


class Commands(typer.Typer):
    """A group of commands that prints its help if no command is given."""

    def __init__(self, help: str | None = None, **more: Any) -> None:  # noqa: A002 - typer's name
        options: dict[str, Any] = {"cls": Group, "no_args_is_help": True, "add_completion": False, **more}
        if help is not None:
            options["help"] = help
        super().__init__(rich_markup_mode=None, **options)

    def command(self, name: str | None = None, *, cls: Any = Command, **more: Any) -> Callable[[Any], Any]:
        """Add a command."""
        return super().command(name, cls=cls, **more)


def texts_of(command: Any) -> tuple[str, str]:
    """Return the help of a command, and its examples."""
    text, _, examples = f"\n{inspect.cleandoc(command.help or '')}\n".partition(_EXAMPLES)
    return text.strip(), inspect.cleandoc(examples).strip("\n")


def summary_of(command: Any) -> str:
    """Return the first sentence of a command's help."""
    return " ".join(texts_of(command)[0].partition("\n\n")[0].split())


def wrong_call(error: Any) -> str:
    """Say what is wrong with a call that the parser refuses."""
    context = getattr(error, "ctx", None)
    hint = f"\nFor help, run: {context.command_path} --help" if context else ""
    return f"{_wrong(error)}{hint}"


def _wrong(error: Any) -> str:
    kind, message = type(error).__name__, str(error.format_message()).rstrip(".")
    parameter = getattr(error, "param", None)
    if kind == "NoSuchOption":
        names = [name for each in error.ctx.command.params for name in (*each.opts, *each.secondary_opts)]
        long = {name.removeprefix("--"): name for name in names if name.startswith("--")}
        near = [long[each] for each in get_close_matches(error.option_name.lstrip("-"), long, n=2, cutoff=0.6)]
        hint = f"; did you mean '{_listed(near)}'?" if near else ""
        return f"there is no option '{error.option_name}'{hint}"
    if message.startswith("Got unexpected extra argument"):
        return f"unexpected argument '{message.rpartition('(')[2].rstrip(')')}'; put text with spaces in quotes"
    if parameter is None:
        return f"{message[:1].lower()}{message[1:]}"
    name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.make_metavar(error.ctx)
    if kind == "MissingParameter":
        what = "the option" if parameter.param_type_name == "option" else "the argument"
        return f"{what} '{name.strip('[]')}' is missing: {(parameter.help or '').rstrip('.')}"
    return f"the value of '{name}' is not valid: {_expected(parameter.type, str(error.message).rstrip('.'))}"


def _expected(kind: Any, message: str) -> str:
    """Say which values a parameter accepts, in words."""
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    noun = next((noun for name, noun in _KINDS.items() if str(kind.name).startswith(name)), None)
    if noun is None:
        return message
    given = message.partition(" is not ")[0]
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
    return f"{given} is not {noun}{bounds}"


def _describe(parameter: Any) -> None:
    """Describe a parameter in words instead of by the name of its type and an inequality."""
    kind = parameter.type
    if kind.name in _TEXTS and parameter.param_type_name == "option":
        parameter.metavar = parameter.metavar or parameter.name.upper()
    if not str(getattr(kind, "name", "")).startswith(("int", "float")):
        return
    parameter.metavar = parameter.metavar or "N"
    if getattr(kind, "min", None) is not None:
        words = f"at least {kind.min}" if kind.max is None else f"{kind.min} to {kind.max}"
        kind._describe_range = lambda: words  # noqa: SLF001 - there is no public way to word it


def _listed(names: list[str]) -> str:
    return "' or '".join(names)


def _verbose() -> TyperOption:
    return TyperOption(
        param_decls=["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_be_verbose,
        help="Print each request, and the traceback of an internal error.",
    )


def _be_verbose(context: Any, parameter: Any, value: bool) -> None:  # noqa: ARG001 - click's signature
    if value and not context.resilient_parsing:
        os.environ["DA_VERBOSE"] = "1"


def walked(root: Any, context: Any, names: list[str]) -> Iterator[tuple[Any, Any]]:
    """Yield each command on the path of names below a group, with a context for its help.

    Raises:
        UsageError: a name is not that of a command.
    """
    command = root
    for name in names:
        if not hasattr(command, "resolve_command"):
            raise UsageError(f"'{context.command_path}' has no commands; for its help, run: da help {names[0]}")
        _, command, _ = command.resolve_command(context, [name])
        context = type(context)(command, info_name=name, parent=context)
        yield command, context
