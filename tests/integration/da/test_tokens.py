"""`da auth tokens` and `da diagnose`, on a real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(shared_cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    from tests.processes import host

    with host(tmp_path_factory.mktemp("tokens"), shared_cloud, fork=True) as running:
        yield running, running.bootstrap()


def run(server: tuple[Any, str], folder: Path, *arguments: str, token: str | None = None, check: bool = True) -> Any:
    from tests.processes import da

    return da(folder, *arguments, server=server[0], token=token or server[1], check=check)


def test_a_token_is_created_shown_once_used_and_revoked(server: tuple[Any, str], tmp_path: Path) -> None:
    made = run(server, tmp_path, "auth", "tokens", "create", "agent", "--scope", "read", "--days", "7").stdout
    token = re.search(r"da_\S+", made)
    assert token is not None
    assert made.startswith("New token (read; expires ")
    assert "admin@example.com" in run(server, tmp_path, "auth", "whoami", token=token.group()).stdout
    denied = run(server, tmp_path, "sync", token=token.group(), check=False)
    assert (denied.returncode, "scope 'sync'" in denied.stderr) == (1, True)
    listed = json.loads(run(server, tmp_path, "auth", "tokens", "list", "--json").stdout)
    (agent,) = (each for each in listed if each["name"] == "agent")
    assert agent["scopes"] == ["read"]
    assert token.group() not in run(server, tmp_path, "auth", "tokens", "list").stdout
    assert run(server, tmp_path, "auth", "tokens", "revoke", agent["id"]).stdout == "Revoked the token.\n"
    assert run(server, tmp_path, "auth", "whoami", token=token.group(), check=False).returncode == 1


def test_a_token_that_expires_earlier_than_requested_is_created_with_a_note(
    server: tuple[Any, str], tmp_path: Path
) -> None:
    for command in (("auth", "tokens", "create", "early"), ("admin", "tokens", "create", "admin@example.com", "early")):
        made = run(server, tmp_path, *command, "--scope", "read", "--days", "400").stdout
        assert "Note: the token expires on" in made
        assert "sign in with a browser or `da login`" in made


def test_a_healthy_setup_is_reported(server: tuple[Any, str], tmp_path: Path) -> None:
    done = run(server, tmp_path, "diagnose", "--json")
    checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert {name for name, each in checks.items() if each["verdict"] == "ok"} >= {
        "server",
        "versions",
        "clock",
        "login",
    }
    assert checks["workspace"]["advice"] == checks["local database"]["advice"] == "Run: da sync"


def test_failures_are_reported_with_the_remedy(server: tuple[Any, str], tmp_path: Path) -> None:
    run(server, tmp_path, "sync", check=False)
    database = tmp_path / "user" / "duckdb" / "analytics.duckdb"
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(b"no database" * 1000)
    done = run(server, tmp_path, "diagnose", token="da_" + "x" * 43, check=False)
    assert done.returncode == 1
    assert "login: Run: da login" in done.stdout
    assert "If the file is damaged or was written by a newer DuckDB, run da sync: it keeps the file" in done.stdout
    assert "delete" not in done.stdout


def test_without_a_server_the_check_explains_where_to_begin(server: tuple[Any, str], tmp_path: Path) -> None:
    from dataclasses import replace

    gone = replace(server[0], url="http://127.0.0.1:9")
    done = run((gone, server[1]), tmp_path, "diagnose", check=False)
    assert (done.returncode, "make dev" in done.stdout) == (1, True)
