"""`da` says when its server has another version, and how to install that one from the server."""

import sys

import pytest

from da import __version__
from da.updates import notice, update_command
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

SERVER = "https://data.example.com"
WHEEL = f"{SERVER}/cli/ai_data_analyst_cli-9.1.0-py3-none-any.whl"


def test_another_version_is_mentioned_once_and_changes_no_output(shop: FunctionsApi, logged_in: Da) -> None:
    shop.version = "9.1.0"
    ran = logged_in("sync")
    assert ran.code == 0
    assert ran.err.count("The server has version 9.1.0") == 1
    assert f"{shop.address}/cli/ai_data_analyst_cli-9.1.0-py3-none-any.whl" in ran.err
    assert "9.1.0" not in ran.out


def test_the_same_version_is_not_mentioned(shop: FunctionsApi, logged_in: Da) -> None:
    shop.version = __version__
    assert "version" not in logged_in("sync").err


def test_an_error_is_printed_with_the_version_of_the_server(shop: FunctionsApi, logged_in: Da) -> None:
    shop.version = "9.1.0"
    ran = logged_in("admin", "users", "list")
    assert ran.code == 1
    assert "The server has version 9.1.0" in ran.err


@pytest.mark.parametrize("version", ["", "nonsense", "1.0\x1b[2J", "1.0; rm -rf /", "1" * 100, __version__])
def test_equivalent_versions_are_not_mentioned(version: str) -> None:
    assert notice(version, SERVER) is None


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/ann/.local/share/uv/tools/ai-data-analyst-cli", f"uv tool install --reinstall {WHEEL}"),
        ("/home/ann/.local/share/pipx/venvs/ai-data-analyst-cli", f"pipx install --force {WHEEL}"),
        ("/home/ann/analysis/.venv", f"{sys.executable} -m pip install --upgrade {WHEEL}"),
    ],
)
def test_the_suggested_command_fits_the_way_da_was_installed(
    monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    assert update_command("9.1.0", SERVER) == command
