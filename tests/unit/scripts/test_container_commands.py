"""The commands that are given to the runtime of containers, which a program in its place writes down."""

import tempfile
from pathlib import Path

import pytest

from analyst.http_client import HttpClient
from analyst.scripts.confinement import Confinement, ConfinementError
from analyst.scripts.relay import Upstream
from analyst.settings import Settings

RUNTIME = """#!/bin/sh
echo "$1 host=$DOCKER_HOST secret=$SECRET_KEY" >> "$(dirname "$0")/commands"
if [ "$1" = ps ]; then echo left; fi
if [ "$1" = run ]; then echo refused >&2; fi
"""


def test_all_commands_reach_the_same_daemon_and_see_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what one daemon runs would be looked for, and ended, at another one."""
    runtime = tmp_path / "docker"
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    for name, value in {"PATH": f"{tmp_path}:/bin", "DOCKER_HOST": "tcp://elsewhere", "SECRET_KEY": "x" * 32}.items():
        monkeypatch.setenv(name, value)
    with tempfile.TemporaryDirectory(
        dir="/tmp"
    ) as scratch:  # a short path, because one of a socket has at most 107 bytes
        confinement = Confinement(
            Settings(data_url="file:///x", scratch_dir=Path(scratch), script_runner="container", script_image="i")
        )
        with pytest.raises(ConfinementError, match="refused"):
            confinement.run("print()", Upstream(HttpClient(), "http://x", "t", 1), "0" * 26)
    commands = (tmp_path / "commands").read_text().splitlines()
    assert commands == [f"{command} host= secret=" for command in ("ps", "rm", "run", "rm")]
