"""`da setup` and the functions together: a first installation that is interrupted and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.processes import BIN, ROOT, Host, free_port, run_da

pytestmark = [pytest.mark.server, pytest.mark.slow]


class Installation:
    """The project's folder of somebody who has just got it, and their commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.server = Host(f"http://localhost:{self.port}")
        (folder / "sources" / "shop").mkdir(parents=True)
        (folder / "sources" / "shop" / "orders.csv").write_text("id,total\n1,1.50\n2,2.50\n")
        shutil.copy(ROOT / "docker-compose.yml", folder)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("DA_")}
        self.environ = {**outside, "DA_CONFIG_DIR": str(folder / ".config")}

    def setup(self, *options: str, code: int, stdin: str = "", only_stdout: bool = False) -> str:
        """Run it to the end; return what it printed, by default with errors."""
        command = [str(BIN / "da"), "setup", *options]
        ran = subprocess.run(
            command, cwd=self.folder, env=self.environ, input=stdin, capture_output=True, text=True, check=False
        )
        assert ran.returncode == code, (ran.stdout, ran.stderr)
        return ran.stdout if only_stdout else ran.stdout + ran.stderr

    def da(self, *arguments: str, cwd: str = ".") -> str:
        """Run another command, which must succeed."""
        ran = run_da(*arguments, environ=self.environ, cwd=self.folder / cwd)
        assert ran.returncode == 0, (ran.stdout, ran.stderr)
        return ran.stdout

    def begin(self, *options: str) -> subprocess.Popen[str]:
        """Run it, to be interrupted."""
        return subprocess.Popen(
            [str(BIN / "da"), "setup", *options],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def make_dev(self) -> subprocess.Popen[bytes]:
        """Start the functions as it is told to."""
        script, place = str(ROOT / "infra" / "dev.py"), str(self.folder / ".dev")
        command = [sys.executable, script, "--port", str(self.port), "--place", place]
        plain = {"PATH": os.environ["PATH"]}
        return subprocess.Popen(command, cwd=self.folder, env=plain, stdout=subprocess.DEVNULL)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Query the mirror with DuckDB itself."""
        with duckdb.connect(self.folder / "analysis/user/duckdb/analytics.duckdb", read_only=True) as connection:
            return connection.sql(sql).fetchall()

    def rows(self) -> list[tuple[object, ...]]:
        """Count what the first source has."""
        return self.query("select count(*), sum(total) from orders")


def test_a_first_installation_resumes_wherever_it_stopped(tmp_path: Path) -> None:
    at = Installation(tmp_path / "project")

    assert "give --source" in at.setup(code=2, stdin="example.com\n\nann@example.com\n")
    assert f"make dev PORT={at.port}" in at.setup("--yes", "--server", at.server.url, code=1)

    waiting = at.begin("--wait", "600")
    assert waiting.stdout is not None
    assert any("Waiting for it" in line for line in waiting.stdout)
    waiting.send_signal(signal.SIGINT)
    _, output = waiting.communicate(timeout=60)
    assert (waiting.returncode, "run da setup again" in output) == (130, True)

    with at.make_dev() as functions:
        try:
            printed = at.setup("--wait", "300", code=0)
            assert "Created the first administrator ann@example.com and logged in." in printed
            assert "shop.orders: ok, 2 rows" in printed
            assert at.rows() == [(2, 4.0)]

            (at.folder / "sources" / "erp").mkdir()
            (at.folder / "sources" / "erp" / "orders.csv").write_text("id\n7\n")
            at.da("admin", "add-source", "erp", "--path", "erp")
            at.da("admin", "sync", "erp")
            assert at.da("sync", cwd="analysis")
            assert at.rows() == [(2, 4.0)]
            assert at.query("select id from erp_orders") == [(7,)]

            saved, memory = at.folder / ".config/token.json", at.folder / ".setup.json"
            token = json.loads(saved.read_text())["token"]
            saved.unlink()  # as if it had died before the answer came
            memory.write_text(json.dumps({**json.loads(memory.read_text()), "token": token}))
            assert "Created the first administrator ann@example.com" in at.setup(code=0)
            assert json.loads(saved.read_text())["token"] == token

            assert json.loads(at.setup("--json", code=0, only_stdout=True)) == {
                "folder": str(at.folder),
                "workspace": str(at.folder / "analysis"),
                "is_complete": True,
            }

            settings = at.server.ask("GET", "/api/admin/config", token=token)[1]["settings"]
            found = {setting["name"]: (setting["value"], setting["origin"]) for setting in settings}
            assert found["allowed_domains"] == (["example.com"], "file")
            assert found["source_roots"] == ([str(at.folder / "sources")], "environment")
        finally:
            functions.terminate()
