"""A client of the Model Context Protocol, run by the tests in an environment of its own: prints what it got as JSON.

Usage: client.py KIND TARGET [TOKEN]. KIND is auto, legacy or 2026-07-28 (modes of `mcp` 2), v1 (`mcp` 1) or fastmcp; TARGET
is a URL, or the JSON of a command for stdio. The steps, tools with their arguments, come from stdin.
"""

import asyncio
import json
import sys
from typing import Any

Step = list[Any]


def shown(result: Any) -> dict[str, Any]:
    structured = getattr(result, "structured_content", None) or getattr(result, "structuredContent", None)
    failed = getattr(result, "is_error", None)
    failed = getattr(result, "isError", False) if failed is None else failed
    return {"answer": structured, "failed": failed, "text": result.content[0].text if result.content else ""}


async def modern(mode: str, target: Any, token: str | None, steps: list[Step]) -> dict[str, Any]:
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if isinstance(target, list):
        transport = stdio_client(StdioServerParameters(command=target[0], args=target[1:], env=json.loads(sys.argv[4])))
    else:
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        transport = streamable_http_client(target, http_client=http)
    async with Client(transport, mode=mode) as client:
        tools = await client.list_tools()
        resources = await client.list_resources()
        read = await client.read_resource(resources.resources[0].uri)
        prompts = await client.list_prompts()
        prompt = await client.get_prompt("sample_questions")
        answers = [shown(await client.call_tool(name, arguments)) for name, arguments in steps]
    return {
        "tools": [tool.name for tool in tools.tools],
        "resource": read.contents[0].text,
        "prompts": [each.name for each in prompts.prompts],
        "prompt": prompt.messages[0].content.text,
        "answers": answers,
    }


async def v1(target: Any, token: str | None, steps: list[Step]) -> dict[str, Any]:
    from contextlib import AsyncExitStack

    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    async with AsyncExitStack() as stack:
        if isinstance(target, list):
            parameters = StdioServerParameters(command=target[0], args=target[1:], env=json.loads(sys.argv[4]))
            read, write = await stack.enter_async_context(stdio_client(parameters))
        else:
            headers = {"Authorization": f"Bearer {token}"}
            read, write, _ = await stack.enter_async_context(streamablehttp_client(target, headers=headers))
        session = await stack.enter_async_context(ClientSession(read, write))
        await session.initialize()
        tools = await session.list_tools()
        resources = await session.list_resources()
        text = await session.read_resource(resources.resources[0].uri)
        prompts = await session.list_prompts()
        prompt = await session.get_prompt("sample_questions")
        answers = [shown(await session.call_tool(name, arguments)) for name, arguments in steps]
    return {
        "tools": [tool.name for tool in tools.tools],
        "resource": text.contents[0].text,
        "prompts": [each.name for each in prompts.prompts],
        "prompt": prompt.messages[0].content.text,
        "answers": answers,
    }


async def fast(target: Any, token: str | None, steps: list[Step]) -> dict[str, Any]:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    transport = target
    if isinstance(target, list):
        transport = StdioTransport(command=target[0], args=target[1:], env=json.loads(sys.argv[4]))
    async with Client(transport, auth=token) as client:
        tools = await client.list_tools()
        resources = await client.list_resources()
        read = await client.read_resource(resources[0].uri)
        prompts = await client.list_prompts()
        prompt = await client.get_prompt("sample_questions")
        answers = [shown(await client.call_tool(name, arguments, raise_on_error=False)) for name, arguments in steps]
    return {
        "tools": [tool.name for tool in tools],
        "resource": read[0].text,
        "prompts": [each.name for each in prompts],
        "prompt": prompt.messages[0].content.text,
        "answers": answers,
    }


def main() -> None:
    kind, target = sys.argv[1], sys.argv[2]
    token = sys.argv[3] or None if len(sys.argv) > 3 else None
    place = json.loads(target) if target.startswith("[") else target
    steps = json.load(sys.stdin)
    run = {"v1": v1, "fastmcp": fast}.get(kind)
    made = run(place, token, steps) if run else modern(kind, place, token, steps)
    print(json.dumps(asyncio.run(made)))


main()
