"""The official client connects without a token: it is told where to sign in, registers, and the user consents."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analyst.auth import sessions
from analyst.auth.keys import Keys
from tests.processes import ROOT, host

PYTHON = ROOT / ".venv-agents/bin/python"
SECRET = "s" * 40


def test_the_official_client_signs_in_and_calls_a_tool(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip(".venv-agents is not there; make e2e makes it")
    (tmp_path / "files").mkdir()
    (tmp_path / "files/orders.csv").write_text("id\n1\n2\n")
    with host(tmp_path, SECRET_KEY=SECRET, PROFILE_AFTER_SYNC="false") as server:
        token = server.bootstrap()
        config = {"type": "csv", "config": {"path": str(tmp_path / "files")}}
        server.ask("POST", "/api/admin/sources/shop", config, token=token)
        server.ask("POST", "/extract/csv", {"source": "shop"}, token=token)
        now = datetime.now(UTC)
        user = str(server.ask("GET", "/api/me", token=token)[1]["user_id"])
        cookie = f"da_session={sessions.for_browser(Keys([SECRET.encode()]), sessions.begin(user, now), now)}"
        script = str(Path(__file__).with_name("oauth_client.py"))
        ran = subprocess.run(
            [PYTHON, script, f"{server.url}/mcp", cookie], capture_output=True, text=True, timeout=120, check=False
        )
    assert ran.returncode == 0, ran.stderr[-3000:]
    made = json.loads(ran.stdout.splitlines()[-1])
    assert made["rows"] == [[2]]
    assert "query" in made["tools"]
    assert set(made["scope"].split()) <= {"read", "query", "sync"}
