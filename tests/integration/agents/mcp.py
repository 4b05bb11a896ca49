"""Calls of `POST /mcp` in raw JSON, as clients of the revision 2026-07-28 and older ones send them."""

from collections.abc import Mapping
from typing import Any, Final

from jsonschema import validate
from werkzeug.test import TestResponse

from da.agents.schemas import BY_NAME
from tests.integration.world import World

META: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def send(
    world: World,
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    token: str | None = "",
    headers: Mapping[str, str | None] | None = None,
    id_: Any = 1,
) -> TestResponse:
    """Send a message of the revision 2026-07-28."""
    body = {"jsonrpc": "2.0", "id": id_, "method": method, "params": {"_meta": META, **(params or {})}}
    named = (params or {}).get(_NAMED.get(method, ""), "")
    made: dict[str, str | None] = {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        "Mcp-Name": str(named) if named else None,
        "Accept": "application/json, text/event-stream",
        "Authorization": None if token is None else f"Bearer {token or world.admin}",
        **(headers or {}),
    }
    given = {name: value for name, value in made.items() if value is not None}
    return world.client.open("/mcp", method="POST", json=body, headers=given, buffered=True)


def result(world: World, method: str, params: Mapping[str, Any] | None = None, *, token: str = "") -> dict[str, Any]:
    """Send a message that must succeed, and return its result."""
    answer = send(world, method, params, token=token)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()["result"]
    assert found["resultType"] == "complete"
    return found


def call(world: World, tool: str, *, token: str = "", **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed, and return its answer, which must have the promised form."""
    found = result(world, "tools/call", {"name": tool, "arguments": arguments}, token=token)
    assert not found["isError"], found["content"]
    answer: dict[str, Any] = found["structuredContent"]
    validate(answer, BY_NAME[tool].output)
    return answer


def refusal(world: World, tool: str, *, token: str = "", **arguments: Any) -> str:
    """Call a tool that must fail in a way that a model can act on, and return what it says."""
    found = result(world, "tools/call", {"name": tool, "arguments": arguments}, token=token)
    assert found["isError"], found
    assert "structuredContent" not in found
    return str(found["content"][0]["text"])
