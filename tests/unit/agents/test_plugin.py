"""The plugin and its marketplace: what Git itself makes of the repository, and names that Claude Code accepts."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.agents import plugin
from analyst.agents.git_repository import Repository
from analyst.errors import InvalidInputError

BASE = "https://data.example.com"
_NAMES = st.text("abcd.-_é 1", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."} and name.strip())


def git(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def unpacked(folder: Path, made: Repository) -> None:
    git(folder, "init", "-q")
    ran = subprocess.run(
        ["git", "index-pack", "--stdin", "--strict"], cwd=folder, input=made.pack, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    git(folder, "fsck", "--strict", "--no-dangling")
    git(folder, "checkout", "-q", made.commit)


def test_git_reads_the_repository(tmp_path: Path) -> None:
    made = plugin.repository("Acme & Söhne", BASE)
    unpacked(tmp_path, made)
    found = {
        path: (tmp_path / path).read_text()
        for path in git(tmp_path, "-c", "core.quotePath=off", "ls-files").split("\n")
        if path
    }
    assert found == made.files
    assert git(tmp_path, "log", "--format=%s").strip() == "Plugin da"


@given(st.dictionaries(st.lists(_NAMES, min_size=1, max_size=3).map(tuple), st.text(), max_size=6))
def test_git_names_the_same_commit(files: dict[tuple[str, ...], str]) -> None:
    paths = {
        "/".join(path): text for path, text in files.items() if not any(path[:n] in files for n in range(1, len(path)))
    }
    made = Repository(paths, "x")
    assert len(made.commit) == 40
    assert Repository(dict(reversed(paths.items())), "x").commit == made.commit
    changed = Repository({**paths, "zz": "new"}, "x")
    assert changed.commit != made.commit


@pytest.mark.parametrize("size", [0, 1, 15, 16, 2047, 2048, 300_000])
def test_objects_of_any_size_are_packed(tmp_path: Path, size: int) -> None:
    made = Repository({"a/b": "x" * size, "a.b": "", "a/c/d": "é", "a-b": "y"}, "sizes")
    unpacked(tmp_path, made)
    assert (tmp_path / "a/b").read_text() == "x" * size


@pytest.mark.parametrize("body", [b"", b"0000", b"nonsense", b"ffff", b"0003x", b"0009done\n", b"00", b"\x00" * 50])
def test_an_invalid_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not a request of git-upload-pack"):
        Repository({"a": ""}, "x").upload(body)


def test_a_request_for_another_commit_is_refused() -> None:
    answer = Repository({"a": ""}, "x").upload(b"0032want " + b"0" * 40 + b"\n" + b"0000" + b"0009done\n")
    assert b"ERR upload-pack: not our ref 000" in answer


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("AI Data Analyst", "ai-data-analyst"),
        ("Acme & Söhne GmbH", "acme-s-hne-gmbh"),
        ("Official Anthropic", "data-of-company"),
        ("claude code plugins", "data-of-code-plugins"),
        ("日本", "data-of-company"),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_marketplace_is_named_after_its_instance(instance: str, name: str) -> None:
    assert plugin.marketplace_name(instance) == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


def test_the_files_are_what_claude_code_reads() -> None:
    made = plugin.repository("Acme", BASE)
    files = {path.removeprefix("plugins/da/"): text for path, text in made.files.items()}
    listed = json.loads(made.files[".claude-plugin/marketplace.json"])
    assert (listed["name"], listed["owner"], listed["plugins"][0]["source"]) == (
        "acme",
        {"name": "Acme"},
        "./plugins/da",
    )
    assert json.loads(files[".claude-plugin/plugin.json"])["name"] == "da"
    assert json.loads(files[".mcp.json"])["mcpServers"]["da"] == {"type": "http", "url": f"{BASE}/mcp"}
    assert files["skills/explore-data/SKILL.md"].startswith("---\nname: explore-data\n")
    pinned = plugin.marketplace("Acme", made, f"{BASE}/agents/plugin.git")["plugins"][0]["source"]
    assert pinned == {
        "source": "git-subdir",
        "url": f"{BASE}/agents/plugin.git",
        "path": "plugins/da",
        "sha": made.commit,
    }
