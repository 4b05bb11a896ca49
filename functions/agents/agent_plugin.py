"""The plugin for Claude Code and its marketplace: as a file, as a Git repository, and as a list with hashes."""

import hashlib
import json
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst.agents import plugin
from analyst.agents.git_repository import LONGEST_REQUEST, SERVICE, Repository, hashes
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.http import Allow, Encoded, Text, blocks, function
from analyst.state.fields import Output

REPOSITORY: Final = "/agents/plugin.git"
_MAX_AGE: Final = f"public, max-age={plugin.TTL_S}"


class PluginFile(Output):
    """A file of the plugin, with its SHA-256."""

    path: str
    sha256: str
    text: str


class Plugin(Output):
    """The plugin: how it is added and installed, its commit, the seconds for which this is valid, and its files."""

    add: str
    install: str
    marketplace: str
    commit: str
    ttl_s: int
    files: tuple[PluginFile, ...]


class Marketplace(BaseModel):
    """A marketplace file of Claude Code."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


@function("GET", "/.claude-plugin/marketplace.json", allow=Allow.ANYBODY, foreign=True)
def marketplace(ctx: Context) -> Encoded[Marketplace]:
    """Return the marketplace file, which pins the commit of the plugin."""
    found = plugin.marketplace(ctx.settings.instance_name, _repository(ctx), ctx.base_url + REPOSITORY)
    body = json.dumps(found, ensure_ascii=False).encode()
    return Encoded(body, hashlib.sha256(body).hexdigest()[:32], cache_control=_MAX_AGE)


@function("GET", "/api/agents/plugin", allow=Allow.ANYBODY)
def get_plugin(ctx: Context) -> Plugin:
    """Return the plugin for Claude Code: its files with their hashes, and how it is installed."""
    made = _repository(ctx)
    name = plugin.marketplace_name(ctx.settings.instance_name)
    return Plugin(
        add=f"/plugin marketplace add {ctx.base_url}{REPOSITORY}",
        install=f"/plugin install {plugin.NAME}@{name}",
        marketplace=name,
        commit=made.commit,
        ttl_s=plugin.TTL_S,
        files=tuple(PluginFile(path=path, sha256=sha256, text=made.files[path]) for path, sha256 in hashes(made.files)),
    )


@function(
    "GET", REPOSITORY + "/info/refs", allow=Allow.ANYBODY, foreign=True, answers={422: "It is not a request of Git."}
)
def plugin_references(ctx: Context) -> Text:
    """Return the references of the repository, as `git clone` asks for them."""
    if ctx.request.args.get("service") != SERVICE:
        raise InvalidInputError("this repository can be cloned with Git's smart protocol alone; use Git 1.6.6 or newer")
    return _git(_repository(ctx).references(), "advertisement")


@function(
    "POST",
    REPOSITORY + "/git-upload-pack",
    allow=Allow.ANYBODY,
    foreign=True,
    binary=True,
    body_limit=LONGEST_REQUEST,
    answers={422: "It is not a request of Git."},
)
def plugin_pack(ctx: Context) -> Text:
    """Return the objects of the repository, as `git clone` and `git fetch` ask for them."""
    return _git(_repository(ctx).upload(b"".join(blocks(ctx.request))), "result")


def _git(body: bytes, kind: str) -> Text:
    return Text(body, f"application/x-{SERVICE}-{kind}", {"Cache-Control": "no-cache"})


def _repository(ctx: Context) -> Repository:
    return plugin.repository(ctx.settings.instance_name, ctx.base_url)
