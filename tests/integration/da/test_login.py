"""`da login` through a browser, as a person does it, on a real server."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_da

pytestmark = pytest.mark.server

BROWSER = """
import http.cookiejar, os, re, sys, urllib.parse, urllib.request
url, server = sys.argv[1], os.environ["SERVER"]
headers = {"Cookie": "da_session=" + os.environ["SESSION"], "Origin": server}
page = urllib.request.urlopen(urllib.request.Request(url, headers=headers)).read().decode()
fields = dict(re.findall(r'type="hidden" name="(\\w+)" value="([^"]*)"', page))
form = urllib.parse.urlencode(fields).encode()
answer = urllib.request.urlopen(urllib.request.Request(server + "/auth/desktop", form, headers)).read().decode()
found = re.search(r'id="code">([^<]+)<', answer)
print(found.group(1) if found else answer)
"""


class Desk:
    """A machine with `da` and a browser in which somebody is signed in."""

    def __init__(self, server: Any, folder: Path, session: str) -> None:
        self.server = server
        self.folder, self.config = folder, folder / "config"
        script = folder / "browser.py"
        script.write_text(BROWSER)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DA_")},
            "BROWSER": f"{sys.executable} {script} %s",
            "SERVER": server.url,
            "SESSION": session,
            "DA_CONFIG_DIR": str(self.config),
        }

    def da(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_da(*arguments, environ=self.environ, cwd=self.folder, stdin=stdin)

    def browse(self, url: str) -> str:
        command = [*self.environ["BROWSER"].replace("%s", "").split(), url]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=True, timeout=60).stdout

    @property
    def saved(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.config / "token.json").read_text())
        return document

    def save(self, **changed: Any) -> None:
        (self.config / "token.json").write_text(json.dumps({**self.saved, **changed}))


@pytest.fixture(scope="module")
def server(shared_cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.processes import host

    with host(tmp_path_factory.mktemp("login"), shared_cloud, fork=True) as running:
        running.bootstrap()
        yield running


@pytest.fixture
def desk(server: Any, shared_cloud: Any, tmp_path: Path) -> Desk:
    from datetime import UTC, datetime

    from analyst.auth import sessions
    from analyst.context import Process

    process = Process(shared_cloud.settings, store=shared_cloud.open())
    (user_id,) = process.access.current().users
    now = datetime.now(UTC)
    return Desk(server, tmp_path, sessions.for_browser(process.keys, sessions.begin(user_id, now), now))


def test_a_user_logs_in_with_the_browser_of_this_machine(desk: Desk) -> None:
    done = desk.da("login", "--server", desk.server.url, "--browser")
    assert done.returncode == 0, done.stderr
    assert "Logged in to" in done.stdout
    assert (desk.config / "token.json").stat().st_mode & 0o777 == 0o600
    assert desk.saved["email"] in desk.da("auth", "whoami").stdout


def test_a_user_logs_in_with_a_code_from_another_machine(desk: Desk) -> None:
    command = [str(Path(sys.executable).with_name("da")), "login", "--server", desk.server.url, "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=desk.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        url = next(line.strip() for line in process.stderr if line.strip().startswith("http"))
        process.stdin.write(desk.browse(url))
        process.stdin.close()
        assert process.wait(60) == 0, process.stderr.read()
    assert desk.saved["refresh_token"]


@pytest.mark.parametrize("code", ["", "made.up.code\n", "x\n", "ABCD2345\n"])
def test_a_wrong_code_is_refused(desk: Desk, code: str) -> None:
    done = desk.da("login", "--server", desk.server.url, "--no-browser", stdin=code)
    assert done.returncode == 1
    assert "code" in done.stderr
    assert not desk.config.exists()


def test_a_session_is_renewed_by_itself(desk: Desk) -> None:
    desk.da("login", "--server", desk.server.url, "--browser")
    before = desk.saved
    desk.save(expires_at=time.time() + 30)
    assert desk.da("auth", "whoami").returncode == 0
    assert desk.saved["refresh_token"] != before["refresh_token"]
    assert desk.saved["expires_at"] > time.time() + 3000
    desk.save(**{**before, "expires_at": 0.0})
    assert desk.da("auth", "whoami").returncode == 0  # as who missed the answer


def test_after_the_end_of_a_session_da_explains_what_to_do(desk: Desk) -> None:
    desk.da("login", "--server", desk.server.url, "--browser")
    desk.save(expires_at=0.0, refresh_token="worn.out.token")
    done = desk.da("auth", "whoami")
    assert done.returncode == 1
    assert re.search(r"session at \S+ has expired; run: da login", done.stderr)


def test_logging_out_ends_the_session_on_the_server(desk: Desk) -> None:
    desk.da("login", "--server", desk.server.url, "--browser")
    kept = desk.saved
    assert desk.da("auth", "logout").stdout == "Logged out.\n"
    assert desk.server.ask("GET", "/api/me", token=kept["token"])[0] == 401
    status, _ = desk.server.ask("POST", "/auth/desktop/refresh", {"refresh_token": kept["refresh_token"]})
    assert status == 401
    assert desk.da("auth", "logout").stdout == "You were not logged in.\n"
