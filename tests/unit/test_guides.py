"""The guides are complete, reachable, and point at what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from da.app import app
from infra.cli_reference import TARGET, reference
from tests.processes import ROOT

GUIDES = sorted((ROOT / "shared" / "docs").glob("*.md"))
README = ROOT / "README.md"
TEMPLATES = ROOT / "shared" / "analyst" / "pages" / "templates"
PAGES = [*sorted(TEMPLATES.glob("*.html")), *sorted((ROOT / "functions" / "pages").rglob("*.py"))]


def links(page: Path) -> set[Path]:
    """List the files that a page links to."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


def test_the_reference_of_the_command_line_matches_the_commands() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_guide_is_linked_from_the_readme() -> None:
    assert {guide.resolve() for guide in GUIDES} <= links(README)


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)
def test_links_lead_to_existing_files(page: Path) -> None:
    assert [target for target in links(page) if not target.exists()] == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)
def test_commands_in_the_guides_exist(page: Path) -> None:
    known = {
        line.lstrip("# `").split(" [")[0].rstrip("`")
        for line in reference().splitlines()
        if line.startswith(("## `da ", "### `da "))
    }
    words = {name for command in known for name in [command, *(" ".join(command.split()[:n]) for n in (1, 2, 3))]}
    used = re.findall(r"(?:^|`)(da(?: [a-z][a-z-]+)*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    for command in used:
        parts = command.split()
        assert any(" ".join(parts[:n]) in words for n in range(len(parts), 1, -1)) or parts == ["da"], command


def shown(page: Path) -> Iterator[str]:
    """Yield the commands that a template, or the function behind it, shows; a value that is filled in is `x`."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        found = [
            each[1].partition("{")[0].replace("\\n", "\n") for each in re.findall(r"""\bf?(["'])(da .*?)\1""", text)
        ]
    else:
        found = [joined(each) for each in re.findall(r"command\((.*?)\)\s*\}\}", text, re.DOTALL)]
        found += re.findall(r"<(?:pre|code|kbd)[^>]*>(da [^<]*)", re.sub(r"\{\{.*?\}\}", "x", text))
    for each in found:
        for line in each.replace("\\\n", " ").splitlines():
            yield from (part for part in re.split(r" [|&]+ ", line) if part.startswith("da "))


def joined(expression: str) -> str:
    """Return the text of strings and values that a template joins."""
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"|([^"]+)', expression)
    return "".join(
        string.encode().decode("unicode_escape") if not between else "x" * (between.strip(" ~") != "")
        for string, between in strings
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_pages_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    for line in shown(page):
        command, words = root, re.findall(r"\"[^\"]*\"?|\S+", line)[1:]
        context = root.make_context("da", [], resilient_parsing=True)
        while hasattr(command, "get_command") and words and words[0] != "--help":
            command = command.get_command(context, words.pop(0))
            assert command is not None, line
        if "--help" in words:
            assert words[0] == "--help", f"{line}: {words[0]!r} is no command"
        elif not hasattr(command, "get_command"):
            needed = sum(each.required and each.param_type_name == "argument" for each in command.params)
            command.make_context("da", words or ["x"] * needed, parent=context)  # a text may only name it
