"""`da auth`: who one is, and where that is kept."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from da.web import Web
from tests.doubles.functions_api import TOKEN, Fault, FunctionsApi
from tests.integration.da.conftest import Da

SECRET = "s" * 32


def piped(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "da", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [["login"], ["auth", "login"]])
def test_a_token_logs_in(api: FunctionsApi, da: Da, command: list[str]) -> None:
    ran = da(*command, "--server", f"{api.address}/", "--token", TOKEN)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"Logged in at {api.address} as ann@example.com (admin).\n"


def test_the_token_is_only_for_its_owners_eyes(api: FunctionsApi, da: Da, config_dir: Path) -> None:
    before = os.umask(0)
    try:
        da("login", "--server", api.address, "--token", TOKEN)
    finally:
        os.umask(before)
    assert stat.S_IMODE((config_dir / "token.json").stat().st_mode) == 0o600
    assert json.loads((config_dir / "token.json").read_text())["token"] == TOKEN


def test_the_token_comes_from_stdin_or_the_environment(
    api: FunctionsApi, da: Da, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert piped("login", "--server", api.address, stdin=f"{TOKEN}\n").returncode == 0
    assert da("auth", "logout").out == "Logged out.\n"
    monkeypatch.setenv("DA_TOKEN", TOKEN)
    assert da("login", "--server", api.address).code == 0
    monkeypatch.delenv("DA_TOKEN")
    assert da("auth", "whoami").code == 0


def test_no_token_at_all_is_told(api: FunctionsApi, da: Da) -> None:  # noqa: ARG001
    ran = piped("login", "--server", api.address)
    assert ran.returncode == 1
    assert "nothing came; give --token, DA_TOKEN or a line on stdin" in ran.stderr


def test_a_wrong_token_is_not_kept(api: FunctionsApi, da: Da, config_dir: Path) -> None:
    ran = da("login", "--server", api.address, "--token", "da_wrong")
    assert ran.code == 1
    assert "the token is not known, or has expired" in ran.err
    assert not config_dir.exists()


def test_a_token_with_a_line_break_never_becomes_a_header(api: FunctionsApi, da: Da) -> None:
    ran = da("login", "--server", api.address, "--token", "da_x\r\nX-Evil: 1")
    assert (ran.code, ran.err) == (1, "da: The token holds characters that no token has; copy it again\n")


def test_the_first_administrator_needs_the_secret(api: FunctionsApi, da: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTSTRAP_SECRET", "wrong")
    ran = da("auth", "login", "--server", api.address, "--bootstrap", "ann@example.com")
    assert (ran.code, ran.err) == (1, "da: the bootstrap secret is wrong\n")
    monkeypatch.setenv("BOOTSTRAP_SECRET", SECRET)
    ran = da("auth", "login", "--server", api.address, "--bootstrap", "ann@example.com")
    assert ran.out == f"Logged in at {api.address} as ann@example.com (admin).\n"
    assert {"email": "ann@example.com", "secret": SECRET} in api.bodies


def test_the_secret_comes_from_stdin_too(api: FunctionsApi, da: Da) -> None:
    arguments = ("auth", "login", "--server", api.address, "--bootstrap", "ann@example.com")
    assert piped(*arguments, stdin=SECRET).returncode == 0
    assert da("auth", "whoami").code == 0


def test_whoami_asks_the_server(api: FunctionsApi, logged_in: Da) -> None:
    ran = logged_in("auth", "whoami")
    assert ran.out.splitlines() == [
        f"ann@example.com (admin) at {api.address}",
        "Groups: finance",
        "The token x ends on 2027-01-01.",
    ]
    assert json.loads(logged_in("auth", "whoami", "--json").out)["role"] == "admin"


def test_after_a_logout_it_says_to_log_in(api: FunctionsApi, logged_in: Da, config_dir: Path) -> None:
    assert logged_in("auth", "logout").out == "Logged out.\n"
    assert logged_in("auth", "logout").out == "You were not logged in.\n"
    assert not (config_dir / "token.json").exists()
    ran = logged_in("sync")
    assert ran.code == 1
    assert ran.err == f"da: You are not logged in at {api.address}; log in with: da login --server {api.address}\n"


def test_the_token_of_one_server_is_not_shown_to_another(
    api: FunctionsApi, logged_in: Da, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DA_SERVER", api.address.replace("127.0.0.1", "localhost"))
    ran = logged_in("auth", "whoami")
    assert ran.code == 1
    assert "You are not logged in at http://localhost" in ran.err
    assert api.requests == []


def test_nobody_knows_a_server_yet(da: Da) -> None:
    assert da("sync").err == "da: No server is known yet; log in with: da login --server URL\n"
    assert da("login", "--token", "x").code == 2


@pytest.mark.parametrize("address", ["data.example.com", "ftp://x", "https://", "https://x?y=1", "file:///etc/passwd"])
def test_an_address_that_is_none_is_a_usage_error(da: Da, address: str) -> None:
    ran = da("login", "--server", address, "--token", "x")
    assert ran.code == 2
    assert "is not the address of a server; it looks like https://data.example.com" in ran.err


def test_a_server_that_is_not_there_is_told_at_once(da: Da, api: FunctionsApi) -> None:
    free = api.address.rpartition(":")[0] + ":1"
    ran = da("login", "--server", free, "--token", "x")
    assert ran.code == 1
    assert ran.err == "da: 127.0.0.1:1 can't be reached: connection refused; check the address and network\n"


def test_a_host_that_there_is_not_is_told(da: Da) -> None:
    ran = da("login", "--server", "http://nothing.invalid", "--token", "x")
    assert ran.code == 1
    assert "nothing.invalid:80 can't be reached" in ran.err


def test_a_server_that_is_something_else_is_told(da: Da, api: FunctionsApi) -> None:
    api.answers["GET", "/api/me"] = [(200, None)]
    ran = da("login", "--server", api.address, "--token", TOKEN)
    assert ran.code == 1
    assert "is it the right server?" in ran.err


def test_a_server_that_has_moved_is_told(da: Da, api: FunctionsApi) -> None:
    api.api_faults.append(Fault(status=301, headers={"Location": "https://data.example.com/api/me"}))
    ran = da("login", "--server", api.address, "--token", TOKEN)
    assert ran.code == 1
    assert "is elsewhere: https://data.example.com/api/me; log in there" in ran.err


def test_a_damaged_configuration_is_told(logged_in: Da, config_dir: Path) -> None:
    (config_dir / "token.json").write_text("{")
    ran = logged_in("sync")
    assert ran.code == 1
    assert "repair or delete it and log in again" in ran.err


def test_a_proxy_is_used_when_the_environment_names_one(api: FunctionsApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", api.address)
    monkeypatch.setenv("no_proxy", "")
    with Web() as web, web.exchange("GET", "http://data.example.com/api/me") as answer:
        assert answer.status == 401
    assert api.requests == [("GET", "http://data.example.com/api/me")]
