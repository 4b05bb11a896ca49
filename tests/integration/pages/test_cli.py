"""The server hands out the `da` of its own version."""

import hashlib
import re
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from analyst.cli_wheel import describe_cli
from analyst.errors import NotFoundError
from tests.integration.pages.conftest import Browser
from tests.integration.world import World


def test_anybody_can_download_the_wheel(browser: Browser, world: World) -> None:
    cli = world.ask("GET", "/api/cli", token=None)
    answer = browser.get(cli["path"])
    assert (answer.status_code, hashlib.sha256(answer.data).hexdigest()) == (200, cli["sha256"])
    assert cli["filename"] in answer.headers["Content-Disposition"]
    names = zipfile.ZipFile(BytesIO(answer.data)).namelist()
    assert {"da/main.py", f"ai_data_analyst_cli-{cli['version']}.dist-info/METADATA"} <= set(names)


def test_the_wheel_has_the_version_of_the_server(browser: Browser, world: World) -> None:
    answer = browser.get("/api/health")
    assert world.ask("GET", "/api/cli", token=None)["version"] == answer.headers["X-Server-Version"]
    assert answer.get_json()["version"] == answer.headers["X-Server-Version"]


def test_every_command_installs_from_this_server_and_from_no_index(world: World) -> None:
    cli = world.ask("GET", "/api/cli", token=None)
    for tool in ("uv", "pipx", "pip"):
        assert cli[tool].endswith(f" http://localhost{cli['path']}")


def test_the_page_is_an_index_of_the_wheel(browser: Browser, world: World) -> None:
    cli = world.ask("GET", "/api/cli", token=None)
    page = browser.get("/cli").text
    assert f'<a href="{cli["path"]}#sha256={cli["sha256"]}">{cli["filename"]}</a>' in page
    assert cli["pipx"] in page


@pytest.mark.parametrize("name", ["other.whl", "..%2F..%2Fetc%2Fpasswd", "ai_data_analyst_cli-9.9.9-py3-none-any.whl"])
def test_no_other_file_is_served(browser: Browser, name: str) -> None:
    assert browser.get(f"/cli/{name}").status_code == 404


def test_without_a_wheel_the_page_says_whom_to_ask(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="ask its administrator"):
        describe_cli("https://data.example.com", tmp_path)


def test_without_a_configured_address_the_commands_have_a_placeholder(tmp_path: Path) -> None:
    (tmp_path / "ai_data_analyst_cli-1.2.3-py3-none-any.whl").write_bytes(b"x")
    cli = describe_cli(None, tmp_path)
    assert cli.version == "1.2.3"
    assert re.fullmatch(
        r"uv tool install --reinstall ADDRESS-OF-THIS-SERVER/cli/ai_data_analyst_cli-1\.2\.3\S+", cli.uv
    )


def test_both_distributions_have_one_version() -> None:
    root = Path(__file__).parents[3]
    versions = {
        re.findall(r'(?m)^version = "(.+)"$', (root / name).read_text())[0]
        for name in ("pyproject.toml", "shared/da/pyproject.toml")
    }
    versions |= set(re.findall(r'(?m)^__version__ = "(.+)"$', (root / "shared/da/__init__.py").read_text()))
    assert len(versions) == 1
