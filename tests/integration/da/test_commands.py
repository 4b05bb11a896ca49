"""What holds for every command."""

import pytest

from da.main import COMMANDS
from tests.integration.da.conftest import Da

ADMIN = ["add-user", "list-users", "grant", "revoke", "add-source", "list-sources", "register-table", "list-tables"]
RUNS = ["sync", "schedule", "set-schedule", "rebuild"]
GROUPS = {"auth": ["login", "logout", "whoami", "tokens"], "admin": [*ADMIN, *RUNS]}


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in COMMANDS), *([group, name] for group, names in GROUPS.items() for name in names)],
)
def test_every_command_has_help(da: Da, command: list[str]) -> None:
    ran = da(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: da {' '.join(command)}".rstrip())
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.parametrize("command", [[], *([group] for group in GROUPS)])
def test_without_a_command_the_help_is_shown(da: Da, command: list[str]) -> None:
    ran = da(*command)
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.startswith("Usage: da")


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["sync", "--nothing"], ["query", "a", "b"], ["query", "-n", "many"]]
)
def test_a_wrong_call_is_a_usage_error(da: Da, arguments: list[str]) -> None:
    ran = da(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("da: ")
    assert "--help" in ran.err.splitlines()[-1]


def test_the_version_is_told(da: Da) -> None:
    assert da("--version").out.startswith("da 0.")


def test_a_fault_of_our_own_shows_no_traceback(da: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "sync", "da.nowhere:sync")
    ran = da("sync")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("da: internal error: ModuleNotFoundError: ")
    assert len(ran.err.splitlines()) == 1
