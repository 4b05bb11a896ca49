"""Every command of `da` that a text of the project tells people to run exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from da.app import app

ROOT = Path(__file__).parents[2]
COMMAND = typer.main.get_command(app)
CONTEXT = COMMAND.make_context("da", [], resilient_parsing=True)
NAMED = re.compile(r"(?:`|run: |runs: |^ {4}|<code>|<pre>)da ((?:--?)?[a-z-]+(?: [a-z-]+)*)", re.MULTILINE)


def texts() -> Iterator[tuple[str, str, bool]]:
    """Yield texts with their places, and whether they are about whole groups of commands, too, as docstrings are."""
    for folder in ("shared", "functions", "infra"):
        for path in sorted((ROOT / folder).rglob("*")):
            place = str(path.relative_to(ROOT))
            if path.suffix == ".py":
                yield from literals(place, path.read_text())
            elif path.suffix in {".html", ".md"}:
                yield place, path.read_text(), path.suffix == ".md"


def literals(place: str, source: str) -> Iterator[tuple[str, str, bool]]:
    if re.search(r"\bda ", source) is None:  # to parse them all takes seconds
        return
    docs = set()
    for node in ast.walk(ast.parse(source)):  # from the outside in
        if isinstance(node, ast.Expr):
            docs.add(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "da " in node.value:
            yield f"{place}:{node.lineno}", node.value, node in docs


@cache
def found(words: str, *, groups: bool = False) -> bool:
    """Return whether words begin with a command, or with `groups` are a group of them; other words may follow it."""
    command: Any = COMMAND
    for word in words.split():
        if not hasattr(command, "get_command") or word.startswith("-"):
            return True
        command = command.get_command(CONTEXT, word)
        if command is None:
            return False
    return groups or not hasattr(command, "get_command")


def test_every_command_named_in_a_text_exists() -> None:
    named = {(words, place, groups) for place, text, groups in texts() for words in NAMED.findall(text)}
    assert len(named) > 50
    wrong = [f"{place} names 'da {words}'" for words, place, groups in sorted(named) if not found(words, groups=groups)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("words", "exists"),
    [
        ("admin snapshots", False),
        ("admin sources", False),
        ("synk", False),
        ("admin sources list", True),
        ("sync again", True),
        ("--version", True),
    ],
)
def test_commands_in_texts_are_recognized(words: str, exists: bool) -> None:
    assert found(words) is exists


def empty_lists() -> Iterator[tuple[str, str]]:
    """Yield what commands print in place of an empty table, with the places."""
    for path in sorted((ROOT / "shared/da/commands").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "empty":
                values = [node.value]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("print_table"):
                values = [each.value for each in node.keywords if each.arg == "empty"]
            else:
                continue
            for value in values:
                for each in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
                    if isinstance(each, ast.Constant | ast.JoinedStr):
                        yield f"{path.name}:{each.lineno}", ast.unparse(each)


def test_an_empty_list_is_one_message_that_names_the_next_command() -> None:
    messages = dict(empty_lists())
    assert len(messages) > 15
    assert {place: text for place, text in messages.items() if text != "''" and ": da " not in text} == {}
