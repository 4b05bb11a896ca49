"""The scripts that serve and describe all functions."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.running import BOOTSTRAP_SECRET, ROOT, Host, free_port

DEV = ROOT / "infra" / "dev.py"


def dev(place: Path, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, DEV, "--port", str(port), "--place", place],
        cwd=place.parent,
        stdout=subprocess.DEVNULL,  # a pipe that nobody reads would fill up
        text=True,
        env={"PATH": os.environ["PATH"]},
    )


def status(server: Host, path: str, process: subprocess.Popen[str]) -> int:
    while process.poll() is None:
        try:
            return server.ask("GET", path)[0]
        except OSError:
            continue
    raise AssertionError("it has ended")


def test_all_functions_are_served_on_a_bucket_of_their_own_with_secrets_that_stay(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        port = free_port()
        with dev(tmp_path / "dev", port) as process:
            try:
                server = Host(f"http://localhost:{port}")
                assert status(server, "/api/health", process) == 200
                assert status(server, "/docs", process) == 200
            finally:
                process.terminate()
        secrets.append((tmp_path / "dev" / "env").read_text())
    assert secrets[0] == secrets[1]
    assert len({line.split("=")[1] for line in secrets[0].splitlines()}) == 3
    assert stat.S_IMODE((tmp_path / "dev" / "env").stat().st_mode) == 0o600


@pytest.mark.slow
def test_what_the_files_of_the_instance_say_is_taken_as_soon_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "config" / "instance.yaml"
    file.parent.mkdir()
    file.write_text("instance: {name: Example}\n")
    (tmp_path / ".env").write_text(f"# ours\nBOOTSTRAP_SECRET='{BOOTSTRAP_SECRET}'\nSOURCES=./my files # here\nPORT=\n")
    port = free_port()
    server = Host(f"http://localhost:{port}")
    with dev(tmp_path / "dev", port) as process:
        try:
            assert status(server, "/api/health", process) == 200
            token = server.bootstrap()
            assert setting(server, token, "source_roots") == [str(tmp_path / "my files")]
            assert setting(server, token, "instance_name") == "Example"
            file.write_text("instance: {name: Other}\n")
            while setting(server, token, "instance_name") != "Other":
                assert process.poll() is None
        finally:
            process.terminate()


def setting(server: Host, token: str, name: str) -> Any:
    """Tell what a setting is, `None` while nothing answers."""
    try:
        _, answer = server.ask("GET", "/api/admin/config", token=token)
    except OSError:
        return None
    return next(found["value"] for found in answer["settings"] if found["name"] == name)


def test_the_description_of_the_api_is_written_to_a_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "infra" / "openapi.py", tmp_path / "openapi.json"], check=True)
    validate(json.loads((tmp_path / "openapi.json").read_text()))
