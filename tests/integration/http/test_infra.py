"""The scripts that serve and describe all functions."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from infra.dev import Dev, DevError, port_of, readable
from tests.processes import BOOTSTRAP_SECRET, ROOT, Host, free_port, wait_for

DEV = ROOT / "infra" / "dev.py"


def dev(place: Path, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, DEV, "--port", str(port), "--place", place],
        cwd=place.parent,
        stdout=subprocess.DEVNULL,  # a pipe that nobody reads would fill up
        text=True,
        env={"PATH": os.environ["PATH"]},
    )


@pytest.mark.slow
def test_changes_of_the_instance_file_take_effect_when_written(tmp_path: Path) -> None:
    file = tmp_path / "config" / "instance.yaml"
    file.parent.mkdir()
    file.write_text("instance: {name: Example}\n")
    (tmp_path / ".env").write_text(f"# ours\nBOOTSTRAP_SECRET='{BOOTSTRAP_SECRET}'\nSOURCES=./my files # here\nPORT=\n")
    port = free_port()
    server = Host(f"http://localhost:{port}")
    with dev(tmp_path / "dev", port) as process:
        try:
            wait_for(server, process, "/api/health")
            token = server.bootstrap()
            assert setting(server, token, "source_roots") == [str(tmp_path / "my files")]
            assert setting(server, token, "instance_name") == "Example"
            file.write_text("instance: {name: Other}\n")
            while setting(server, token, "instance_name") != "Other":
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.terminate()


@pytest.fixture
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name != "PATH":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ("KEEP_HOURS=soon\n", "KEEP_HOURS"),
        ("DATA_URL=ftp://x\n", "DATA_URL"),
        ("DATA_URL=file:///proc/nothing\n", "the folder '/proc/nothing' can't be created"),
        ("SOURCES=/proc/nothing\n", "'/proc/nothing' can't be created"),
    ],
)
@pytest.mark.usefixtures("nowhere_else")
def test_broken_settings_are_reported_before_any_other_output(
    tmp_path: Path, env: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(env)
    with pytest.raises(DevError, match=reason):
        Dev(free_port(), tmp_path / "dev", "json").run()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("port", "reason"), [("abc", "'abc' is not a port"), ("0", "0 is not a port")])
def test_an_invalid_port_is_refused(tmp_path: Path, port: str, reason: str) -> None:
    with pytest.raises(DevError, match=reason):
        Dev(port_of(port), tmp_path / "dev", "json").run()


def test_problems_are_reported_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, str(DEV), "--port", "abc", "--place", str(tmp_path / "dev")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("'abc' is not a port")
    assert "Traceback" not in ran.stderr


def test_a_port_in_use_is_reported_with_another_to_try(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        def hang_up() -> None:
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(DevError) as refused:
            Dev(port, tmp_path / "dev", "json").run()
    assert f"Port {port} is in use: another program uses it." in str(refused.value)
    assert f"make dev PORT={port + 1}" in str(refused.value)


@pytest.mark.usefixtures("nowhere_else")
def test_a_damaged_file_of_secrets_is_named(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "env").write_text("nonsense\nSECRET_KEY=\n")
    with pytest.raises(DevError, match="'dev/env' is damaged: it contains no SECRET_KEY"):
        Dev(free_port(), tmp_path / "dev", "json").run()


def test_people_see_how_to_log_in_and_read_logs_and_can_stop_it_cleanly(tmp_path: Path) -> None:
    """By the state of the instance, with the commands as they stand. Its bucket and its secrets stay when it starts again."""
    secrets = []
    port = free_port()
    url = f"http://localhost:{port}"
    shown = ""
    for is_first in (True, False):
        with subprocess.Popen(
            [sys.executable, DEV, "--port", str(port), "--place", tmp_path / "dev", "--logs", "text"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"]},
        ) as process:
            assert process.stdout is not None
            try:
                shown = "".join(iter(process.stdout.readline, "Press Ctrl-C to stop.\n"))
                assert Host(url).ask("GET", "/api/health")[0] == 200  # it promises nothing before
                assert Host(url).ask("GET", "/docs")[0] == 200
                lines = [line.strip() for line in shown.splitlines()]
                if is_first:
                    start = next(n for n, line in enumerate(lines) if line.startswith(". dev/env"))
                    command = " && ".join(lines[start : start + 2])
                    environ = {**os.environ, "DA_CONFIG_DIR": str(tmp_path / "config-da"), "NO_PROXY": "localhost"}
                    subprocess.run(command, shell=True, cwd=tmp_path, env=environ, check=True, timeout=300)
            finally:
                process.send_signal(signal.SIGINT)
                rest = process.stdout.read()
        assert process.returncode == 0
        assert "GET /api/health 200  " in rest
        assert rest.endswith("Stopped.\n")
        assert "Traceback" not in rest
        secrets.append((tmp_path / "dev" / "env").read_text())
    assert secrets[0] == secrets[1]
    assert len({line.split("=")[1] for line in secrets[0].splitlines()}) == 3
    assert stat.S_IMODE((tmp_path / "dev" / "env").stat().st_mode) == 0o600
    assert "become the first" not in shown.lower()
    assert f"da login --server {url}\n" in shown


def test_logs_are_json_for_machines_and_lines_for_people() -> None:
    record = {"time": "2026-01-02T03:04:05.678+00:00", "severity": "ERROR", "message": "POST /rebuild 503"}
    more = {"request_id": "x", "status": 503, "ms": 12.6, "code": "unavailable", "caller": None, "source": "shop"}
    line = readable(json.dumps({**record, **more}))
    assert line.endswith("ERROR POST /rebuild 503  13 ms, unavailable, source=shop")
    assert readable("not JSON") == "not JSON"
    assert readable('{"time": "soon"}') == '{"time": "soon"}'


def setting(server: Host, token: str, name: str) -> Any:
    """Return what a setting is, `None` while nothing answers."""
    try:
        _, answer = server.ask("GET", "/api/admin/config", token=token)
    except OSError:
        return None
    return next(found["value"] for found in answer["settings"] if found["name"] == name)


def test_the_description_of_the_api_is_written_to_a_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "infra" / "openapi.py", tmp_path / "openapi.json"], check=True)
    validate(json.loads((tmp_path / "openapi.json").read_text()))
