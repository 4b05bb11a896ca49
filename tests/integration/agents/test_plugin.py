"""The plugin as Git and a browser fetch it from a running server."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.integration.world import Begun, World
from tests.processes import Host, served

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def hosted(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Host]]:
    world = begun.world(tmp_path_factory.mktemp("plugin"))
    with served(world.app) as server:
        object.__setattr__(world.process.settings, "base_url", server.url)
        yield world, server
    world.process.close()


def git(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": str(folder)}
    ran = subprocess.run(
        ["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def got(world: World, path: str) -> TestResponse:
    answer = world.client.get(path, buffered=True)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    "options", [[], ["--depth", "1"], ["-c", "protocol.version=0"], ["-c", "protocol.version=1"], ["--bare"]]
)
def test_git_clones_the_plugin(hosted: tuple[World, Host], tmp_path: Path, options: list[str]) -> None:
    world, server = hosted
    git(tmp_path, *[each for each in options[:2] if options[0] == "-c"], "clone", "-q",
        *[each for each in options if options[0] != "-c"], f"{server.url}/agents/plugin.git", "made")  # fmt: skip
    plugin = got(world, "/api/agents/plugin").get_json()
    assert git(tmp_path / "made", "rev-parse", "HEAD") == plugin["commit"]
    assert git(tmp_path / "made", "fsck", "--strict") == ""
    if options != ["--bare"]:
        for file in plugin["files"]:
            text = (tmp_path / "made" / file["path"]).read_text()
            assert (text, hashlib.sha256(text.encode()).hexdigest()) == (file["text"], file["sha256"])
        git(tmp_path / "made", "pull", "-q")
    if options == ["--depth", "1"]:
        git(tmp_path / "made", "fetch", "-q", "--depth", "1", "origin", plugin["commit"])


def test_the_marketplace_pins_the_commit_for_a_day(hosted: tuple[World, Host]) -> None:
    world, server = hosted
    answer = got(world, "/.claude-plugin/marketplace.json")
    plugin = got(world, "/api/agents/plugin").get_json()
    source = answer.get_json()["plugins"][0]["source"]
    assert (source["url"], source["sha"]) == (f"{server.url}/agents/plugin.git", plugin["commit"])
    assert (answer.headers["Cache-Control"], plugin["ttl_s"]) == ("public, max-age=86400", 86400)
    again = world.client.get("/.claude-plugin/marketplace.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    servers = json.loads(next(each["text"] for each in plugin["files"] if each["path"].endswith(".mcp.json")))
    assert servers["mcpServers"]["da"]["url"] == f"{server.url}/mcp"
    assert plugin["add"] == f"/plugin marketplace add {server.url}/agents/plugin.git"


def test_requests_that_are_not_git_are_refused(hosted: tuple[World, Host]) -> None:
    world, _server = hosted
    assert world.client.get("/agents/plugin.git/info/refs").status_code == 422
    assert world.client.post("/agents/plugin.git/git-upload-pack", data=b"x").status_code == 422
    large = world.client.post("/agents/plugin.git/git-upload-pack", data=b"0" * 100_000)
    assert large.status_code == 413
