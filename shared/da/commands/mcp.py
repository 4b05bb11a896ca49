"""`da mcp`: the tools of agents over the mirror, by the Model Context Protocol on stdin and stdout."""

import json as json_
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from da import __version__
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, say

ListOnly = Annotated[bool, typer.Option("--list", help="List the tools and exit.")]

_LONGEST = 10_000_000


def mcp(list_: ListOnly = False, json: Json = False) -> None:
    """Serve the mirror to an AI agent: an MCP server on stdin and stdout, which clients such as Claude Code start.

    The agent can search the catalog, run read-only SQL and compute metrics, offline. It can read the mirror, and no
    other file on this machine. The server has the same tools at /mcp.

    Examples:
      claude mcp add da -- da mcp
      da mcp --list
    """
    from da.agents.markdown import CatalogTexts
    from da.agents.protocol import Server
    from da.agents.schemas import TOOLS
    from da.agents.tools import Tools
    from da.mirror_warehouse import MirrorWarehouse

    if list_ or json:
        if json:
            print_json([tool.described() for tool in TOOLS])
        else:
            for tool in TOOLS:
                say(f"{tool.name:<16} {tool.title}")
        return
    warehouse = MirrorWarehouse(Workspace.find())
    for line in iter(lambda: sys.stdin.buffer.readline(_LONGEST), b""):
        if not line.strip():
            continue
        server = Server(Tools(warehouse, datetime.now(UTC)), CatalogTexts(warehouse), __version__)
        body = server.answer_bytes(line).body
        if body is not None:
            # One message is one line; ASCII, so that no separator of Unicode is taken for the end of one.
            sys.stdout.write(json_.dumps(body, separators=(",", ":")) + "\n")
            sys.stdout.flush()
