"""An agent is connected in a real browser: its user sets a password, signs in, allows it, and ends it again."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Host, host

PYTHON = ROOT / ".venv-agents/bin/python"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PASSWORD = "a long password of Ann"


@dataclass(frozen=True, slots=True)
class Agent:
    """The process of the official client."""

    process: "subprocess.Popen[str]"

    def step(self, name: str) -> None:
        assert self.process.stdin
        print(name, file=self.process.stdin, flush=True)

    def says(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()[-3000:]
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def agent(server: Host) -> Iterator[Agent]:
    script, pipe = str(Path(__file__).with_name("oauth_walk_client.py")), subprocess.PIPE
    command = [str(PYTHON), script, f"{server.url}/mcp"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Agent(process)
        finally:
            process.kill()


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make e2e-pages")
    options = selenium.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 f"--user-data-dir={folder}"):  # fmt: skip
        options.add_argument(each)
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def until(driver: Any, condition: Callable[[Any], Any]) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, 60).until(condition)


def find(driver: Any, selector: str) -> Any:
    return until(driver, lambda at: next(iter(at.find_elements("css selector", selector)), None))


def published(server: Host, folder: Path) -> tuple[str, str]:
    """Publish a table that Ann may read; return the link of her invitation and its code."""
    (folder / "files").mkdir()
    (folder / "files/orders.csv").write_text("id\n1\n2\n")
    admin = server.bootstrap()
    source = {"type": "csv", "config": {"path": str(folder / "files")}}
    server.ask("POST", "/api/admin/sources/shop", source, token=admin)
    server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
    _status, user = server.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"}, token=admin)
    server.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"}, token=admin)
    status, invitation = server.ask("POST", f"/api/users/{user['id']}/invite", {"mail": False}, token=admin)
    assert status < 300, invitation
    return str(invitation["url"]), str(invitation["code"])


def test_an_agent_is_connected_refreshed_and_ended(tmp_path: Path) -> None:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromium-driver are not installed: apt-get install chromium chromium-driver")
    if not PYTHON.exists():
        pytest.skip(".venv-agents is not there; make e2e makes it")
    (tmp_path / "profile").mkdir()
    with (
        host(tmp_path, SECRET_KEY="s" * 40, PROFILE_AFTER_SYNC="false") as server,
        agent(server) as client,
        browser(tmp_path / "profile") as driver,
    ):
        invitation, code = published(server, tmp_path)
        driver.get(invitation)
        field = find(driver, "input[name=code]")
        field.clear()
        field.send_keys(code)
        find(driver, "input[name=password]").send_keys(PASSWORD)
        find(driver, "form[action='/auth/password/set'] button").click()
        until(driver, lambda at: "/auth/password/set" not in at.current_url)
        driver.delete_all_cookies()  # she comes back on another day

        client.step("call")
        opened = client.says()["open"]
        driver.get(opened)
        find(driver, "a[href*='/auth/password']").click()
        find(driver, "input[name=email]").send_keys("ann@example.com")
        find(driver, "input[name=password]").send_keys(PASSWORD)
        find(driver, "form[action^='/auth/password'] button").click()
        allow = find(driver, "button[value=allow]")
        text = driver.find_element("css selector", "body").text
        assert "Walker" in text
        assert "ann@example.com" in text
        allow.click()
        find(driver, "#connected")
        first = client.says()
        assert (first["rows"], first["is_new"]) == ([[2]], True)
        assert "admin" not in first["scope"].split()

        client.step("refresh")
        second = client.says()
        assert (second["rows"], second["is_new"]) == ([[2]], True)
        assert second["refresh"] != first["refresh"]

        driver.get(f"{server.url}/account")
        find(driver, "button[aria-label*='Walker']").click()
        until(driver, lambda at: "done=ended" in at.current_url)
        assert driver.find_elements("css selector", "button[aria-label*='Walker']") == []

        status, _told = server.ask("POST", "/mcp", {}, token=second["access"])
        assert status == 401
        client.step("call")
        again = client.says()
        assert "open" in again  # nothing that the agent has is valid: its user must allow it once more
        driver.get(again["open"])
        find(driver, "button[value=allow]")
