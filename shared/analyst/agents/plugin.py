"""The plugin for Claude Code, with the marketplace that offers it: skills, hooks, and this server as an MCP server.

It is the same for everybody and contains no data: access is decided when its tools are called. It has no
version, so Claude Code uses its commit as the version, and every change is a new one. Source: Claude Code,
'Plugins reference' and 'Marketplace reference'.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from analyst.agents.git_repository import Repository
from da.agents import skills

NAME: Final = "da"
"""The name of the plugin, which people install as `da@<marketplace>`."""

TTL_S: Final = 86_400
"""Seconds for which the definition is valid."""

FOLDER: Final = f"plugins/{NAME}"
_ABOUT: Final = "Company tables and metrics for agents: find, describe, query and verify figures."
_IF_INSTALLED: Final = 'cd "${{CLAUDE_PROJECT_DIR:-.}}" && {{ ! command -v da >/dev/null 2>&1 || [ ! -d .da ] || {}; }}'
"""Hooks run in every folder of a person: they do something only in a workspace of `da`, where it is installed."""

_RESERVED: Final = re.compile(r"claude|anthropic|official")


def marketplace_name(instance: str) -> str:
    """Return the name of the marketplace of an instance: in lower case, with hyphens.

    Claude Code knows one marketplace of each name, and reserves those that look like its maker's.
    """
    name = re.sub(r"[^a-z0-9]+", "-", instance.lower()).strip("-")[:60].strip("-")
    return name if name and not _RESERVED.search(name) else f"data-of-{_RESERVED.sub('', name).strip('-') or 'company'}"


def repository(instance: str, base_url: str) -> Repository:
    """Return the marketplace with the plugin as a Git repository."""
    name = marketplace_name(instance)
    entry = {"name": NAME, "source": f"./{FOLDER}", "description": _ABOUT}
    return Repository(
        {
            ".claude-plugin/marketplace.json": _json(_marketplace(name, instance, entry)),
            **{f"{FOLDER}/{path}": text for path, text in _plugin(base_url).items()},
        },
        f"Plugin {NAME}",
    )


def marketplace(instance: str, made: Repository, git_url: str) -> dict[str, Any]:
    """Return the marketplace file for those who add it by its URL: it names the repository, and pins its commit."""
    source = {"source": "git-subdir", "url": git_url, "path": FOLDER, "sha": made.commit}
    entry = {"name": NAME, "source": source, "description": _ABOUT}
    return _marketplace(marketplace_name(instance), instance, entry)


def _marketplace(name: str, instance: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "owner": {"name": " ".join(instance.split())},
        "metadata": {"description": "Company data for agents."},
        "plugins": [entry],
    }


def _plugin(base_url: str) -> dict[str, str]:
    manifest = {
        "name": NAME,
        "description": _ABOUT,
        "author": {"name": "AI Data Analyst"},
        "license": "MIT",
    }
    commands = (("da update --background", 10), ("da diff --since yesterday", 20))
    hooks = [
        {"type": "command", "command": _IF_INSTALLED.format(command), "timeout": seconds}
        for command, seconds in commands
    ]
    return {
        ".claude-plugin/plugin.json": _json(manifest),
        ".mcp.json": _json({"mcpServers": {"da": {"type": "http", "url": f"{base_url}/mcp"}}}),
        "hooks/hooks.json": _json({"hooks": {"SessionStart": [{"hooks": hooks}]}}),
        "README.md": _README,
        **{f"skills/{name}/SKILL.md": skills.text(name) for name in skills.names()},
    }


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


_README: Final = """\
# da

Skills for company data, and the MCP server that has its tables and metrics.

- `.mcp.json` adds the MCP server. Its first use opens a browser to sign in.
- `skills/` explains how tables are explored and figures verified.
- `hooks/hooks.json` updates the mirror when a session starts in a folder that `da init` has made.

To remove it: `/plugin uninstall da`
"""
