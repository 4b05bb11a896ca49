"""Files of a workspace: in every kind of folder they are written once, updated while they are ours, and never replace another."""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from analyst.agents import plugin
from analyst.agents.workspace_text import DEFAULT
from da import workspace_files
from da.agents import skills
from da.agents.protocol import INSTRUCTIONS
from da.agents.schemas import TOOLS
from da.app import COMMANDS
from da.errors import DaError
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


def windows_ends(root: Path) -> None:
    older(root)
    for path in root.rglob("*.md"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


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
        ("own hooks", own(".claude/settings.json", '{"hooks": {"SessionStart": []}}'), [".claude/settings.json"]),
        ("own local settings", own(".claude/settings.local.json", "{}"), []),
        ("Windows line ends", own("CLAUDE.md", "mine\r\n"), ["CLAUDE.md"]),
        ("older, with Windows line ends", windows_ends, []),
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
        assert (root / place).read_text() == files[place]  # with any ends of lines
    ours = {root / place for place in files} | {root / workspace_files.RECORD}
    assert {path: data for path, data in before.items() if path not in ours} == {
        path: path.read_bytes() for path in before if path not in ours
    }
    again = write(root, files)
    assert (again.written, sorted(again.left)) == ([], sorted(left))


def test_a_folder_behind_a_link_becomes_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = tmp_path / "link"
    done = write(root, files_of(root, NEW))
    assert (done.left, (tmp_path / "real/AGENTS.md").read_text()) == ([], NEW)
    assert write(tmp_path / "real", files_of(root, NEW)).written == []


def hook_lines(settings: str) -> dict[str, list[str]]:
    hooks = json.loads(settings)["hooks"]
    return {event: [hook["command"] for group in groups for hook in group["hooks"]] for event, groups in hooks.items()}


@pytest.mark.parametrize("folder", ["plain", 'it\'s "quoted" $HOME `x` (2026) žluť', "-n"])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_hooks_run_in_any_folder(tmp_path: Path, folder: str, shell: str) -> None:
    root, tools, log = tmp_path / folder, tmp_path / "bin", tmp_path / "calls"
    inner = root / "deep er"
    inner.mkdir(parents=True)
    tools.mkdir()
    (tools / "da").write_text(f'#!/bin/sh\necho "$PWD|$*" >> {shlex.quote(str(log))}\n')
    (tools / "da").chmod(0o755)
    write(root, files_of(root, NEW, ["push"]))
    environ = {"PATH": f"{tools}:/usr/bin:/bin", "CLAUDE_PROJECT_DIR": str(root)}

    def run(line: str) -> list[str]:
        log.write_text("")
        command = [shell, "-c", f"{line}\nwait"]
        ran = subprocess.run(
            command, cwd=inner, env=environ, input="{}", capture_output=True, text=True, check=False, timeout=30
        )
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        return log.read_text().splitlines()

    lines = hook_lines((root / ".claude/settings.json").read_text())
    assert [run(line)[0].split("|")[1] for line in lines["SessionStart"]] == [
        "update --background",
        "diff --since yesterday",
    ]
    [hand_in] = lines["SessionEnd"]
    assert run(hand_in) == []
    (root / "CLAUDE.local.md").write_text("- a note\n")
    assert run(hand_in) == [f"{root}|push"]
    assert (root / ".da/push.log").read_text() == ""
    of_plugin = hook_lines(plugin.repository("Acme", "https://x").files["plugins/da/hooks/hooks.json"])
    assert [run(line) for line in of_plugin["SessionStart"]] == [
        [f"{root}|update --background"],
        [f"{root}|diff --since yesterday"],
    ]
    environ["CLAUDE_PROJECT_DIR"] = str(tmp_path)  # no workspace
    assert [run(line) for line in of_plugin["SessionStart"]] == [[], []]
    environ |= {"CLAUDE_PROJECT_DIR": str(root), "PATH": "/usr/bin:/bin"}  # da is not installed
    assert [run(line) for line in of_plugin["SessionStart"]] == [[], []]


_AS_NOBODY = """
import os, sys
from pathlib import Path
from da.errors import DaError
from da.workspace_files import write
if os.geteuid() == 0:
    os.setuid(65534)
try:
    write(Path(sys.argv[1]), {"AGENTS.md": "x", "CLAUDE.md": "y"})
except DaError as error:
    print(error)
"""


def test_a_folder_that_is_not_writable_is_a_clear_error() -> None:
    with tempfile.TemporaryDirectory() as folder:  # others must reach it, who can't enter the folders of pytest
        root = Path(folder, "work")
        root.mkdir()
        (root / "CLAUDE.md").write_text("mine")
        Path(folder).chmod(0o755)
        root.chmod(0o555)
        ran = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(root)], capture_output=True, text=True, check=True)
        assert ran.stdout.startswith(f"can't write to '{root}': ")
        assert "choose another folder" in ran.stdout
        assert {path.name: path.read_text() for path in root.iterdir()} == {"CLAUDE.md": "mine"}


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


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DaError, match=r"can't write to '/proc/self/fdinfo'.*choose another folder"):
        workspace_files.write(Path("/proc/self/fdinfo"), {"AGENTS.md": NEW})


def test_hooks_call_only_commands_that_exist(tmp_path: Path) -> None:
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
