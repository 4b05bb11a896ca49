"""The files that make a folder a workspace for AI agents.

A file is written if it does not exist, or if it still is what was written last (`.da/agent_files.json` has the hashes). All
others belong to the person: they stay as they are, and the new text is put into `.da/agent_files/` beside them.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from da.agents import skills
from da.atomic import write_atomically
from da.errors import DaError, cause_of
from da.sql import quote_text

RECORD: Final = ".da/agent_files.json"
ASIDE: Final = ".da/agent_files"

_SETTINGS: Final[Mapping[str, Any]] = {
    "permissions": {
        "allow": ["Bash(da query *)", "Bash(da tables *)", "Bash(da explore *)", "Bash(da metrics *)", "mcp__da__*"],
        "deny": ["Edit(./server/**)", "Edit(./.da/**)"],
    },
    "hooks": {
        "SessionStart": [
            {
                "hooks": [
                    {"type": "command", "command": "da update --background", "timeout": 10},
                    {"type": "command", "command": "da diff --since yesterday", "timeout": 20},
                ]
            },
        ],
    },
}
_HAND_IN: Final = 'cd "${CLAUDE_PROJECT_DIR:-.}" && [ -f CLAUDE.local.md ] && mkdir -p .da && nohup da push </dev/null >.da/push.log 2>&1 &'
"""In the background: agents end hooks after a moment when a session ends. The session may have moved to another folder."""

_SERVERS: Final[Mapping[str, Any]] = {"mcpServers": {"da": {"type": "stdio", "command": "da", "args": ["mcp"]}}}


@dataclass(slots=True)
class Written:
    """What was done: files that were written, that were left, because they are the person's, and that did not change."""

    written: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def files_of(
    root: Path, agents_md: str, commands: Collection[str] = (), marketplace: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the files of a workspace by their place in it.

    `commands` are those of this `da`: hooks call no others. The `marketplace` of the server is known in the workspace by its
    name and URL; its plugin is for other folders, and is not enabled, because the workspace has all that it has.
    """
    database = (root / "user" / "duckdb" / "analytics.duckdb").as_posix()
    made = {
        "AGENTS.md": agents_md,
        "CLAUDE.md": "@AGENTS.md\n",
        ".claude/settings.json": _json(_settings(commands, marketplace)),
        ".mcp.json": _json(_SERVERS),
        ".cursor/mcp.json": _json({"mcpServers": {"da": {"command": "da", "args": ["mcp"]}}}),
        ".duckdb-skills/state.sql": f"attach if not exists {quote_text(database)} as da (read_only);\nuse da;\n",
        "server/.gitignore": "*\n",
        ".da/.gitignore": "*\n",
    }
    return {**made, **{skill_place(name): skills.text(name) for name in skills.names()}}


def _settings(commands: Collection[str], marketplace: Mapping[str, str] | None) -> dict[str, Any]:
    hooks = dict(_SETTINGS["hooks"])
    if "push" in commands:
        hooks["SessionEnd"] = [{"hooks": [{"type": "command", "command": _HAND_IN, "timeout": 10}]}]
    known = {marketplace["name"]: {"source": {"source": "git", "url": marketplace["url"]}}} if marketplace else {}
    return {**_SETTINGS, "hooks": hooks, **({"extraKnownMarketplaces": known} if known else {})}


def skill_place(name: str) -> str:
    """Return the path of a skill in a workspace."""
    return f".claude/skills/{name}/SKILL.md"


def write(root: Path, files: Mapping[str, str]) -> Written:
    """Write files, and leave those of the person.

    Raises:
        DaError: the folder is not writable.
    """
    record, done = _recorded(root), Written()
    try:
        for place, text in files.items():
            _write(root, place, text, record, done)
        (root / ".da").mkdir(parents=True, exist_ok=True)
        write_atomically(root / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise DaError(f"can't write to '{root}': {cause_of(error)}; choose another folder") from None
    return done


def _write(root: Path, place: str, text: str, record: dict[str, str], done: Written) -> None:
    path = root / place
    if leads_elsewhere(root, path):
        done.left.append(place)
        return
    found = (
        _hash(path.read_bytes().replace(b"\r\n", b"\n")) if path.is_file() else None
    )  # Git on Windows changes the ends
    wanted = _hash(text.encode())
    if found == wanted:
        record[place] = wanted
        done.unchanged.append(place)
    elif path.exists() and (found is None or found != record.get(place)):
        aside = root / ASIDE / place
        aside.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(aside, text)
        done.left.append(place)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
        record[place] = wanted
        done.written.append(place)


def leads_elsewhere(root: Path, path: Path) -> bool:
    """Return whether a link, or a file in place of a folder, is on the way: what is behind it is not ours."""
    for part in (path, *path.parents):
        if part == root:
            return False
        if part.is_symlink() or (part != path and part.exists() and not part.is_dir()):
            return True
    return False


def _recorded(root: Path) -> dict[str, str]:
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(place): str(sha256) for place, sha256 in found.items()} if isinstance(found, dict) else {}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def is_writable(root: Path) -> bool:
    """Return whether files can be made in a folder that exists."""
    return os.access(root, os.W_OK | os.X_OK)
