"""The guides are complete, reachable, and point at what is there."""

import re
from pathlib import Path

import pytest

from infra.cli_reference import TARGET, reference
from tests.running import ROOT

GUIDES = sorted((ROOT / "shared" / "docs").glob("*.md"))
README = ROOT / "README.md"


def links(page: Path) -> set[Path]:
    """List the files that a page links to."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


def test_the_reference_of_the_command_line_is_what_the_commands_say() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_guide_is_reached_from_the_readme() -> None:
    assert {guide.resolve() for guide in GUIDES} <= links(README)


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    assert [target for target in links(page) if not target.exists()] == []


def test_the_readme_is_read_in_one_go() -> None:
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
