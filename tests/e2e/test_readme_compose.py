"""The steps of README.md to one's own data, as they stand, with Docker Compose."""

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.test_compose import COMPOSE, ends_well
from tests.processes import Host, free_port
from tests.readme import clone, shell, steps

pytestmark = pytest.mark.skipif(not ends_well("docker", "info"), reason="no Docker daemon answers")


@pytest.mark.parametrize("compose", COMPOSE)
def test_the_steps_work_as_written_with_compose(tmp_path: Path, compose: str) -> None:
    if not ends_well(*COMPOSE[compose], "version"):
        pytest.skip(f"{compose} is not installed")
    tmp_path.chmod(0o755)  # the container's user is another one
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "orders.csv").write_text("id,total\n1,1.50\n2,NA\n")
    (tmp_path / "files" / "customers.csv").write_text("id,name\n1,Ada\n")
    project, port = clone(tmp_path / f"da-readme-{uuid4().hex[:8]}"), free_port()
    project.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DA_", "MAKE"))}
    environ |= {
        "DA_CONFIG_DIR": str(tmp_path / "config"),
        "NO_PROXY": "localhost",
        "COMPOSE_PROJECT_NAME": project.name,
    }
    prepare, up, *rest = steps("Your own data")
    shell(
        project, prepare, f"sed -i 's/^PORT=$/PORT={port}/' .env", environ=environ, port=port, files=tmp_path / "files"
    )
    try:
        shell(project, up.replace("docker compose", compose), environ=environ, port=port, files=project)
        _wait(Host(f"http://localhost:{port}"))
        path = f'export PATH="{project}/.venv/bin:$PATH"'
        shown = shell(project, path, *rest, environ=environ, port=port, files=project)
        assert "shop.orders: ok, 2 rows" in shown
        second = "mkdir sources/erp; echo id > sources/erp/orders.csv; echo 7 >> sources/erp/orders.csv"
        more = "da admin add-source erp --path sources/erp; da admin sync; cd analysis; da sync; da query 'from erp_orders'"
        shown = shell(project, path, second, more, environ=environ, port=port, files=project)
        assert "shop.orders: unchanged" in shown
        assert "erp.orders: ok, 1 row" in shown
    finally:
        command = [*COMPOSE[compose], "down", "--volumes", "--remove-orphans"]
        subprocess.run(command, cwd=project, env=environ, capture_output=True, check=False, timeout=300)


def _wait(server: Host) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if server.ask("GET", "/api/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("nothing answers")
