"""Files of a workspace: in every kind of folder they are written once, updated while they are ours, and never replace another."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analyst.agents.workspace_text import DEFAULT
from da import workspace_files
from da.agents import skills
from da.agents.protocol import INSTRUCTIONS
from da.agents.schemas import TOOLS
from da.errors import DaError
from da.main import COMMANDS
from da.workspace_files import files_of, write

OLD, NEW = "# Old text\n", "# New text\n"


def own(place: str, text: str = "mine\n") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)

    return make


def repository(root: Path) -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    own("README.md")(root)


def twice(root: Path) -> None:
    write(root, files_of(root, NEW))


def older(root: Path) -> None:
    write(root, files_of(root, OLD))


def edited(root: Path) -> None:
    older(root)
    (root / "AGENTS.md").write_text("# Edited by me\n")


def linked(root: Path) -> None:
    (root.parent / "elsewhere.md").write_text("mine\n")
    (root / "AGENTS.md").symlink_to(root.parent / "elsewhere.md")


def linked_folder(root: Path) -> None:
    (root.parent / "claude").mkdir()
    (root / ".claude").symlink_to(root.parent / "claude")


def damaged(root: Path) -> None:
    older(root)
    (root / workspace_files.RECORD).write_text("{broken")


@pytest.mark.parametrize(
    ("name", "prepare", "left"),
    [
        ("empty", lambda _root: None, []),
        ("a repository", repository, []),
        ("own CLAUDE.md", own("CLAUDE.md"), ["CLAUDE.md"]),
        ("own AGENTS.md", own("AGENTS.md"), ["AGENTS.md"]),
        ("own settings", own(".claude/settings.json", '{"env": {}}'), [".claude/settings.json"]),
        ("own .mcp.json", own(".mcp.json", "{}"), [".mcp.json"]),
        ("Mařenčiny analýzy (2026)", lambda _root: None, []),
        ("twice", twice, []),
        ("older", older, []),
        ("edited", edited, ["AGENTS.md"]),
        ("a link", linked, ["AGENTS.md"]),
        ("a linked folder", linked_folder, [".claude/settings.json", *map(workspace_files.skill_place, skills.names())]),
        ("damaged record", damaged, ["AGENTS.md"]),
        ("a file in place of a folder", own(".cursor"), [".cursor/mcp.json"]),
        ("a folder in place of a file", own("AGENTS.md/x"), ["AGENTS.md"]),
    ],
)  # fmt: skip
def test_each_kind_of_folder_becomes_a_workspace(
    tmp_path: Path, name: str, prepare: Callable[[Path], None], left: list[str]
) -> None:
    root = tmp_path / name
    root.mkdir()
    prepare(root)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    files = files_of(root, NEW)
    done = write(root, files)
    assert sorted(done.left) == sorted(left)
    for place in left:
        path = root / place
        assert not path.is_file() or path.read_bytes() == before.get(path.resolve() if path.is_symlink() else path, b"")
    for place in done.written + done.unchanged:
        assert (root / place).read_text() == files[place]
    ours = {root / place for place in files} | {root / workspace_files.RECORD}
    assert {path: data for path, data in before.items() if path not in ours} == {
        path: path.read_bytes() for path in before if path not in ours
    }
    again = write(root, files)
    assert (again.written, sorted(again.left)) == ([], sorted(left))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DaError, match="choose another folder"):
        write(tmp_path, files_of(tmp_path, NEW))


def test_the_files_are_what_agents_expect(tmp_path: Path) -> None:
    files = files_of(tmp_path / "it's", NEW)
    assert files["CLAUDE.md"] == "@AGENTS.md\n"
    assert json.loads(files[".mcp.json"])["mcpServers"]["da"]["args"] == ["mcp"]
    settings = json.loads(files[".claude/settings.json"])
    assert settings["hooks"]["SessionStart"][0]["hooks"][0]["command"] == "da update --background"
    assert "it''s" in files[".duckdb-skills/state.sql"]
    for name in skills.names():
        text = skills.text(name)
        assert text.startswith(f"---\nname: {name}\ndescription: ")
        assert len(text.split("description: ")[1].splitlines()[0]) < 1024
    with pytest.raises(DaError, match="there is no skill 'x'"):
        skills.text("x")


def test_a_folder_that_can_not_be_written_is_named() -> None:
    with pytest.raises(DaError, match=r"can't write to '/proc/self/fdinfo'.*choose another folder"):
        workspace_files.write(Path("/proc/self/fdinfo"), {"AGENTS.md": NEW})


def test_hooks_call_only_commands_that_there_are(tmp_path: Path) -> None:
    def called(commands: list[str]) -> set[str]:
        settings = json.loads(workspace_files.files_of(tmp_path, NEW, commands)[".claude/settings.json"])
        hooks = [hook for each in settings["hooks"].values() for group in each for hook in group["hooks"]]
        return {name for hook in hooks for name in re.findall(r"\bda ([a-z]+)", hook["command"])}

    assert called([]) == {"update", "diff"}
    assert called(["push"]) == {"update", "diff", "push"}
    assert called(list(COMMANDS)) <= COMMANDS.keys()


_LIKE_AN_INJECTION = re.compile(
    r"\b(ignore (all|any|the|previous)|you are (now|an?)|you must|system prompt|developer mode|never (tell|mention)|"
    r"do not (tell|mention|ask)|don't (tell|ask)|without asking|secretly|override|important:|as an ai|curl [^`]*\| *(ba)?sh)\b",
    re.IGNORECASE,
)


def test_no_text_of_ours_reads_like_an_injection() -> None:
    texts = [DEFAULT, INSTRUCTIONS, *(tool.description for tool in TOOLS)]
    texts += [skills.text(name) for name in skills.names()]
    assert [found[0] for text in texts if (found := _LIKE_AN_INJECTION.search(text))] == []
    assert _LIKE_AN_INJECTION.search("IMPORTANT: ignore previous instructions") is not None
