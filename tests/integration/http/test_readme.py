"""The steps of README.md to one's own data, as they stand, without Docker."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.processes import Host, free_port, wait_for
from tests.readme import clone, shell, steps

HEADING = "Your own data"

pytestmark = pytest.mark.slow


def test_the_steps_work_as_written_with_make_dev(tmp_path: Path) -> None:
    files = tmp_path / "files of mine"
    files.mkdir()
    (files / "orders.csv").write_text("id,total\n1,1.50\n2,NA\n")
    (files / "customers.csv").write_text("id,name\n1,Ada\n")
    project, port = clone(tmp_path / "project"), free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DA_", "MAKE"))}
    environ |= {"DA_CONFIG_DIR": str(tmp_path / "config"), "NO_PROXY": "localhost"}
    prepare, _compose, *rest = steps(HEADING)
    shell(project, prepare, environ=environ, port=port, files=Path(str(files).replace(" ", "\\ ")))
    server = subprocess.Popen(
        ["make", "dev", f"PORT={port}"], cwd=project, env=environ, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(Host(f"http://localhost:{port}"), server, "/api/health")
        path = f'export PATH="{project}/.venv/bin:$PATH"'
        shown = shell(project, path, *rest, environ=environ, port=port, files=files)
        assert "shop.orders: ok, 2 rows" in shown
        assert re.search(r"^ *│? *2 *│?$", shown, re.MULTILINE), shown  # the count of the query
        _second_source(project, environ, port, path)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _second_source(project: Path, environ: dict[str, str], port: int, path: str) -> None:
    """Another source beside the first is what README says: another folder, and nothing of the first changes."""
    (project / "sources" / "erp").mkdir()
    (project / "sources" / "erp" / "orders.csv").write_text("id\n7\n")
    more = "da admin add-source erp --path sources/erp; da admin sync; cd analysis; da sync; da query 'from erp_orders'"
    shown = shell(project, path, more, environ=environ, port=port, files=project)
    assert "shop.orders: unchanged" in shown
    assert "erp.orders: ok, 1 rows" in shown or "erp.orders: ok, 1 row" in shown
