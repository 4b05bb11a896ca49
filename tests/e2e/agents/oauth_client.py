"""The official client of the Model Context Protocol signs in by OAuth: registration, consent, tokens, and a call.

Usage: oauth_client.py URL COOKIE. The consent page is answered as a browser would, with the cookie of a session.
"""

import asyncio
import html
import json
import re
import sys
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

url, cookie = sys.argv[1], sys.argv[2]
found: dict[str, str] = {}


class Storage:
    tokens: Any = None
    client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


async def browse(address: str) -> None:
    async with httpx2.AsyncClient(headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}) as browser:
        page = await browser.get(address)
        assert page.status_code == 200, page.text
        fields = {
            name: html.unescape(value)
            for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
        }
        answer = await browser.post(urljoin(address, "/oauth/authorize"), data={**fields, "decision": "allow"})
        assert answer.status_code == 303, answer.text
        found.update({name: each[0] for name, each in parse_qs(urlsplit(answer.headers["Location"]).query).items()})


async def came_back() -> Any:
    try:
        from mcp.client.auth import AuthorizationCodeResult

        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))
    except ImportError:
        return found["code"], found.get("state")


async def main() -> None:
    storage = Storage()
    metadata = OAuthClientMetadata(
        client_name="Test", redirect_uris=["http://127.0.0.1:5555/callback"], token_endpoint_auth_method="none"
    )
    provider = OAuthClientProvider(
        server_url=url, client_metadata=metadata, storage=storage, redirect_handler=browse, callback_handler=came_back
    )
    async with (
        httpx2.AsyncClient(auth=provider, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("query", {"sql": "select count(*) from shop.orders"})
    rows = answer.structured_content["rows"]
    print(json.dumps({"tools": tools, "rows": rows, "scope": storage.tokens.scope}))


asyncio.run(main())
