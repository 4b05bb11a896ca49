"""Claude Code itself adds the marketplace, checks and installs the plugin, and updates it when it has changed.

It needs the command `claude` (npm install -g @anthropic-ai/claude-code), and neither an account nor the network.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Host, host

CLAUDE = shutil.which("claude")
NAME = "ai-data-analyst"
SETTINGS = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "GIT_TERMINAL_PROMPT": "0"}

Run = Callable[..., str]


@pytest.fixture
def claude(tmp_path: Path) -> Run:
    if CLAUDE is None:
        pytest.skip("claude is not installed: npm install -g @anthropic-ai/claude-code")
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments: str) -> str:
        environ = {**os.environ, **SETTINGS, "HOME": str(home)}
        ran = subprocess.run(
            [str(CLAUDE), *arguments], cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def installed(claude: Run, server: Host, address: str) -> None:
    claude("plugin", "marketplace", "add", f"{server.url}{address}")
    claude("plugin", "install", f"da@{NAME}")
    assert f"da@{NAME}" in claude("plugin", "list")
    assert f"{server.url}/mcp" in claude("mcp", "list")


@pytest.mark.parametrize("address", ["/agents/plugin.git", "/.claude-plugin/marketplace.json"])
def test_claude_code_installs_the_plugin(claude: Run, tmp_path: Path, address: str) -> None:
    with host(tmp_path, PROFILE_AFTER_SYNC="false") as server:
        installed(claude, server, address)
        if address.endswith(".git"):
            place = tmp_path / "home/.claude/plugins/marketplaces" / NAME
            for path in (place, place / "plugins/da"):
                assert "Validation passed" in claude("plugin", "validate", str(path))
        assert "Successfully" in claude("plugin", "marketplace", "update", NAME)
