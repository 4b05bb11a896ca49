"""What holds for every command."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from da import options
from da.app import COMMANDS
from da.commands import admin
from da.main import execute
from da.mirror.manifest import Table
from da.mirror.state import State, Tables
from da.mirror.workspace import Workspace
from tests.integration.da.conftest import Da

PEOPLE = ["users", "groups", "grants", "access", "requests", "tokens", "add-user", "list-users", "grant", "revoke"]
ADMIN = [*PEOPLE, "sources", "tables", "add-source", "list-sources", "register-table", "list-tables"]
RUNS = ["sync", "schedule", "set-schedule", "rebuild", "config"]
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
def test_a_wrong_invocation_is_a_usage_error(da: Da, arguments: list[str]) -> None:
    ran = da(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("da: ")
    assert "--help" in ran.err.splitlines()[-1]


def leaves(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield from leaves(command, *path, name) if hasattr(command, "commands") else [((*path, name), command)]


def test_every_administration_command_prints_json() -> None:
    silent = [
        path
        for path, command in leaves(typer.main.get_command(admin.app))
        if "--json" not in [option for parameter in command.params for option in parameter.opts]
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("da sy", ["sync"]),
        ("da admin us", ["users"]),
        ("da admin users set", ["set-role"]),
        ("da tables or", ["orders"]),
        ("da tables shop", ["shop.items", "shop.orders"]),
        ("da sync --table shop.o", ["shop.orders"]),
        ("da admin grants add ann@x shop.", ["shop.*", "shop.items", "shop.orders"]),
        ("da admin access --table web", []),
    ],
)
def test_the_shell_completes_commands_and_tables(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    completed: list[str],
) -> None:
    tables = {f"shop.{name}": Table(f"shop.{name}", name, "") for name in ("orders", "items")}
    with workspace.locked():
        workspace.save(State(tables=Tables.of(tables)))
    monkeypatch.setenv("_DA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        execute(())
    assert (ended.value.code, capsys.readouterr().out.split()) == (0, completed)


def test_without_a_mirror_no_tables_are_completed(workspace: Workspace) -> None:
    assert workspace.state().tables == {}
    assert (options.complete_tables("o"), options.complete_ids(""), options.complete_grantable("")) == ([], [], [])


def test_the_version_is_shown(da: Da) -> None:
    assert da("--version").out.startswith("da 0.")


def test_an_internal_error_shows_no_traceback(da: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "status", "da.nowhere:status")
    ran = da("status")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "da: something went wrong inside da; run the command again with -v and report what it prints\n"
    with pytest.raises(ModuleNotFoundError):
        da("-v", "status")
