"""Help, suggestions, colors and verbosity of `da`."""

import importlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from da.app import SECTIONS, app
from da.help import texts_of
from da.text import has_color, listing, local_day, local_time, painted
from tests.doubles.functions_api import TOKEN, FunctionsApi
from tests.integration.da.conftest import Da

ROOT = typer.main.get_command(app)
CONTEXT = ROOT.make_context("da", [], resilient_parsing=True)


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "list_commands"):
        for name in command.list_commands(CONTEXT):
            yield from leaves(command.get_command(CONTEXT, name), *path, name)
    else:
        yield path, command


ALL = [(path, command) for path, command in leaves(ROOT) if not command.hidden]
EXAMPLES = [
    (" ".join(path), line) for path, command in ALL for line in texts_of(command)[1].splitlines() if line.strip()
]


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_every_command_has_a_summary_examples_and_help_for_each_option(path: tuple[str, ...]) -> None:
    command = dict(ALL)[path]
    text, examples = texts_of(command)
    assert text.partition("\n\n")[0].endswith(".")
    assert f"da {' '.join(path)}" in examples
    assert [each.name for each in command.params if not each.help] == []


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_every_example_parses(name: str, line: str) -> None:
    for part in line.split(" | ")[-1:] if " | " in line else line.split(" || ")[:1]:
        words = shlex.split(part.split(" > ")[0], comments=True)
        words = words[words.index("--") + 1 :] if "claude" in words else words  # the command of another program's own
        words = words[words.index("da") + 1 :]
        command, context = ROOT, CONTEXT
        while hasattr(command, "get_command") and words:
            command = command.get_command(context, words.pop(0))
        assert command.make_context(name, words, parent=CONTEXT) is not None


def test_help_is_grouped_by_task(da: Da) -> None:
    for title in SECTIONS:
        assert f"\n{title}:\n" in da("help").out
    out = da("help", "admin").out
    for title in ("Users and access", "Sources and tables", "Runs and snapshots", "The server"):
        assert f"\n{title}:\n" in out


@pytest.mark.parametrize("path", [[], ["sync"], ["admin"], ["admin", "grants", "add"]])
def test_dash_h_dash_dash_help_and_the_command_help_are_the_same(da: Da, path: list[str]) -> None:
    assert da(*path, "-h").out == da(*path, "--help").out == da("help", *path).out


def test_defaults_are_shown(da: Da) -> None:
    assert "--limit, -n N" in da("query", "-h").out.replace("-n, --limit", "--limit, -n")
    assert "[default: 1000; at least 0]" in " ".join(da("query", "-h").out.split())
    helps = "".join(da("help", *path).out for path, _ in ALL)
    assert re.findall(r"<\w+( range)?>", helps) == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("synk", "there is no command 'da synk'; did you mean 'da sync'?"),
        ("users", "there is no command 'da users'; did you mean 'da admin users'?"),
        ("whoami", "there is no command 'da whoami'; did you mean 'da auth whoami'?"),
        ("admin user", "there is no command 'da admin user'; did you mean 'da admin users'?"),
        ("admin grants ad", "there is no command 'da admin grants ad'; did you mean 'da admin grants add'?"),
        ("help admin grants ad", "there is no command 'da admin grants ad'; did you mean 'da admin grants add'?"),
        ("help sync now", "'da sync' has no commands"),
        ("xyzzy", "there is no command 'da xyzzy'\n"),
        ("sync --tabel orders", "there is no option '--tabel'; did you mean '--table'?"),
        ("sync --xyzzy", "there is no option '--xyzzy'\n"),
        ("sync -z", "there is no option '-z'\n"),
        ("query -n many x", "the value of '--limit' is not valid: 'many' is not a whole number of at least 0"),
        ("query -n", "option '-n' requires an argument"),
        ("query select 1", "unexpected argument '1'; put text with spaces in quotes"),
        ("admin sync --timeout 0", "the value of '--timeout' is not valid: 0 is not a whole number of at least 1"),
        ("admin runs -n 500", "the value of '--limit' is not valid: 500 is not a whole number from 1 to 100"),
        ("sync --every x", "the value of '--every' is not valid: 'x' is not a whole number of at least 1"),
        ("request shop.orders", "the option '--reason' is missing: Why you need it"),
        ("request", "the argument 'SOURCE.TABLE' is missing: Table to request"),
        ("admin users set-role a@b.c boss", "'boss' is not one of 'viewer', 'analyst', 'km_admin', 'admin'"),
        ("sync --watch --dry-run", "can't use both --watch and --dry-run"),
        ("admin audit --since yesterday", "'yesterday' is not a valid time (expected something like 2h, 7d"),
    ],
)
def test_a_wrong_invocation_suggests_what_may_be_meant(logged_in: Da, typed: str, message: str) -> None:
    ran = logged_in(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("environ", "tty", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colors_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], tty: bool, expected: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    assert has_color() is expected
    assert ("\x1b[" in painted("failed")) is expected
    assert painted("orders") == "orders"


def test_colors_do_not_move_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["a", "ok", "1"], ["b", "failed", "22"]]
    plain, _ = listing(["x", "state", "n"], rows, right=["n"])
    monkeypatch.setenv("FORCE_COLOR", "1")
    painted_lines, _ = listing(["x", "state", "n"], rows, right=["n"], paint=painted)
    assert painted_lines[2] == "a  \x1b[32mok\x1b[0m       1"
    assert [
        line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in painted_lines
    ] == plain


@pytest.mark.parametrize("width", range(30, 140, 9))
def test_a_list_fits_and_keeps_all_text(width: int) -> None:
    text = "A description of several words that goes on for rather longer than a terminal is wide"
    rows = [[f"view{n}", f"source.table_{n}", "1,234,567", "3 hours ago", text] for n in range(3)]
    columns = ["view", "table", "rows", "updated", "description"]
    lines, hidden = listing(columns, rows, right=["rows"], optional=["updated", "rows"], width=width)
    assert max(map(len, lines)) <= width
    assert set(hidden) <= {"updated", "rows"}
    packed = "".join("".join(lines).split())
    for word in text.split():
        assert width < 60 or word in packed
    assert len("".join("".join(lines).split())) >= 3 * len("".join(text.split()))


def test_a_list_without_a_terminal_has_one_line_per_row() -> None:
    lines, hidden = listing(["a", "b"], [["x" * 300, "y z " * 100]], optional=["a"])
    assert (len(lines), hidden) == (3, [])


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-03-27T12:00:00Z", "2026-03-27 13:00 CET"),
        ("2026-07-01T22:30:00+00:00", "2026-07-02 00:30 CEST"),
        ("", ""),
        (None, ""),
    ],
)
def test_times_are_local_and_name_their_zone(time: str | None, shown: str) -> None:
    assert local_time(time) == shown


def test_days_are_local() -> None:
    assert local_day("2026-07-01T22:30:00Z") == "2026-07-02"
    assert local_day("2026-07-01") == "2026-07-01"


def test_v_prints_requests_without_secrets(logged_in: Da, api: FunctionsApi) -> None:
    api.put("shop.orders", "select 1 as id")
    ran = logged_in("sync", "-v")
    assert ran.code == 0
    assert f"GET {api.address}/api/sync/manifest: 200 in " in ran.err
    assert "signature" not in ran.err
    assert TOKEN not in ran.err
    assert "GET" not in logged_in("-v", "tables").err + logged_in("status").err


def test_every_listed_command_exists() -> None:
    for commands in SECTIONS.values():
        for target in commands.values():
            module, _, name = target.partition(":")
            assert hasattr(importlib.import_module(module), name)
